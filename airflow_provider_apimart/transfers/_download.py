"""A picture from its URL into a temporary file: complete, checked and measured, or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urljoin

import httpx
import imagesize
import tenacity

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import ImageRejectedError, TransferError
from airflow_provider_apimart.transfers._address import check_address
from airflow_provider_apimart.transfers._image_format import HEAD_SIZE, TAIL_SIZE, recognise

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from airflow_provider_apimart.transfers._image_format import ImageFormat

__all__ = ["Download", "Downloader", "ExpiredError"]

_CHUNK: Final = 256 * 1024
#: Bytes of one picture that stay in memory; what is larger goes through the temporary folder.
_IN_MEMORY: Final = 4 * 1024 * 1024
_MAX_REDIRECTS: Final = 5
_ATTEMPTS: Final = 4
#: A host that says one of these has not got the picture any more; the gateway may know a fresh URL.
_GONE: Final = frozenset({401, 403, 404, 410})


class ExpiredError(TransferError):
    """The image host does not give the picture any more."""

    default_retryable = False


@dataclass(frozen=True, slots=True)
class Download:
    """
    A complete picture.

    :param body: positioned at its beginning; the caller closes it.
    """

    body: IO[bytes]
    size: int
    sha256: str
    width: int
    height: int
    image_format: ImageFormat


class Downloader:
    """
    Fetches pictures, from any number of threads.

    The API key is unknown here, so that it cannot reach an image host.

    :param max_bytes: the largest picture that is accepted.
    :param allow_private: whether pictures may come from a private address.
    :param max_connections: simultaneous downloads.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        allow_private: bool,
        max_connections: int,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._allow_private = allow_private
        self._http = httpx.Client(
            headers={"User-Agent": f"airflow-provider-apimart/{__version__}", "Accept": "image/*"},
            timeout=httpx.Timeout(60.0, pool=None),
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            transport=transport,
        )

    def fetch(self, url: str) -> Download:
        """
        Fetch one picture; what breaks on the way is tried again.

        :raises ExpiredError: when the host does not give it any more.
        :raises ImageRejectedError: when what came is no complete picture, or too large.
        :raises TransferError: when it did not come at all.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, TransferError) and error.retryable),
            wait=tenacity.wait_exponential(multiplier=0.5, max=10.0) + tenacity.wait_random(0.0, 0.5),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        download: Download = attempts(self._fetch_once, url)
        return download

    def _fetch_once(self, url: str) -> Download:
        body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller closes it
        try:
            try:
                sha256 = self._stream(url, body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise TransferError(f"the download broke ({type(error).__name__}: {error})") from error
            return _measured(body, sha256)
        except BaseException:
            body.close()
            raise

    def _stream(self, url: str, body: IO[bytes]) -> str:
        """Write what the URL, or where it redirects to, delivers, and return its SHA-256."""
        for _ in range(_MAX_REDIRECTS + 1):
            check_address(url, allow_private=self._allow_private)
            with self._http.stream("GET", url) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers["location"])
                    continue
                _check_status(response)
                return self._receive(response, body)
        raise TransferError(f"the image host redirected more than {_MAX_REDIRECTS} times", retryable=False)

    def _receive(self, response: httpx.Response, body: IO[bytes]) -> str:
        digest, received = hashlib.sha256(), 0
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise self._too_large()
        for chunk in response.iter_bytes(_CHUNK):
            received += len(chunk)
            if received > self._max_bytes:
                raise self._too_large()
            digest.update(chunk)
            body.write(chunk)
        return digest.hexdigest()

    def _too_large(self) -> ImageRejectedError:
        return ImageRejectedError(f"the picture is larger than max_bytes={self._max_bytes}", retryable=False)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status in _GONE:
        raise ExpiredError(f"the image host answered HTTP {status}", status_code=status)
    if not response.is_success:
        transient = status >= 500 or status in {408, 429}  # noqa: PLR2004 - HTTP's own ranges
        raise TransferError(f"the image host answered HTTP {status}", status_code=status, retryable=transient)


def _measured(body: IO[bytes], sha256: str) -> Download:
    """Return the file with what it turned out to be."""
    size = body.tell()
    body.seek(0)
    head = body.read(HEAD_SIZE)
    body.seek(max(0, size - TAIL_SIZE))
    image_format = recognise(head, body.read(TAIL_SIZE), size)
    body.seek(0)
    width, height = imagesize.get(body)
    body.seek(0)
    return Download(body, size, sha256, width, height, image_format)
