"""A proxy in front of an S3 server that passes every request on unchanged, unless a rule says what goes wrong."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from services.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["S3Proxy", "S3Rule"]

#: Headers that belong to one connection; ``Expect`` was answered here.
HOP_BY_HOP = frozenset({"connection", "expect", "keep-alive", "transfer-encoding"})
Action = Literal["refuse", "cut_before", "cut_midway", "cut_after", "pass"]


@dataclass
class S3Rule:
    """
    What happens to some requests.

    :param path: text that the path of the request must hold.
    :param action: ``refuse`` with a status, ``cut`` the connection before, midway through or after the forwarding of
        the request, or ``pass`` it on.
    :param skip: matching requests that pass first.
    :param times: how often it happens.
    :param notify: called when it happens, at the place where the connection would be cut.
    """

    path: str
    method: str
    action: Action
    skip: int = 0
    times: int = 1
    status: int = 503
    notify: Callable[[], None] = lambda: None
    seen: int = 0
    fired: int = 0

    def fires(self, method: str, path: str) -> bool:
        """Return whether it happens to this request, and count it."""
        if method != self.method or self.path not in path:
            return False
        self.seen += 1
        if self.seen <= self.skip or self.fired >= self.times:
            return False
        self.fired += 1
        return True


@dataclass
class S3Proxy:
    """
    A proxy on 127.0.0.1. A context manager.

    The ``Host`` header passes through, so that signatures made for the proxy's address are valid at the server.

    ``written`` counts by path how often the server has taken an object.

    :param upstream: address of the S3 server.
    """

    upstream: str
    written: Counter[str] = field(default_factory=Counter)
    _rules: list[S3Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add_rule(self, rule: S3Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear_rules(self) -> None:
        with self._lock:
            self._rules.clear()

    def draw(self, method: str, path: str) -> S3Rule | None:
        """Return the first rule that happens to a request."""
        with self._lock:
            return next((rule for rule in self._rules if rule.fires(method, path)), None)

    def count(self, method: str, path: str, status: int) -> None:
        """Take note of an answer of the server."""
        if method == "PUT" and status == HTTPStatus.OK:
            with self._lock:
                self.written[path] += 1

    def changed_header(self, name: str, value: str) -> tuple[str, str]:
        """Return a header of a response as the client gets it."""
        return name, value

    def changed_content(self, method: str, path: str, content: bytes) -> bytes:  # noqa: ARG002 - for a subclass
        """Return the content of a response as the client gets it, of the same length."""
        return content

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._serving = ExitStack()
        self._serving.enter_context(serving(self._server))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._serving.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: S3Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        rule = self.server.proxy.draw(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if rule is not None and rule.action == "cut_midway":
            self._send_half(self.rfile.read(length // 2), rule)
            return
        body = self.rfile.read(length)
        if rule is not None and rule.action in {"refuse", "cut_before"}:
            rule.notify()
            self._refuse(rule) if rule.action == "refuse" else self._cut()
            return
        with self._forward(body, length) as answer:
            content = self.server.proxy.changed_content(self.command, self.path, answer.read())
        self.server.proxy.count(self.command, self.path, answer.status)
        if rule is not None:
            rule.notify()
        if rule is not None and rule.action == "cut_after":
            self._cut()
        else:
            self._pass_on(answer, content)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815 - the base class looks for these

    def _forward(self, body: bytes, length: int) -> HTTPResponse:
        upstream = urlsplit(self.server.proxy.upstream)
        connection = HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                connection.putheader(name, value)
        connection.putheader("Connection", "close")
        connection.endheaders(body)
        if len(body) < length:
            connection.close()
            raise ConnectionAbortedError
        return connection.getresponse()

    def _send_half(self, half: bytes, rule: S3Rule) -> None:
        rule.notify()
        with suppress(OSError, HTTPException):
            self._forward(half, len(half) + 1)
        self._cut()

    def _pass_on(self, answer: HTTPResponse, content: bytes) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(*self.server.proxy.changed_header(name, value))
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, rule: S3Rule) -> None:
        body = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>refused on purpose</Message></Error>"
        self.send_response(rule.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        # A client that was killed leaves a broken connection, and that is what this is for.
        with suppress(OSError, HTTPException):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass
