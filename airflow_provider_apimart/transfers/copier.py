"""One picture from the gateway's URL to its key."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.images import guess_extensions
from airflow_provider_apimart.transfers._download import Downloader, ExpiredError
from airflow_provider_apimart.transfers._http import Connections
from airflow_provider_apimart.transfers._keys import Existing, key_of, metadata_of, must_copy
from airflow_provider_apimart.transfers._upload import open_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.transfers._download import Download
    from airflow_provider_apimart.transfers._keys import OnExisting
    from airflow_provider_apimart.transfers._upload import Bucket
    from airflow_provider_apimart.transfers.picture import Picture

__all__ = ["Copier", "open_copier"]


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
) -> Iterator[Copier]:
    """
    Connect to image hosts and to a bucket.

    :param hook: asks the gateway for fresh URLs.
    :param aws_conn_id: connection of type ``aws``.
    :param writer: stands for the task instance, see :func:`~airflow_provider_apimart.transfers.writer.writer_id`.
    :param at_once: pictures that will be copied at the same time.
    :param max_bytes: the largest picture that is accepted.
    :param extra_args: further arguments of every ``PutObject``.
    """
    with (
        closing(Connections(at_once=at_once, allow_private=hook.settings.is_local)) as connections,
        closing(Downloader(connections, max_bytes=max_bytes)) as downloader,
        open_bucket(bucket, aws_conn_id=aws_conn_id, extra_args=extra_args, at_once=at_once) as opened,
    ):
        yield Copier(
            downloader=downloader,
            bucket=opened,
            key_template=key_template,
            on_existing=on_existing,
            writer=writer,
            get_task=hook.get_task,
        )


@dataclass(frozen=True)
class Copier:
    """
    Copies pictures, from any number of threads.

    :param key_template: after Jinja.
    :param writer: stands for the task instance in the objects' metadata.
    :param get_task: asks the gateway after a task, for a fresh URL.
    """

    downloader: Downloader
    bucket: Bucket
    key_template: str
    on_existing: OnExisting
    writer: str
    get_task: Callable[[str], Task]

    def copy(self, picture: Picture) -> dict[str, Any]:
        """
        Return the description of the picture's object, after copying it there unless it is there already.

        :raises ApimartError: why it is not there.
        """
        extensions = guess_extensions(picture.url) if "{ext}" in self.key_template else [""]
        if held := self._held(picture, extensions[0]):
            return held
        with self.downloader.temporary_file() as file:
            try:
                download = self._fetch(picture, file)
            except ApimartError:
                # The file may have turned out to be of another format than its URL says when it was copied before.
                for ext in extensions[1:]:
                    if held := self._held(picture, ext):
                        return held
                raise
            return self._store(picture, download, guessed=extensions[0])

    def _held(self, picture: Picture, ext: str) -> dict[str, Any] | None:
        """Return the description of the object that an earlier copy left, or ``None`` to copy the picture."""
        key = key_of(self.key_template, picture, ext)
        existing = self.bucket.look(key)
        if existing is None or must_copy(picture, key, existing, on_existing=self.on_existing, writer=self.writer):
            return None
        return self._described(picture, key, existing, outcome="skipped")

    def _fetch(self, picture: Picture, file: IO[bytes]) -> Download:
        """Download from the URL that came with the task, or once more from the one that the gateway gives now."""
        try:
            return self.downloader.fetch(picture.url, file)
        except ExpiredError:
            images = self.get_task(picture.task_id).images if picture.can_be_asked_after else ()
            if picture.index >= len(images):
                raise
        return self.downloader.fetch(images[picture.index].url, file)

    def _store(self, picture: Picture, download: Download, *, guessed: str) -> dict[str, Any]:
        ext = download.image_format.ext
        if ext != guessed and guessed and (held := self._held(picture, ext)):
            return held
        key = key_of(self.key_template, picture, ext)
        metadata = metadata_of(
            picture,
            size=download.size,
            sha256=download.sha256,
            width=download.width,
            height=download.height,
            writer=self.writer,
        )
        self.bucket.put(key, download, metadata)
        written = Existing(download.size, download.image_format.content_type, metadata)
        return self._described(picture, key, written, outcome="copied")

    def _described(self, picture: Picture, key: str, held: Existing, *, outcome: str) -> dict[str, Any]:
        return {
            "task_id": picture.task_id,
            "index": picture.index,
            "uri": f"s3://{self.bucket.name}/{key}",
            "bytes": held.size,
            "sha256": held.metadata["sha256"],
            "content_type": held.content_type,
            "width": int(held.metadata["width"]),
            "height": int(held.metadata["height"]),
            "outcome": outcome,
            **dict(picture.known),
        }
