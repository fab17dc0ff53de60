"""One picture from the gateway's URL to its key."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import ApimartError, TransferError
from airflow_provider_apimart.gateway.images import guess_extensions
from airflow_provider_apimart.transfers.address import ImageRefusedError, loggable
from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.download import Downloader
from airflow_provider_apimart.transfers.keys import key_of
from airflow_provider_apimart.transfers.s3_bucket import open_bucket
from airflow_provider_apimart.transfers.stored_objects import ExistingObject, must_copy, object_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_apimart.gateway.task import Image, Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.transfers.download import Download
    from airflow_provider_apimart.transfers.s3_bucket import S3Bucket
    from airflow_provider_apimart.transfers.source import Picture
    from airflow_provider_apimart.transfers.stored_objects import OnExisting

__all__ = ["Copier", "ImageExpiredError", "open_copier"]

#: Seconds between two requests for a picture that the image host refuses although its URL has not expired: a CDN that
#: lags behind. A minute in all; after that the task's own retries continue.
_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: Attempts at writing a key that others write to, and delete, at the same time.
_WRITES: Final = 3


class ImageExpiredError(TransferError):
    """
    The URL of a picture has expired, at the gateway too: the picture can only be bought again.

    Users see it as a part of the message of the ``TransferError`` that ends the task.
    """

    default_retryable = False


@contextmanager
def open_copier(
    hook: ApimartHook,
    *,
    bucket: str,
    aws_conn_id: str | None,
    key_template: str,
    on_existing: OnExisting,
    writer: str,
    at_once: int,
    max_bytes: int,
    extra_args: Mapping[str, Any],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Copier]:
    """
    Connect to image hosts and to a bucket. For the other parameters see :class:`Copier`.

    :param hook: queries the gateway for fresh URLs.
    :param at_once: pictures that are copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of every ``PutObject``.
    """
    with (
        closing(HttpConnections(at_once=at_once, allow_private=hook.settings.is_local)) as connections,
        closing(Downloader(connections, max_bytes=max_bytes, sleep=sleep)) as downloader,
        open_bucket(bucket, aws_conn_id=aws_conn_id, extra_args=extra_args, at_once=at_once) as opened,
    ):
        yield Copier(
            downloader=downloader,
            bucket=opened,
            key_template=key_template,
            on_existing=on_existing,
            writer=writer,
            get_task=hook.get_task,
            sleep=sleep,
        )


@dataclass(frozen=True)
class Copier:
    """
    Copies pictures, from any number of threads.

    :param key_template: after Jinja.
    :param writer: identifies the task instance in the objects' metadata, see
        :func:`~airflow_provider_apimart.transfers.stored_objects.writer_id`.
    :param get_task: queries the gateway for a task, for a fresh URL.
    :param clock: Unix seconds.
    """

    downloader: Downloader
    bucket: S3Bucket
    key_template: str
    on_existing: OnExisting
    writer: str
    get_task: Callable[[str], Task]
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def copy(self, picture: Picture) -> dict[str, Any]:
        """
        Return the description of the picture's object, after copying it there unless it is there already.

        :raises ApimartError: with the reason why it is not there.
        """
        extensions = guess_extensions(picture.url) if "{ext" in self.key_template else [""]
        if existing := self._existing(picture, extensions[0]):
            return existing
        with self.downloader.temporary_file() as file:
            try:
                download = self.downloader.fetch(picture.url, file)
            except TransferError as error:
                # The file may have turned out to be of another format than its URL says when it was copied before.
                for ext in extensions[1:]:
                    if existing := self._existing(picture, ext):
                        return existing
                is_refused = isinstance(error, ImageRefusedError)
                fetch_again = self._fetch_refused if is_refused else self._fetch_elsewhere
                download = fetch_again(picture, file, error)
            return self._store(picture, download, guessed=extensions[0])

    def _existing(self, picture: Picture, ext: str) -> dict[str, Any] | None:
        """Return the description of the object that a previous copy left, or ``None`` to copy the picture."""
        key = key_of(self.key_template, picture, ext)
        existing = self.bucket.look_up(key)
        if existing is None or must_copy(picture, key, existing, on_existing=self.on_existing, writer=self.writer):
            return None
        return self._described(picture, key, existing, outcome="skipped")

    def _fetch_refused(self, picture: Picture, file: IO[bytes], refusal: TransferError) -> Download:
        """
        Download a picture that the image host has refused once, also from the URL that the gateway gives now.

        A refusal is final only when the URL has expired, by the gateway's own word too: until then the image host may
        be a CDN that does not have the picture yet, or stand behind a firewall for a moment.

        :raises ImageExpiredError: when the picture cannot be had any more.
        :raises TransferError: when it could not be had now.
        """
        url, expires_at = picture.url, picture.expires_at
        pauses = iter(_PAUSES)
        has_fresh_url = False
        while True:
            fresh, trouble = self._fresh(picture)
            is_new = fresh is not None and fresh.url != url and not has_fresh_url
            if fresh:
                url, expires_at = fresh.url, fresh.expires_at
            if is_new:
                # Only the first new URL is requested without a pause: a gateway may sign another one at each query.
                has_fresh_url = True
            elif expires_at is not None and expires_at <= self.clock() and not trouble:
                reason = f"{refusal}, and its URL has expired: it can only be bought again"
                raise ImageExpiredError(reason, status_code=refusal.status_code, task_id=picture.task_id) from refusal
            elif pause := next(pauses, None):
                self.sleep(pause)
            else:
                also = f" (the gateway gave no other URL: {trouble})" if trouble else ""
                reason = f"{refusal}, at every request for a minute{also}"
                raise TransferError(reason, status_code=refusal.status_code, task_id=picture.task_id) from refusal
            try:
                return self.downloader.fetch(url, file)
            except ImageRefusedError as error:
                refusal = error

    def _fetch_elsewhere(self, picture: Picture, file: IO[bytes], failure: TransferError) -> Download:
        """
        Download a picture whose URL leads to no picture from the URL that the gateway gives now, if that is another.

        Some image hosts answer for a dead URL with a page and HTTP 200, or do not exist any more.
        """
        fresh, _ = self._fresh(picture) if failure.retryable else (None, "")
        if fresh is None or fresh.url == picture.url:
            raise failure
        return self.downloader.fetch(fresh.url, file)

    def _fresh(self, picture: Picture) -> tuple[Image | None, str]:
        """Return URL and expiry by the gateway's word now, and why there are none."""
        if not picture.can_be_queried:
            return None, ""
        try:
            images = self.get_task(picture.task_id).images
        except ApimartError as error:
            return None, loggable(error)
        if picture.index >= len(images):
            return None, f"it lists {len(images)} pictures of the task"
        return images[picture.index], ""

    def _store(self, picture: Picture, download: Download, *, guessed: str) -> dict[str, Any]:
        ext = download.image_format.ext
        if ext != guessed and guessed and (existing := self._existing(picture, ext)):
            return existing
        key = key_of(self.key_template, picture, ext)
        metadata = object_metadata(
            picture,
            size=download.size,
            sha256=download.sha256,
            width=download.width,
            height=download.height,
            writer=self.writer,
        )
        content_type = self.bucket.extra_args.get("ContentType", download.image_format.content_type)
        written = ExistingObject(download.size, content_type, metadata)
        for _ in range(_WRITES):
            if self.bucket.put(key, download, metadata, if_absent=self.on_existing != "overwrite"):
                return self._described(picture, key, written, outcome="copied")
            # Another writer was faster, or this write arrived although its response was lost.
            held = self.bucket.look_up(key)
            if held and not must_copy(picture, key, held, on_existing=self.on_existing, writer=self.writer):
                is_ours = held.metadata.get("apimart-writer") == self.writer
                return self._described(picture, key, held, outcome="copied" if is_ours else "skipped")
        raise TransferError(f"key {key!r} is being written and deleted by others", task_id=picture.task_id)

    def _described(self, picture: Picture, key: str, held: ExistingObject, *, outcome: str) -> dict[str, Any]:
        return {
            "task_id": picture.task_id,
            "index": picture.index,
            "uri": f"s3://{self.bucket.name}/{key}",
            "bytes": held.size,
            "sha256": held.metadata["sha256"],
            "content_type": held.content_type,
            "width": held.pixels("width"),
            "height": held.pixels("height"),
            "outcome": outcome,
            **dict(picture.known),
        }
