"""A real HTTP server whose every answer a test chooses, down to lengths that are not true."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import psutil
from services.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Answer", "HttpServer", "Request", "closed_port"]

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Request:
    """
    What somebody asked.

    :param headers: by their names in lower case.
    :param connection: number of the connection over which it came.
    :param sha256: of its body, in hexadecimal digits.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    connection: int
    sha256: str


@dataclass(frozen=True)
class Answer:
    """
    What it is told.

    :param body: in pieces.
    :param length: what ``Content-Length`` says, in spite of the body; ``None`` to send the body in chunks, which say
        of each other where they end.
    """

    body: Iterable[bytes] = ()
    length: int | None = 0
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def holding(cls, body: bytes, status: int = 200, **headers: str) -> Answer:
        return cls((body,), len(body), status, {name.replace("_", "-"): value for name, value in headers.items()})


class HttpServer:
    """
    A server on 127.0.0.1, or a proxy. A context manager; when it is left, all its connections are closed.

    :param answer: called with each request. That to a ``CONNECT`` opens the tunnel if its status is 200.
    :param certificate: PEM file with chain and key, for TLS.
    """

    def __init__(self, answer: Callable[[Request], Answer], *, certificate: Path | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._certificate = certificate

    @property
    def port(self) -> int:
        return self._server.server_port

    def url(self, path: str = "/picture.png") -> str:
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self.port}{path}"

    def connections(self) -> int:
        """Return how many connections have carried a request."""
        return len({request.connection for request in self.requests})

    def open_connections(self) -> int:
        """Return how many connections to the server this process holds open at the moment."""
        held = psutil.Process().net_connections("tcp")
        return sum(connection.raddr != () and connection.raddr.port == self.port for connection in held)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificate)
            self._server.context = context
        self._serving = ExitStack()
        self._serving.enter_context(serving(self._server))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._serving.close()


class _Server(ThreadingHTTPServer):
    #: Closing waits for the threads, whose connections the clients have closed.
    daemon_threads = False
    request_queue_size = 128
    owner: HttpServer
    context: ssl.SSLContext | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.numbers = itertools.count()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    #: A connection that a failing test leaves open is closed after this many seconds.
    timeout = 60
    server: _Server

    def setup(self) -> None:
        if self.server.context is not None:
            # Shakes hands when it is read from, which is when it may fail.
            self.request = self.server.context.wrap_socket(
                self.request, server_side=True, do_handshake_on_connect=False
            )
        self.number = next(self.server.numbers)
        super().setup()

    def do_GET(self) -> None:
        self._send(self._answer())

    do_HEAD = do_PUT = do_GET  # noqa: N815 - the base class looks for these

    def do_CONNECT(self) -> None:
        answer = self._answer()
        if answer.status != HTTPStatus.OK:
            self._send(answer)
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(HTTPStatus.OK)
            self.end_headers()
            there = threading.Thread(target=_pass_on, args=(self.request, upstream))
            there.start()
            _pass_on(upstream, self.request)
            there.join()
        self.close_connection = True

    def _answer(self) -> Answer:
        request = Request(
            self.command,
            self.path,
            {name.lower(): value for name, value in self.headers.items()},
            self.number,
            self._digest_of_body(),
        )
        self.server.owner.requests.append(request)
        return self.server.owner.answer(request)

    def _digest_of_body(self) -> str:
        digest, left = hashlib.sha256(), int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, CHUNK))):
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        sent = 0
        for piece in answer.body if self.command != "HEAD" else ():
            self.wfile.write(piece if answer.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)
        if answer.length is None:
            self.wfile.write(b"0\r\n\r\n")
        elif sent < answer.length and self.command != "HEAD":
            self.close_connection = True

    def handle(self) -> None:
        # Clients may leave at any time: that is what some tests are about.
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.request.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else can get."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(CHUNK):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
