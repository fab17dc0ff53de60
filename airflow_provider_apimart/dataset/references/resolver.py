"""
Reference images of a dataset on their way to the gateway: uploaded, or put into the request. I/O.

An address stands for one image: what is put there later under the same name is not noticed.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import reprlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_apimart.dataset.references.addresses import addresses_of, resolved
from airflow_provider_apimart.dataset.references.files import ReferenceFiles
from airflow_provider_apimart.dataset.references.upload import LIFETIME, Upload
from airflow_provider_apimart.dataset.references.uploads import UploadJournal
from airflow_provider_apimart.exceptions import (
    ApimartError,
    ConnectionFailedError,
    InvalidRequestError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.images import data_uri
from airflow_provider_apimart.gateway.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
    from airflow_provider_apimart.dataset.references.addresses import S3Object
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["References"]

T = TypeVar("T")

#: Images that are held in memory at the same time, each of up to 20 MiB.
_AT_ONCE: Final = 8
_UPLOAD_ATTEMPTS: Final = 3
#: Failures after which an upload may have been made. It is free, and a second one harms nobody.
_UNCERTAIN: Final = (ServerError, ConnectionFailedError, UnreadableAnswerError)
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 200


@dataclass
class References:
    """
    Makes of the addresses in requests what their gateway takes.

    Each address is uploaded once for as long as its URL lives, and each content once under whatever addresses. (Two
    workers that begin at the same time may both upload it, which is free.) A gateway that takes no uploads gets data
    URIs.

    :param hook: uploads, as many images at a time as its connection allows, but no more than 8.
    :param objects: of the ledger, beside which the uploads are noted.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param clock: Unix seconds.
    :param sleep: what pauses before an upload is tried again.
    """

    hook: ApimartHook
    objects: LedgerObjects
    _: KW_ONLY
    aws_conn_id: str | None = "aws_default"
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _turns: dict[str, Lock] = field(default_factory=dict)

    def resolved(self, requests: Sequence[ImageRequest]) -> list[ImageRequest | ApimartError]:
        """
        Return each request with URLs in place of addresses, or why it cannot go out. Nothing was charged for it.

        ``InvalidRequestError`` and ``RequestRejectedError`` are about the image. Any other error, such as a wrong API
        key, would have met another image too; it may end by itself where it is retryable.
        """
        urls, errors = self.urls_for(requests)
        return [self._resolved(request, urls, errors) for request in requests]

    def urls_for(self, requests: Iterable[ImageRequest]) -> tuple[dict[str, str], dict[str, ApimartError]]:
        """Return the URL, or the data URI, of each address that the requests name, or why there is none."""
        places = {address: place for request in requests for address, place in addresses_of(request).items()}
        if not places:
            return {}, {}
        if not self.hook.settings.gateway.takes_uploads:
            return self._for_each(places, lambda content, _: data_uri(content))
        return self._uploaded(places)

    @functools.cached_property
    def _journal(self) -> UploadJournal:
        """What was uploaded, read at the first need."""
        warn = functools.partial(self.hook.log.warning, "%s")
        journal = UploadJournal(self.objects, self.hook.settings.base_url, warn=warn, clock=self.clock)
        journal.read()
        return journal

    def _resolved(
        self, request: ImageRequest, urls: Mapping[str, str], errors: Mapping[str, ApimartError]
    ) -> ImageRequest | ApimartError:
        addresses = addresses_of(request)
        if not addresses:
            return request
        failed = [_named(errors[address], address, request) for address in addresses if address in errors]
        if failed:
            # One that lasts: the request cannot go out, however often the others are tried.
            return min(failed, key=lambda error: error.retryable)
        ready = resolved(request, urls)
        try:
            # Only now the size of data URIs is known.
            check(ready, self.hook.settings.gateway)
        except InvalidRequestError as error:
            return error
        return ready

    def _uploaded(self, places: Mapping[str, S3Object | Path]) -> tuple[dict[str, str], dict[str, ApimartError]]:
        journal = self._journal
        known = {address: found for address in places if (found := journal.find(address)) is not None}
        missing = {address: place for address, place in places.items() if address not in known}
        made, errors = self._for_each(missing, self._upload)
        journal.remember(made.values())
        journal.write(list(made.values()))
        if missing:
            self.hook.log.info(
                "Reference images: %d new, %d known from before, %d cannot be had", len(made), len(known), len(errors)
            )
        return {address: upload.url for address, upload in {**known, **made}.items()}, errors

    def _for_each(
        self, places: Mapping[str, S3Object | Path], work: Callable[[bytes, str], T]
    ) -> tuple[dict[str, T], dict[str, ApimartError]]:
        """Return what becomes of each image, or why it could not be had; a few are worked on at a time."""

        def attempt(address: str) -> T | ApimartError:
            try:
                return work(files.read(places[address]), address)
            except ApimartError as error:
                return error

        at_once = min(_AT_ONCE, self.hook.settings.max_concurrency)
        with ReferenceFiles(self.aws_conn_id) as files, ThreadPoolExecutor(at_once) as pool:
            outcomes = dict(zip(places, pool.map(attempt, places), strict=True))
        done = {address: outcome for address, outcome in outcomes.items() if not isinstance(outcome, ApimartError)}
        return done, {address: error for address, error in outcomes.items() if isinstance(error, ApimartError)}

    def _upload(self, content: bytes, address: str) -> Upload:
        sha256 = hashlib.sha256(content).hexdigest()
        with self._turns.setdefault(sha256, Lock()):
            upload = self._journal.find_content(sha256)
            if upload is None:
                expires_at = self.clock() + LIFETIME
                upload = Upload(
                    address=address,
                    gateway=self.hook.settings.base_url,
                    url=self._send(content),
                    sha256=sha256,
                    bytes=len(content),
                    expires_at=expires_at,
                )
                self._journal.remember([upload])
        return replace(upload, address=address)

    def _send(self, content: bytes) -> str:
        import tenacity

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_UNCERTAIN),
            wait=tenacity.wait_exponential(multiplier=0.5, max=10) + tenacity.wait_random(0, 0.5),
            stop=tenacity.stop_after_attempt(_UPLOAD_ATTEMPTS),
            sleep=self.sleep,
            reraise=True,
        )
        return attempts(self.hook.upload_image, content)


def _named(error: ApimartError, address: str, request: ImageRequest) -> ApimartError:
    """Return the error, of an image that many requests may name, as the error of one of them."""
    name = "image_urls" if address in (request.image_urls or ()) else "mask_url"
    named = copy.copy(error)
    nothing = (
        "" if any(word in str(error) for word in ("Nothing was ", "othing was charged")) else " Nothing was bought."
    )
    named.args = (f"{name}={_SHORT.repr(address)}: {error}{nothing}",)
    # A lost answer to an upload, unlike one to a purchase, is no reason not to try again.
    named.retryable = error.retryable or isinstance(error, ConnectionFailedError)
    if isinstance(named, InvalidRequestError):
        named.field, named.value = name, address
    return named
