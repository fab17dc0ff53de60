"""
A proxy in front of any gateway, over plain TCP or TLS, which misbehaves as its rules say.

The first rule that matches a request decides what happens to it; a request that none matches passes unchanged. Each
connection carries one request, so that everything that is cut, dripped or garbled is one request's trouble.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from services.plain_gateway import RawReply

__all__ = [
    "HTML_PAGE",
    "MisbehavingProxy",
    "ProxiedRequest",
    "ProxyRule",
    "answering",
    "cutting_after",
    "cutting_before",
    "dripping",
    "flooding",
    "garbling_tls",
    "holding",
    "replacing",
    "rewriting",
]

HTML_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><hr>nginx</body></html>"
CHUNK = 64 * 1024


@dataclass
class ProxiedRequest:
    """
    One request on its way.

    :param forwarded: whether the gateway has received it.
    """

    method: str
    target: str
    raw: bytes
    client: socket.socket
    proxy: MisbehavingProxy
    forwarded: bool = False

    def forward(self) -> bytes:
        """Send the request to the gateway and return its raw response."""
        upstream = urlsplit(self.proxy.upstream)
        with socket.create_connection((upstream.hostname or "", upstream.port or 80), timeout=30) as gateway:
            gateway.sendall(_closing(self.raw))
            pieces = []
            while piece := gateway.recv(CHUNK):
                pieces.append(piece)
        self.forwarded = True
        return b"".join(pieces)

    def send(self, content: bytes) -> None:
        self.client.sendall(content)


@dataclass
class ProxyRule:
    """
    What happens to some requests.

    :param act: one of this module's functions makes it.
    :param method: of the request; any unless given.
    :param path: text that the request's target must hold.
    :param skip: matching requests that pass first.
    :param times: how often it happens; always unless given.
    """

    act: Callable[[ProxiedRequest], None]
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int | None = 1
    seen: int = 0
    fired: int = 0

    def fires(self, request: ProxiedRequest) -> bool:
        """Return whether it happens to this request, and count it."""
        if self.method not in ("", request.method) or self.path not in request.target:
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


def answering(reply: RawReply) -> Callable[[ProxiedRequest], None]:
    """Answer without the gateway, as a firewall or a load balancer does."""
    return lambda request: request.send(_raw(reply))


def replacing(reply: RawReply) -> Callable[[ProxiedRequest], None]:
    """Let the gateway work, and send this instead of its response."""

    def act(request: ProxiedRequest) -> None:
        request.forward()
        request.send(_raw(reply))

    return act


def cutting_before() -> Callable[[ProxiedRequest], None]:
    """Close the connection; the gateway has not heard of the request."""
    return lambda request: None  # noqa: ARG005 - the connection is closed after each request


def cutting_after(sent: int = 0) -> Callable[[ProxiedRequest], None]:
    """Let the gateway work, and close the connection after so many bytes of its response."""
    return lambda request: request.send(request.forward()[:sent])


def dripping(*, from_body: bool = False, pause: float = 0.2) -> Callable[[ProxiedRequest], None]:
    """Let the gateway work, and send its response byte by byte, until the client or the proxy has enough."""

    def act(request: ProxiedRequest) -> None:
        response = request.forward()
        start = response.index(b"\r\n\r\n") + 4 if from_body else 0
        request.send(response[:start])
        for place in range(start, len(response)):
            if request.proxy.closing.wait(pause):
                return
            request.send(response[place : place + 1])

    return act


def holding(released: threading.Event) -> Callable[[ProxiedRequest], None]:
    """Let the gateway work, and hold its response until an event: other responses overtake it."""

    def act(request: ProxiedRequest) -> None:
        response = request.forward()
        while not released.wait(0.05) and not request.proxy.closing.is_set():
            pass
        request.send(response)

    return act


def rewriting(**headers: str) -> Callable[[ProxiedRequest], None]:
    """Let the gateway work, and replace headers of its response; underscores stand for hyphens."""

    def act(request: ProxiedRequest) -> None:
        head, _, body = request.forward().partition(b"\r\n\r\n")
        given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        lines = [line for line in head.split(b"\r\n") if line.partition(b":")[0].decode().lower() not in given]
        lines += [f"{name}: {value}".encode() for name, value in given.items()]
        request.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    return act


def flooding(size: int, *, status: int = 200) -> Callable[[ProxiedRequest], None]:
    """Answer without the gateway, with a JSON text of so many bytes, whose length no header announces."""

    def act(request: ProxiedRequest) -> None:
        request.send(f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[".encode())
        for _ in range(size // CHUNK):
            request.send(b"0," * (CHUNK // 2))
        request.send(b"0]")

    return act


def garbling_tls() -> Callable[[ProxiedRequest], None]:
    """Send a TLS record that nobody can decrypt. Needs a proxy with a certificate."""
    return lambda request: _write_around_tls(request.client, b"\x17\x03\x03\x00\x20" + b"\xa5" * 32)


@dataclass
class MisbehavingProxy:
    """
    A proxy on 127.0.0.1. A context manager.

    :param upstream: URL of the gateway, without TLS.
    :param certificate: PEM file with chain and key; the proxy speaks TLS then.
    :param requests: everything that was received, in order.
    """

    upstream: str
    certificate: Path | None = None
    requests: list[ProxiedRequest] = field(default_factory=list)
    rules: list[ProxyRule] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()
        return f"{'http' if self.certificate is None else 'https'}://{host}:{port}"

    @property
    def forwarded(self) -> list[ProxiedRequest]:
        return [request for request in self.requests if request.forwarded]

    def add_rule(  # the fields of a rule
        self,
        act: Callable[[ProxiedRequest], None],
        *,
        method: str = "",
        path: str = "",
        skip: int = 0,
        times: int | None = 1,
    ) -> ProxyRule:
        rule = ProxyRule(act, method, path, skip, times)
        with self._lock:
            self.rules.append(rule)
        return rule

    def __enter__(self) -> Self:
        self._context: ssl.SSLContext | None = None
        if self.certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(self.certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Wakes the thread that accepts.
        self._acceptor.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = connection
        try:
            # Clients may leave at any time.
            with suppress(OSError, ValueError):
                if self._context is not None:
                    client = self._context.wrap_socket(connection, server_side=True)
                if raw := _read_request(client):
                    self._treat(client, raw)
        finally:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()

    def _treat(self, client: socket.socket, raw: bytes) -> None:
        method, target, _ = raw.partition(b"\r\n")[0].decode("latin-1").split(" ", 2)
        request = ProxiedRequest(method, target, raw, client, self)
        with self._lock:
            self.requests.append(request)
            rule = next((rule for rule in self.rules if rule.fires(request)), None)
        if rule is None:
            request.send(request.forward())
        else:
            rule.act(request)


def _raw(reply: RawReply) -> bytes:
    content = reply.content
    kind = "text/html" if content.startswith(b"<") else "application/json"
    headers = {"Content-Type": kind, "Content-Length": str(len(content)), **reply.headers, "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}\r\n{head}\r\n".encode() + content


def _closing(raw: bytes) -> bytes:
    """Return the request with the wish that its connection be closed afterwards, and otherwise byte for byte."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body


def _read_request(client: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = client.recv(CHUNK)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length and (piece := client.recv(CHUNK)):
        body += piece
    return head + b"\r\n\r\n" + body


def _write_around_tls(client: socket.socket, content: bytes) -> None:
    os.write(client.fileno(), content)
