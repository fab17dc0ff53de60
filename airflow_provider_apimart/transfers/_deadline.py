"""A time by which an answer must be complete. A limit to silence alone never ends one that comes drop by drop."""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

__all__ = ["Answer", "deadline"]

_ENDS_AT: Final = ContextVar("answers_end_at", default=math.inf)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """
    Give up every :class:`Answer` that this thread begins to wait for, and that is not complete in time.

    :param seconds: for all of them together.
    """
    token = _ENDS_AT.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ENDS_AT.reset(token)


class Answer(http.client.HTTPResponse):
    """An answer whose reading, of the headers and of the body, raises :class:`TimeoutError` after the deadline."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        ends_at = _ENDS_AT.get()
        if ends_at != math.inf:
            self.fp = io.BufferedReader(_Until(ends_at, sock, self.fp.detach()))


class _Until(io.RawIOBase):
    """
    What a socket receives, until a time.

    :param ends_at: by the monotonic clock.
    :param source: that which reads the socket.
    """

    def __init__(self, ends_at: float, sock: socket.socket, source: io.RawIOBase) -> None:
        self._ends_at = ends_at
        self._sock = sock
        self._source = source
        self._silence = sock.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(min(left, self._silence))
        received: int | None = self._source.readinto(buffer)
        return received

    def close(self) -> None:
        self._source.close()
        super().close()
