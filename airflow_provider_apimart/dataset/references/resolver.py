"""
The replacement of addresses of reference images by URLs of uploads, or by data URIs.

An address stands for one image: new content at the same address is not noticed while the upload lives.
"""

from __future__ import annotations

import copy
import errno
import functools
import hashlib
import reprlib
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar, cast

from airflow_provider_apimart.dataset.references.addresses import addresses_of, replace_addresses
from airflow_provider_apimart.dataset.references.uploads import UPLOAD_LIFETIME, Upload, UploadJournal
from airflow_provider_apimart.exceptions import (
    ApimartError,
    ConnectionFailedError,
    InvalidRequestError,
    ReferenceUnavailableError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.reference_images import (
    check_mask,
    check_reference_bytes,
    decode_data_uri,
    encode_data_uri,
    inspect_reference,
    is_data_uri,
    read_reference,
)
from airflow_provider_apimart.gateway.validation import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.dataset.references.addresses import S3Object
    from airflow_provider_apimart.gateway.reference_images import ReferenceImage
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["ReferenceResolver", "open_reader"]

T = TypeVar("T")
AnyError = TypeVar("AnyError", bound=ApimartError)

#: Images that are in memory at the same time, each of up to 20 MiB.
_AT_ONCE: Final = 8
_UPLOAD_ATTEMPTS: Final = 3
#: Failures after which the gateway may have the upload. A second one is free of charge and does no harm.
_UNCERTAIN: Final = (ServerError, ConnectionFailedError, UnreadableAnswerError)
#: Errors of a file that a retry would meet again.
_PERMANENT: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
)
#: Statuses and error codes of a store that have nothing to do with the object: a retry may succeed.
_SERVER_ERROR: Final = 500
_TRANSIENT: Final = frozenset({408, 429, "ExpiredToken", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown"})
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 200


@dataclass
class ReferenceResolver:
    """
    A converter of requests that name images by addresses into requests that the gateway accepts.

    Each address is uploaded once for as long as its URL lives, and each content once under any addresses. (Two workers
    that begin at the same time may both upload it, which is free of charge.) A gateway that takes no uploads gets data
    URIs.

    :param hook: uploads as many images at a time as its connection allows, up to 8.
    :param store: of the ledger in which uploads are recorded; ``None`` to record none.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param clock: returns Unix seconds; ``None`` for the clock of the store, or without one, of this machine.
    :param sleep: pauses before an upload is repeated.
    """

    hook: ApimartHook
    store: LedgerStore | None = None
    _: KW_ONLY
    aws_conn_id: str | None = "aws_default"
    clock: Callable[[], float] | None = None
    sleep: Callable[[float], None] = time.sleep
    _uploading: dict[str, Lock] = field(default_factory=dict)

    def resolve(self, requests: Sequence[ImageRequest]) -> list[ImageRequest | ApimartError]:
        """
        Return each request as it can be submitted, or the reason why it cannot. Nothing was charged for it.

        ``InvalidRequestError`` and ``RequestRejectedError`` are about the images of that request. Any other error, such
        as a wrong API key, is not; a retryable one may pass.
        """
        return [
            urls if isinstance(urls, ApimartError) else self._replaced(request, urls)
            for request, urls in zip(requests, self.find_urls(requests), strict=True)
        ]

    def find_urls(self, requests: Sequence[ImageRequest]) -> list[dict[str, str] | ApimartError]:
        """Return for each request its addresses with their URLs (or data URIs), or the error of one of its images."""
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
            # The size of all data URIs was not known before.
            if urls:
                check(resolved, self.hook.settings.gateway)
        except InvalidRequestError as error:
            return error
        return resolved

    @functools.cached_property
    def _journal(self) -> UploadJournal:
        """The known uploads, read when they are first needed."""
        clock = self.clock or (self.store.now if self.store else time.time)
        warn = functools.partial(self.hook.log.warning, "%s")
        journal = UploadJournal(self.store, self.hook.settings.base_url, warn, clock)
        journal.read()
        return journal

    def _inspect_masks(
        self, requests: Sequence[ImageRequest]
    ) -> tuple[dict[str, ReferenceImage | None], dict[str, ApimartError]]:
        """
        Return the properties of each mask and of the image that it applies to, by address.

        New ones are read here and again for the upload, so that a mask that does not fit is not uploaded, and no more
        than a few images are in memory.
        """
        masked = [request for request in requests if request.mask_url]
        pairs = {url for request in masked for url in _mask_and_first(request)}
        places = {a: place for request in masked for a, place in addresses_of(request).items() if a in pairs}
        known = {a: upload.image for a in places if (upload := self._journal.find(a)) is not None}
        new = {address: place for address, place in places.items() if address not in known}
        images, errors = self._for_each(new, lambda content, _: inspect_reference(content))
        return {**known, **images}, errors

    def _upload_all(self, places: Mapping[str, S3Object | Path]) -> tuple[dict[str, str], dict[str, ApimartError]]:
        known = {a: upload for a in places if (upload := self._journal.find(a)) is not None}
        missing = {address: place for address, place in places.items() if address not in known}
        made, errors = self._for_each(missing, self._upload)
        self._journal.write(list(made.values()))
        if missing:
            self.hook.log.info(
                "Reference images: uploaded %d, reused %d uploads, failed %d", len(made), len(known), len(errors)
            )
        return {address: upload.url for address, upload in {**known, **made}.items()}, errors

    def _for_each(
        self, places: Mapping[str, S3Object | Path], work: Callable[[bytes, str], T]
    ) -> tuple[dict[str, T], dict[str, ApimartError]]:
        """Call a function with each image and its address; return its results and the errors, by address."""

        def attempt(address: str) -> T | ApimartError:
            try:
                return work(read(places[address]), address)
            except ApimartError as error:
                return error

        at_once = min(_AT_ONCE, self.hook.settings.max_concurrency)
        with open_reader(self.aws_conn_id) as read, ThreadPoolExecutor(at_once) as pool:
            outcomes = dict(zip(places, pool.map(attempt, places), strict=True))
        done = {address: outcome for address, outcome in outcomes.items() if not isinstance(outcome, ApimartError)}
        return done, {address: error for address, error in outcomes.items() if isinstance(error, ApimartError)}

    def _upload(self, content: bytes, address: str) -> Upload:
        image = inspect_reference(content)
        sha256 = hashlib.sha256(content).hexdigest()
        with self._uploading.setdefault(sha256, Lock()):
            known = self._journal.find(sha256)
            expires_at = known.expires_at if known else self._journal.clock() + UPLOAD_LIFETIME
            upload = Upload(
                address=address,
                gateway=self.hook.settings.base_url,
                url=known.url if known else self._send(content),
                sha256=sha256,
                bytes=len(content),
                expires_at=expires_at,
                image=image,
            )
            self._journal.remember(upload)
        return upload

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


@contextmanager
def open_reader(aws_conn_id: str | None) -> Iterator[Callable[[S3Object | Path], bytes]]:
    """
    Yield a function that reads an image, usable from several threads, and close its S3 clients afterwards.

    An image that is larger than the gateways accept is not read. The function raises ``InvalidRequestError``
    when the image does not exist, access is denied, or it is too large; and ``ReferenceUnavailableError`` when it
    cannot be read now, but a retry may succeed.

    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    """
    clients: dict[str | None, S3Client] = {}
    connecting = Lock()

    def connect(conn_id: str | None) -> S3Client:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        with connecting:
            if conn_id not in clients:
                client = cast("S3Client", S3Hook(aws_conn_id=conn_id).get_conn())
                clients[conn_id] = opened.enter_context(closing(client))
            return clients[conn_id]

    def read(place: S3Object | Path) -> bytes:
        if isinstance(place, Path):
            return _read_file(place)
        return _read_object(place, functools.partial(connect, place.conn_id or aws_conn_id))

    with ExitStack() as opened:
        yield read


def _read_file(path: Path) -> bytes:
    try:
        return read_reference(path)
    except OSError as error:
        raise _failure(f"{error.strerror} ({path.absolute()})", is_permanent=error.errno in _PERMANENT) from error


def _read_object(place: S3Object, connect: Callable[[], S3Client]) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

    try:
        response = connect().get_object(Bucket=place.bucket, Key=place.key)
        with closing(response["Body"]) as body:
            check_reference_bytes(response["ContentLength"])
            return body.read()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
        is_transient = bool({status, error.response.get("Error", {}).get("Code")} & _TRANSIENT)
        raise _failure(error, is_permanent=status < _SERVER_ERROR and not is_transient) from error
    except BotoCoreError as error:
        raise _failure(error, is_permanent=not isinstance(error, HTTPClientError | IncompleteReadError)) from error


def _failure(error: object, *, is_permanent: bool) -> InvalidRequestError | ReferenceUnavailableError:
    reason = " ".join(str(error).split()).rstrip(".")
    advice = "Correct the address, or the access to it" if is_permanent else "A retry reads it again"
    message = f"The image could not be read: {reason}. Nothing was submitted and nothing was charged. {advice}."
    return InvalidRequestError(message) if is_permanent else ReferenceUnavailableError(message)


def _mask_and_first(request: ImageRequest) -> tuple[str, ...]:
    """Return the mask and the first reference image of a request with a mask, as it names them."""
    return (request.mask_url or "", *(request.image_urls or ())[:1])


def _mask_error(request: ImageRequest, images: Mapping[str, ReferenceImage | None]) -> InvalidRequestError | None:
    """Return the error of a mask that does not fit, or ``None`` if it fits as far as is known."""
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
    """Return the error of an image as the error of one of the requests that name it."""
    named = copy.copy(error)
    says_charge = any(words in str(error) for words in ("Nothing was ", "othing was charged"))
    named.args = (f"{name}={_SHORT.repr(address)}: {error}{'' if says_charge else ' Nothing was bought.'}",)
    # A lost response to an upload, unlike one to a purchase, is retried.
    named.retryable = error.retryable or isinstance(error, ConnectionFailedError)
    if isinstance(named, InvalidRequestError):
        named.field, named.value = name, address
    return named
