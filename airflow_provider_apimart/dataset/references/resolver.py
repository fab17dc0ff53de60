"""
Addresses of reference images become what the gateway accepts: URLs of uploads, or data URIs.

An address stands for one image: new content under the same address is not noticed while the upload lives.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import reprlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from airflow_provider_apimart.dataset.references.addresses import addresses_of, replace_addresses
from airflow_provider_apimart.dataset.references.files import ReferenceFiles
from airflow_provider_apimart.dataset.references.uploads import UPLOAD_LIFETIME, Upload, UploadJournal
from airflow_provider_apimart.exceptions import (
    ApimartError,
    ConnectionFailedError,
    InvalidRequestError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.reference_images import (
    check_mask,
    decode_data_uri,
    encode_data_uri,
    inspect_reference,
    is_data_uri,
)
from airflow_provider_apimart.gateway.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.dataset.references.addresses import S3Object
    from airflow_provider_apimart.gateway.reference_images import ReferenceImage
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["ReferenceResolver"]

T = TypeVar("T")
AnyError = TypeVar("AnyError", bound=ApimartError)

#: Images that are held in memory at the same time, each of up to 20 MiB.
_AT_ONCE: Final = 8
_UPLOAD_ATTEMPTS: Final = 3
#: Failures after which an upload may have been made. It is free of charge, and a second one does no harm.
_UNCERTAIN: Final = (ServerError, ConnectionFailedError, UnreadableAnswerError)
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 200


@dataclass
class ReferenceResolver:
    """
    Replaces the addresses in requests, after a check of the images.

    Each address is uploaded once for as long as its URL lives, and each content once under any addresses. (Two workers
    that begin at the same time may both upload it, which is free of charge.) A gateway that takes no uploads gets data
    URIs.

    :param hook: uploads, as many images at a time as its connection allows, but not more than 8.
    :param store: of the ledger in which uploads are recorded; ``None`` where they are not.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param clock: returns Unix seconds; ``None`` for the clock of the store, or of this machine where there is none.
    :param sleep: pauses before an upload is repeated.
    """

    hook: ApimartHook
    store: LedgerStore | None = None
    _: KW_ONLY
    aws_conn_id: str | None = "aws_default"
    clock: Callable[[], float] | None = None
    sleep: Callable[[float], None] = time.sleep
    _uploading: dict[str, Lock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock = self.clock or (self.store.now if self.store else time.time)

    def resolve(self, requests: Sequence[ImageRequest]) -> list[ImageRequest | ApimartError]:
        """
        Return each request as it can be submitted, or the reason why it cannot be. Nothing was charged for it.

        ``InvalidRequestError`` and ``RequestRejectedError`` are about the images of that request. Any other error, such
        as a wrong API key, is not; a retryable one may pass.
        """
        return [
            urls if isinstance(urls, ApimartError) else self._replaced(request, urls)
            for request, urls in zip(requests, self.find_urls(requests), strict=True)
        ]

    def find_urls(self, requests: Sequence[ImageRequest]) -> list[dict[str, str] | ApimartError]:
        """Return the URL, or the data URI, of each address that each request names, or the reason why there is none."""
        images, errors = self._inspect_masks(requests)
        unfit = [_mask_error(request, images) for request in requests]
        places: dict[str, S3Object | Path] = {}
        for request, error in zip(requests, unfit, strict=True):
            named = addresses_of(request)
            if error is None and not named.keys() & errors.keys():
                places |= named
        urls: dict[str, str] = {}
        if places:
            has_uploads = self.hook.settings.gateway.takes_uploads
            urls, failed = self._upload_all(places) if has_uploads else self._for_each(places, _to_data_uri)
            errors |= failed
        return [error or _urls_of(request, urls, errors) for request, error in zip(requests, unfit, strict=True)]

    def _replaced(self, request: ImageRequest, urls: Mapping[str, str]) -> ImageRequest | InvalidRequestError:
        resolved = replace_addresses(request, urls)
        try:
            # Only now the size of all data URIs is known.
            if urls:
                check(resolved, self.hook.settings.gateway)
        except InvalidRequestError as error:
            return error
        return resolved

    @functools.cached_property
    def _journal(self) -> UploadJournal:
        """The known uploads, read when they are first needed."""
        warn = functools.partial(self.hook.log.warning, "%s")
        journal = UploadJournal(self.store, self.hook.settings.base_url, warn=warn, clock=self._clock)
        journal.read()
        return journal

    def _inspect_masks(
        self, requests: Sequence[ImageRequest]
    ) -> tuple[dict[str, ReferenceImage | None], dict[str, ApimartError]]:
        """
        Return the properties of each mask and of the image that it applies to, by address.

        They are read twice, here and for the upload, so that a mask that does not fit is not uploaded, and no more than
        a few images are in memory.
        """
        masked = [request for request in requests if request.mask_url]
        pairs = {url for request in masked for url in _mask_and_first(request)}
        places = {a: place for request in masked for a, place in addresses_of(request).items() if a in pairs}
        known = {a: upload.image for a in places if (upload := self._journal.find(a)) is not None}
        new = {address: place for address, place in places.items() if address not in known}
        images, errors = self._for_each(new, lambda content, _: inspect_reference(content))
        return {**known, **images}, errors

    def _upload_all(self, places: Mapping[str, S3Object | Path]) -> tuple[dict[str, str], dict[str, ApimartError]]:
        journal = self._journal
        known = {a: upload for a in places if (upload := journal.find(a)) is not None}
        missing = {address: place for address, place in places.items() if address not in known}
        made, errors = self._for_each(missing, self._upload)
        journal.remember(made.values())
        journal.write(list(made.values()))
        if missing:
            self.hook.log.info(
                "Reference images: uploaded %d, reused %d uploads, failed %d", len(made), len(known), len(errors)
            )
        return {address: upload.url for address, upload in {**known, **made}.items()}, errors

    def _for_each(
        self, places: Mapping[str, S3Object | Path], work: Callable[[bytes, str], T]
    ) -> tuple[dict[str, T], dict[str, ApimartError]]:
        """Return the result or the error of each image, by address."""

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
        image = inspect_reference(content)
        sha256 = hashlib.sha256(content).hexdigest()
        with self._uploading.setdefault(sha256, Lock()):
            upload = self._journal.find_content(sha256)
            if upload is None:
                expires_at = self._clock() + UPLOAD_LIFETIME
                upload = Upload(
                    address=address,
                    gateway=self.hook.settings.base_url,
                    url=self._send(content),
                    sha256=sha256,
                    bytes=len(content),
                    expires_at=expires_at,
                    image=image,
                )
                self._journal.remember([upload])
        return replace(upload, address=address, image=image)

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


def _mask_and_first(request: ImageRequest) -> tuple[str, ...]:
    """Return the mask and the first reference image of a request with a mask, as it names them."""
    return (request.mask_url or "", *(request.image_urls or ())[:1])


def _mask_error(request: ImageRequest, images: Mapping[str, ReferenceImage | None]) -> InvalidRequestError | None:
    """Return the error of a mask that does not fit, or ``None`` where it fits, as far as is known."""
    if not request.mask_url:
        return None
    mask, *first = (_image_of(url, images) for url in _mask_and_first(request))
    try:
        if mask is not None:
            check_mask(mask, first[0] if first else None)
    except InvalidRequestError as error:
        return _named(error, "mask_url", request.mask_url)
    return None


def _image_of(url: str, images: Mapping[str, ReferenceImage | None]) -> ReferenceImage | None:
    if is_data_uri(url):
        with suppress(InvalidRequestError):  # The check of the request names it.
            return inspect_reference(decode_data_uri(url))
    return images.get(url)


def _urls_of(
    request: ImageRequest, urls: Mapping[str, str], errors: Mapping[str, ApimartError]
) -> dict[str, str] | ApimartError:
    addresses = addresses_of(request)
    failed = [
        _named(errors[address], "image_urls" if address in (request.image_urls or ()) else "mask_url", address)
        for address in addresses
        if address in errors
    ]
    # A permanent error first: the request cannot be submitted, however often the other images are retried.
    return min(failed, key=lambda error: error.retryable) if failed else {a: urls[a] for a in addresses}


def _to_data_uri(content: bytes, _address: str) -> str:
    return encode_data_uri(content)


def _named(error: AnyError, name: str, address: str) -> AnyError:
    """Return the error of an image, which many requests may name, as the error of one of them."""
    named = copy.copy(error)
    is_said = any(words in str(error) for words in ("Nothing was ", "othing was charged"))
    named.args = (f"{name}={_SHORT.repr(address)}: {error}{'' if is_said else ' Nothing was bought.'}",)
    # A lost response to an upload, unlike one to a purchase, is retried.
    named.retryable = error.retryable or isinstance(error, ConnectionFailedError)
    if isinstance(named, InvalidRequestError):
        named.field, named.value = name, address
    return named
