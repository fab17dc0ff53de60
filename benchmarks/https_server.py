"""As cheap an HTTPS server as Python can be, so that the server's core is not what is measured."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Answer", "Handler", "Request", "serve"]

_BUFFER = bytearray(256 * 1024)  # One for all connections: nothing of it is kept.
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Request:
    """
    The head of a request.

    :param headers: by lower-case name.
    :param on_body: called with each piece of the body; drops it unless the handler sets it.
    :param attachment: what the handler wants to know again once the body has come.
    """

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    on_body: Callable[[bytes], object] = len
    attachment: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What goes back.

    :param body: pieces, which are sent as they are.
    :param length: announced as the body's, which it is unless given: the answer to HEAD has no body.
    :param delay: seconds before it is sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: tuple[bytes | memoryview, ...] = ()
    length: int | None = None
    delay: float = 0.0

    def pieces(self) -> Iterable[bytes | memoryview]:
        """Return what goes over the line."""
        length = sum(map(len, self.body)) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} -", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return ("\r\n".join([*lines, "", ""]).encode(), *self.body)


class Handler(ABC):
    """What a server does with requests."""

    def connected(self) -> None:  # noqa: B027 - for those who count
        """Take notice of a connection."""

    def begin(self, request: Request) -> None:  # noqa: B027 - for those who want the body
        """Take notice of a request whose body is still to come."""

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Answer a request that has come completely."""


class _Connection(asyncio.BufferedProtocol):
    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._pieces: list[bytes | memoryview] = []
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._handler.connected()
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not say so.

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._parser.feed_data(memoryview(_BUFFER)[:nbytes])

    def on_url(self, url: bytes) -> None:
        self._request.target += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._request.method = self._parser.get_method().decode()
        self._handler.begin(self._request)
        if "expect" in self._request.headers:
            self._transport.write(_CONTINUE)

    def on_body(self, piece: bytes) -> None:
        self._request.on_body(piece)

    def on_message_complete(self) -> None:
        answer = self._handler.answer(self._request)
        self._request = Request()
        self._pieces.extend(answer.pieces())
        if answer.delay:
            asyncio.get_running_loop().call_later(answer.delay, self._send)
        else:
            self._send()

    def _send(self) -> None:
        while self._pieces and not self._is_paused:
            self._transport.write(self._pieces.pop(0))

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._send()


def serve(handler: Handler, certificate: str | None) -> None:
    """
    Serve on a port of 127.0.0.1 until SIGTERM, and print the URL as a line of JSON once it answers.

    :param certificate: path of the PEM file with chain and key; ``None`` for plain HTTP.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(handler), "127.0.0.1", 0, ssl=context, backlog=1024)
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"url": f"http{'s' if context else ''}://127.0.0.1:{port}"}), flush=True)
        await stopped.wait()

    uvloop.run(run())
