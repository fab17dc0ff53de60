"""A picture from its URL into a temporary file: complete, checked and measured, or not at all."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_to_bytes

import tenacity
from urllib3.exceptions import HTTPError

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import ImageRejectedError, TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.gateway.images import UNKNOWN_FORMAT, measure, recognise
from airflow_provider_apimart.transfers.address import (
    ImageRefusedError,
    check_address,
    host_and_port,
    loggable,
    redirect_target,
)
from airflow_provider_apimart.transfers.connections import CHUNK, HttpConnections, response_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_apimart.gateway.images import ImageFormat

__all__ = ["MAX_SHOWN_BYTES", "Download", "Downloader", "fetch_delivered"]

_log: Final = logging.getLogger(__name__)

#: All headers that an image host gets.
_HEADERS: Final = {
    "User-Agent": f"airflow-provider-apimart/{__version__}",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}
_MAX_REDIRECTS: Final = 5
_ATTEMPTS: Final = 4
#: Seconds for one attempt in total. The default ``max_bytes``, 64 MiB, takes about that long at 0.1 MiB a second.
_PATIENCE: Final = 600.0
#: Statuses that are requested again, besides 5xx.
_TRANSIENT: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Download:
    """
    A complete picture.

    :param body: a file that holds the picture and nothing else, positioned at its beginning.
    :param width: in pixels, as is ``height``; ``None`` where the format does not tell.
    """

    body: IO[bytes]
    size: int
    sha256: str
    width: int | None
    height: int | None
    image_format: ImageFormat


class Downloader:
    """
    Fetches pictures, from any number of threads.

    The API key is unknown here, so that it cannot reach an image host. Pictures pass through temporary files, because
    a picture must be whole before its first byte goes to S3, and memory is for the worker's other tasks.

    :param connections: carry the requests, and know whether pictures may come from a private address.
    :param max_bytes: bytes of the largest picture that is accepted.
    :param attempts: at one picture, the first included.
    :param patience: seconds for one attempt in total.
    """

    def __init__(
        self,
        connections: HttpConnections,
        *,
        max_bytes: int,
        attempts: int = _ATTEMPTS,
        patience: float = _PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connections = connections
        self._max_bytes = max_bytes
        self._attempts = attempts
        self._patience = patience
        self._sleep = sleep
        #: Files that are not in use. Writing over one costs a third of making a new one.
        self._files: SimpleQueue[IO[bytes]] = SimpleQueue()

    @contextmanager
    def temporary_file(self) -> Iterator[IO[bytes]]:
        """Lend a file that one picture after the other can be fetched into."""
        try:
            file = self._files.get_nowait()
        except Empty:
            try:
                file = tempfile.TemporaryFile()  # noqa: SIM115 - lent again and again, closed by close()
            except OSError as error:
                raise TransferError(f"a temporary file could not be made ({error})") from error
        try:
            yield file
        except BaseException:
            # Closing writes what could not be written to a full disk once more.
            with suppress(OSError):
                file.close()
            raise
        self._files.put(file)

    def fetch(self, url: str, body: IO[bytes]) -> Download:
        """
        Fetch one picture into a file, over what that held, and retry transient failures.

        :param url: http, https or data; it reaches the host byte for byte.
        :raises ImageRefusedError: when the host does not deliver it, which may be because it does not have it yet.
        :raises ImageRejectedError: when what it delivered is not a complete picture, or too large.
        :raises TransferError: when there was no usable response.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
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
            with response_deadline(self._patience):
                sha256 = self._receive(_decoded(url), body) if url.startswith("data:") else self._stream(url, body)
            body.truncate()
            return _measured(body, sha256)
        except ValueError as error:
            raise ImageRefusedError(f"the URL cannot be used ({_reason(error)})") from error
        except (HTTPError, OSError) as error:
            raise TransferError(f"the download broke ({_reason(error)})") from error

    def _stream(self, url: str, body: IO[bytes]) -> str:
        """Write what the URL, or the one that it redirects to, delivers, and return its SHA-256."""
        for _ in range(_MAX_REDIRECTS + 1):
            check_address(url, allow_private=self._connections.allow_private)
            response = self._connections.request("GET", url, headers=_HEADERS, preload_content=False)
            try:
                if location := response.get_redirect_location():
                    url = redirect_target(url, location)
                    continue
                _check_status(response.status)
                announced = response.headers.get("content-length", "")
                if re.fullmatch("[0-9]{1,19}", announced) and int(announced) > self._max_bytes:
                    raise self._too_large()
                return self._receive(response.stream(CHUNK), body)
            finally:
                # Closes a connection whose response was not read to its end; one that was is free already.
                response.close()
                response.release_conn()
        raise ImageRefusedError(f"the image host redirected more than {_MAX_REDIRECTS} times")

    def _receive(self, chunks: Iterable[bytes], body: IO[bytes]) -> str:
        digest, received = hashlib.sha256(), 0
        for chunk in chunks:
            received += len(chunk)
            if received > self._max_bytes:
                raise self._too_large()
            digest.update(chunk)
            body.write(chunk)
        return digest.hexdigest()

    def _too_large(self) -> ImageRejectedError:
        return ImageRejectedError(
            f"the picture is larger than max_bytes={self._max_bytes}; a larger max_bytes copies it", retryable=False
        )

    def close(self) -> None:
        """Remove the temporary files."""
        while not self._files.empty():
            self._files.get_nowait().close()


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, TransferError) and error.retryable and not isinstance(error, ImageRefusedError)


