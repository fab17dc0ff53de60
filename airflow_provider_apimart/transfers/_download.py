"""A picture from its URL into a temporary file: complete, checked and measured, or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urljoin

import imagesize
import tenacity
from urllib3.exceptions import HTTPError

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import ImageRejectedError, TransferError
from airflow_provider_apimart.gateway.images import HEAD_SIZE, TAIL_SIZE, recognise
from airflow_provider_apimart.transfers._address import check_address
from airflow_provider_apimart.transfers._http import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3 import BaseHTTPResponse

    from airflow_provider_apimart.gateway.images import ImageFormat
    from airflow_provider_apimart.transfers._http import Connections

__all__ = ["Download", "Downloader", "ExpiredError"]

#: All that an image host is told.
_HEADERS: Final = {
    "User-Agent": f"airflow-provider-apimart/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}
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

    :param body: a file that holds the picture and nothing else, positioned at its beginning.
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

    The API key is unknown here, so that it cannot reach an image host. Pictures pass through temporary files, because
    a picture must be whole before the first byte of it goes to S3, and memory is for the worker's other tasks.

    :param connections: what carries the requests, and knows whether pictures may come from a private address.
    :param max_bytes: the largest picture that is accepted.
    :param attempts: how often a picture is asked for at most.
    :param sleep: what pauses before another try.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        max_bytes: int,
        attempts: int = _ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connections = connections
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._sleep = sleep
        #: Files that are not in use. Writing over one costs a third of making a new one.
        self._files: SimpleQueue[IO[bytes]] = SimpleQueue()

    @contextmanager
    def temporary_file(self) -> Iterator[IO[bytes]]:
        """Lend a file that one picture after the other can be fetched into."""
        try:
            file = self._files.get_nowait()
        except Empty:
            file = _new_file()
        try:
            yield file
        except BaseException:
            # What could not be written to a full disk is tried once more when the file is closed.
            with suppress(OSError):
                file.close()
            raise
        self._files.put(file)

    def fetch(self, url: str, body: IO[bytes]) -> Download:
        """
        Fetch one picture into a file, over what that held; what breaks on the way is tried again.

        :raises ExpiredError: when the host does not give it any more.
        :raises ImageRejectedError: when what came is no complete picture, or too large.
        :raises TransferError: when it did not come at all.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, TransferError) and error.retryable),
            wait=tenacity.wait_exponential(multiplier=0.5, max=10.0) + tenacity.wait_random(0.0, 0.5),
            stop=tenacity.stop_after_attempt(self._attempts),
            sleep=self._sleep,
            reraise=True,
        )
        download: Download = attempts(self._fetch_once, url, body)
        return download

    def _fetch_once(self, url: str, body: IO[bytes]) -> Download:
        try:
            body.seek(0)
            sha256 = self._stream(url, body)
            body.truncate()
            return _measured(body, sha256)
        except (HTTPError, OSError, ValueError) as error:
            # A URL that cannot be used is among the ValueErrors: that does not pass.
            is_lasting = isinstance(error, ValueError)
            raise TransferError(f"the download broke ({_reason(error)})", retryable=not is_lasting) from error

    def _stream(self, url: str, body: IO[bytes]) -> str:
        """Write what the URL, or where it redirects to, delivers, and return its SHA-256."""
        for _ in range(_MAX_REDIRECTS + 1):
            check_address(url, allow_private=self._connections.allow_private)
            response = self._connections.request("GET", url, headers=_HEADERS, preload_content=False)
            try:
                if target := response.get_redirect_location():
                    url = urljoin(url, target)
                    continue
                _check_status(response.status)
                return self._receive(response, body)
            finally:
                # Closes a connection whose answer was not read to its end; one that was is free already.
                response.close()
                response.release_conn()
        raise TransferError(f"the image host redirected more than {_MAX_REDIRECTS} times", retryable=False)

    def _receive(self, response: BaseHTTPResponse, body: IO[bytes]) -> str:
        digest, received = hashlib.sha256(), 0
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            raise self._too_large()
        for chunk in response.stream(CHUNK):
            received += len(chunk)
            if received > self._max_bytes:
                raise self._too_large()
            digest.update(chunk)
            body.write(chunk)
        return digest.hexdigest()

    def _too_large(self) -> ImageRejectedError:
        return ImageRejectedError(f"the picture is larger than max_bytes={self._max_bytes}", retryable=False)

    def close(self) -> None:
        """Remove the temporary files."""
        while not self._files.empty():
            self._files.get_nowait().close()


def _new_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise TransferError(f"there is no place for a temporary file ({error})") from error


def _reason(error: BaseException) -> str:
    """Return what lies at the bottom. What urllib3 says itself may repeat the URL, whose query may be a signature."""
    bottom = error
    while bottom.__context__ is not None:
        bottom = bottom.__context__
    return type(bottom).__name__ if isinstance(bottom, HTTPError) else f"{type(bottom).__name__}: {bottom}"


def _check_status(status: int) -> None:
    if status in _GONE:
        raise ExpiredError(f"the image host answered HTTP {status}", status_code=status)
    if not 200 <= status < 300:  # noqa: PLR2004 - HTTP's own ranges, here and below
        transient = status >= 500 or status in {408, 429}  # noqa: PLR2004
        raise TransferError(f"the image host answered HTTP {status}", status_code=status, retryable=transient)


def _measured(body: IO[bytes], sha256: str) -> Download:
    """Return the file with what it turned out to be."""
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    head = body.read(HEAD_SIZE)
    body.seek(max(0, size - TAIL_SIZE))
    image_format = recognise(head, body.read(TAIL_SIZE), size)
    body.seek(0)
    width, height = imagesize.get(body)
    body.seek(0)
    return Download(body, size, sha256, width, height, image_format)
