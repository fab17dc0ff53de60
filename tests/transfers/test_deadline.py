from __future__ import annotations

import socket
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.transfers.connections import BoundedResponse, response_deadline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


class Dripping:
    """
    The other end of a connection, which sends something and then a byte every now and then.

    :param sent: the bytes after that.
    """

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.sent = 0
        self._far = far
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, first: bytes) -> None:
        self._far.sendall(first)
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    def _drip(self) -> None:
        while self.sent < 1000 and not self._left.wait(0.02):
            self._far.sendall(b".")
            self.sent += 1

    def end(self) -> None:
        self._left.set()
        if self._thread:
            self._thread.join()


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    near, far = socket.socketpair()
    with near, far:
        near.settimeout(10)
        dripping = Dripping(near, far)
        yield dripping
        dripping.end()


def read(answer: BoundedResponse) -> bytes:
    try:
        answer.begin()
        return answer.read()
    finally:
        answer.close()


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nX-", HEAD], ids=["status", "headers", "body"])
def test_an_answer_that_comes_drop_by_drop_is_given_up(dripping: Dripping, first: bytes) -> None:
    dripping.begin(first)

    with response_deadline(0.3), pytest.raises(TimeoutError):
        read(BoundedResponse(dripping.near))

    assert dripping.sent < 1000


def test_an_answer_that_begins_after_the_deadline_is_not_awaited(dripping: Dripping) -> None:
    dripping.begin(b"")

    with response_deadline(0), pytest.raises(TimeoutError, match="not complete in time"):
        read(BoundedResponse(dripping.near))


@pytest.mark.parametrize(
    "limit", [nullcontext(), response_deadline(60)], ids=["without a deadline", "before the deadline"]
)
def test_an_answer_in_time_is_whole(dripping: Dripping, limit: AbstractContextManager[None]) -> None:
    dripping.begin(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")

    with limit:
        assert read(BoundedResponse(dripping.near)) == b"whole"


def test_the_limit_to_silence_holds_besides(dripping: Dripping) -> None:
    dripping.near.settimeout(0.05)

    with response_deadline(3600), pytest.raises(TimeoutError):
        read(BoundedResponse(dripping.near))