def _decoded(uri: str) -> Iterator[bytes]:
    """
    Yield the content of a data URI, which a gateway may send instead of an address.

    :raises ValueError: for one that cannot be decoded.
    """
    header, comma, data = uri.partition(",")
    if not comma:
        raise ValueError("a data URI without data")
    if not header.endswith(";base64"):
        yield unquote_to_bytes(data)
        return
    text = "".join(unquote(data).split()).replace("-", "+").replace("_", "/").rstrip("=")
    for start in range(0, len(text), CHUNK):  # A multiple of four, as base64 needs it.
        piece = text[start : start + CHUNK]
        try:
            yield base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError(f"a data URI that is not base64: {error}") from None


def _reason(error: BaseException) -> str:
    """Return the cause at the bottom. urllib3's own messages may repeat the URL, whose query may be a signature."""
    bottom = error
    while bottom.__context__ is not None:
        bottom = bottom.__context__
    return type(bottom).__name__ if isinstance(bottom, HTTPError) else loggable(f"{type(bottom).__name__}: {bottom}")


def _check_status(status: int) -> None:
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own ranges, here and below
        return
    cls = TransferError if status >= 500 or status in _TRANSIENT else ImageRefusedError  # noqa: PLR2004
    raise cls(f"the image host answered HTTP {status}", status_code=status)


def _measured(body: IO[bytes], sha256: str) -> Download:
    """Return the file with its format and its size."""
    image_format = recognise(body)
    if image_format is UNKNOWN_FORMAT:
        body.seek(0)
        _log.warning(
            "A picture is of an unknown format; it begins with %r. It was paid for, and is stored as %s (%s).",
            body.read(16),
            UNKNOWN_FORMAT.ext,
            UNKNOWN_FORMAT.content_type,
        )
    size = body.seek(0, 2)
    width, height = measure(body, image_format) or (None, None)
    body.seek(0)
    return Download(body, size, sha256, width, height, image_format)


#: The largest picture that the plugin shows; a 4K PNG of nothing but noise has 24 MiB.
MAX_SHOWN_BYTES: Final = 64 * MEBIBYTE
#: The plugin's limits: simultaneous pictures of one host, seconds of silence, attempts, and seconds in total. A task
#: can wait for its picture; a browser asks again. The largest picture arrives in that time at 1.1 MiB a second.
_SHOWN_AT_ONCE: Final = 8
_SHOWN_SILENCE: Final = 10.0
_SHOWN_ATTEMPTS: Final = 2
_SHOWN_PATIENCE: Final = 60.0


def fetch_delivered(
    url: str, body: IO[bytes], *, local_gateway: str | None, patience: float = _SHOWN_PATIENCE
) -> Download:
    """
    Fetch one picture into a file for the plugin, by the same rules as the transfer.

    :param url: as the gateway gave it.
    :param local_gateway: base URL of the gateway where that is itself at a private address: URLs, and redirects, may
        then lead to its very host and port. ``None`` for no private address at all.
    :param patience: seconds in total.
    :raises ImageRefusedError: when the host does not deliver it.
    :raises ImageRejectedError: when what it delivered is not a complete picture, or larger than
        :data:`MAX_SHOWN_BYTES`.
    :raises TransferError: when there was no usable response.
    """
    downloader = _shared_downloader(allow_private=host_and_port(local_gateway) if local_gateway else False)
    with response_deadline(patience):
        return downloader.fetch(url, body)


@cache
def _shared_downloader(*, allow_private: bool | str) -> Downloader:
    # Kept for the life of the process: all pictures of a page come from one host.
    connections = HttpConnections(at_once=_SHOWN_AT_ONCE, timeout=_SHOWN_SILENCE, allow_private=allow_private)
    return Downloader(connections, max_bytes=MAX_SHOWN_BYTES, attempts=_SHOWN_ATTEMPTS)
