"""A proxy in front of a gateway: it answers by itself, drips, cuts, and changes what the gateway says."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from faults.response_shapes import SHAPES
from services.serving import serving
from services.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["GatewayProxy", "GatewayRule"]

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})
PIECES = 12
#: Seconds that the gateway may take for a request.
PATIENCE = 600
PAGE = (
    "<!DOCTYPE html>\n<html><head><title>{status}</title></head><body><h1>Error {status}</h1>"
    "<p>Ray ID: 8f1c &bull; Performance &amp; security by a proxy</p></body></html>\n"
)
REFUSED = {"error": {"code": 429, "message": "Too many requests", "type": "rate_limit_error"}}

Endpoint = Literal["submit", "batch", "task", "image", "other"]
Action = Literal["page", "busy", "drip", "cut", "reshape", "skew"]


@dataclass
class GatewayRule:
    """
    One thing that happens to some requests.

    =========== ==========================================================================================
    Action      Effect
    =========== ==========================================================================================
    ``page``    The proxy answers with ``status`` and a page of its own, or with ``body`` as JSON
    ``busy``    It answers with the gateway's own 429, and ``retry_after`` as it is given
    ``drip``    The request is forwarded; the response comes in pieces over ``seconds``
    ``cut``     The request is forwarded; the connection ends within the body of the response
    ``reshape`` The response is forwarded in another of the :data:`~faults.response_shapes.SHAPES`
    ``skew``    The response's ``Date`` is ``offset`` seconds off
    =========== ==========================================================================================

    :param on: endpoints that it happens to.
    :param skip: matching requests that pass before.
    :param times: how often it happens; ``None`` for always.
    :param forwards: whether the request of a ``page`` reaches the gateway.
    :param retry_after: header of a ``busy`` answer: seconds as text, or a number for a date that is so many seconds
        after the (skewed) ``Date`` of the same response.
    """

    on: Sequence[Endpoint]
    action: Action
    skip: int = 0
    times: int | None = 1
    status: int = 502
    body: Any = None
    forwards: bool = False
    seconds: float = 0.0
    shape: str = ""
    retry_after: str | float | None = None
    offset: float = 0.0
    seen: int = 0
    fired: int = 0

    def matches(self, endpoint: Endpoint) -> bool:
        """Return whether the rule happens to this request, and count it as seen."""
        if endpoint not in self.on:
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times is None or self.fired < self.times)


@dataclass(frozen=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class GatewayProxy:
    """
    A proxy on 127.0.0.1, in front of one gateway. A context manager.

    The ``Host`` header passes through, so that the pictures' URLs lead through the proxy too.

    :param upstream: base URL of the gateway.
    """

    upstream: str
    rules: Sequence[GatewayRule]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def draw(self, endpoint: Endpoint) -> list[GatewayRule]:
        """Return the rules for a request. All but ``reshape`` count as fired: that one may find nothing to change."""
        with self._lock:
            drawn = [rule for rule in self.rules if rule.matches(endpoint)]
            for rule in drawn:
                rule.fired += rule.action != "reshape"
            return drawn

    def reshape(self, response: _Response, rule: GatewayRule) -> _Response:
        """Return the response in another shape, and count it if that differs."""
        if response.status not in {200, 202}:
            return response
        reshaped = SHAPES[rule.shape](response.body, self._fetch)
        with self._lock:
            if reshaped == response.body or (rule.times is not None and rule.fired >= rule.times):
                return response
            rule.fired += 1
        return _Response(response.status, response.headers, reshaped)

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> _Response:
        """Return the gateway's response to a request."""
        upstream = urlsplit(self.upstream)
        connection = HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            passed = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP}
            return _Response(answer.status, passed, answer.read())
        finally:
            connection.close()

    def _fetch(self, url: str) -> bytes:
        parts = urlsplit(url)
        return self.forward("GET", parts.path, {"Host": parts.netloc}).body

    def drain(self) -> None:
        """Wait until all requests of clients that have ended are at the gateway, if it is to receive them."""
        # Connections are accepted one after the other: those of the clients have been when this one is.
        with socket.create_connection(("127.0.0.1", self._server.server_port)) as last:
            self._wait_until(lambda: last.getsockname() in self._server.accepted)
        self._wait_until(lambda: len(self._server.accepted) == self._server.ended)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, what="requests that are under way", within=PATIENCE, pause=0.02)

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
    proxy: GatewayProxy

    def __init__(self, *arguments: Any) -> None:
        self.accepted: list[Any] = []
        self.ended = 0
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.accepted.append(client_address)
        super().process_request(request, client_address)

    def process_request_thread(self, *arguments: Any) -> None:
        try:
            super().process_request_thread(*arguments)
        finally:
            with self._lock:
                self.ended += 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        rules = proxy.draw(_endpoint(self.command, self.path))
        own = next((rule for rule in rules if rule.action in {"page", "busy"}), None)
        if own is None or own.forwards:
            response = proxy.forward(self.command, self.path, dict(self.headers.items()), body)
        if own is not None:
            response = _own_response(own)
        for rule in rules:
            if rule.action == "reshape":
                response = proxy.reshape(response, rule)
            elif rule.action == "skew":
                date = formatdate(time.time() + rule.offset, usegmt=True)
                headers = {name: value for name, value in response.headers.items() if name.lower() != "date"}
                response = _Response(response.status, {**headers, "Date": date}, response.body)
        self._send(response, next((rule for rule in rules if rule.action in {"drip", "cut"}), None))

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815 - the base class looks for these

    def _send(self, response: _Response, rule: GatewayRule | None) -> None:
        head = [f"HTTP/1.1 {response.status} -"]
        head += [f"{name}: {value}" for name, value in response.headers.items()]
        head += [f"Content-Length: {len(response.body)}", "", ""]
        raw = "\r\n".join(head).encode("latin-1") + (b"" if self.command == "HEAD" else response.body)
        if rule is None:
            self.wfile.write(raw)
        elif rule.action == "cut":
            self.wfile.write(raw[: len(raw) - len(response.body) // 2 - 1])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            size = len(raw) // PIECES + 1
            for start in range(0, len(raw), size):
                self.wfile.write(raw[start : start + size])
                time.sleep(rule.seconds / PIECES)

    def handle(self) -> None:
        # A client that was killed leaves a broken connection, and so does one that has waited long enough.
        with suppress(OSError, HTTPException):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


def _endpoint(method: str, path: str) -> Endpoint:
    if "/images/generations" in path:
        return "submit"
    if path.startswith("/f/"):
        return "image"
    if "/v1/tasks/" in path:
        return "batch" if method == "POST" else "task"
    return "other"


def _own_response(rule: GatewayRule) -> _Response:
    if rule.action == "page":
        media_type, text = "text/html; charset=utf-8", PAGE.format(status=rule.status)
        if rule.body is not None:
            media_type, text = "application/json", json.dumps(rule.body)
        return _Response(rule.status, {"Content-Type": media_type, "Server": "proxy"}, text.encode())
    now = time.time() + rule.offset
    headers = {"Content-Type": "application/json", "Date": formatdate(now, usegmt=True)}
    if isinstance(rule.retry_after, str):
        headers["Retry-After"] = rule.retry_after
    elif rule.retry_after is not None:
        headers["Retry-After"] = formatdate(now + rule.retry_after, usegmt=True)
    return _Response(429, headers, json.dumps(REFUSED).encode())
