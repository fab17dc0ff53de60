"""A server that answers byte by byte, for tests of the total time and size of a response."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["DrippingServer"]


class DrippingServer:
    """
    Answers each request with a beginning at once, and then with one piece again and again until the client hangs up.

    :param beginning: sent at once.
    :param piece: repeated.
    :param pause: seconds between two pieces.

    ``requests`` are the first lines of the requests.
    """

    def __init__(self, beginning: bytes, piece: bytes, *, pause: float = 0.01) -> None:
        self.requests: list[str] = []
        self._beginning = beginning
        self._piece = piece
        self._pause = pause
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopped.is_set():
                connection, _ = self._server.accept()
                self._threads.append(threading.Thread(target=self._answer, args=[connection]))
                self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.requests.append(connection.recv(65536).split(b"\r\n")[0].decode())
            connection.sendall(self._beginning)
            while not self._stopped.wait(self._pause):
                connection.sendall(self._piece)
