"""
A second gateway, written from the vendors' pages alone. It shares no code with the provider or its simulator.

Tests choose what it does in three ways, from the broadest to the narrowest:

- attributes such as ``honours_keys`` or ``life`` change every purchase;
- :meth:`PlainGateway.reshape` lets it work as usual and changes the body of its next responses on a route;
- :meth:`PlainGateway.reply` sends a raw response on a route instead of working: a paid call is not accepted then.

It counts what matters for money: the paid calls it received, the purchases it accepted, status queries, and downloads
with their request targets byte for byte.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import struct
import threading
import time
import zlib
from collections import defaultdict, deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, quote, urlsplit

from services.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["PlainGateway", "PlainPurchase", "RawReply", "SubmitCall", "picture_bytes"]

Route = Literal["submit", "task", "batch", "image", "price", "balance", "models", "upload"]
DAY = 86_400


def picture_bytes(width: int = 4, height: int = 3, shade: int = 120) -> bytes:
    """Return a small, complete PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes([0, *[shade] * width]) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@dataclass(frozen=True)
class RawReply:
    """
    One HTTP response.

    :param body: bytes or text as they are; anything else becomes JSON.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class SubmitCall:
    """One paid call as received, accepted or not."""

    path: str
    key: str | None
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        return str(self.body.get("prompt"))


@dataclass
class PlainPurchase:
    """One accepted task."""

    task_id: str
    call: SubmitCall
    api_key: str
    created: int
    polls: int = 0

    @property
    def prompt(self) -> str:
        return self.call.prompt


#: One poll's view of a task: a status word, fields that replace the usual ones, or a function of purchase and gateway.
LifeStep = Any


@dataclass
class PlainGateway:
    """
    A gateway on 127.0.0.1. A context manager.

    :param honours_keys: whether a repeated ``Idempotency-Key`` gets the first response again.
    :param has_batch: whether ``POST /v1/tasks/batch`` exists.
    :param life: what each poll of a task sees, in order; the last one stays.
    :param lives: the same for single prompts.
    :param image_path: path and query of a picture's URL; the host serves it only at exactly these bytes.
    :param picture: what the image host delivers.
    :param url_lifetime: seconds from completion until ``expires_at``.
    :param private_tasks: whether a task can be seen with the key that bought it only.
    :param prices: ``data`` of the price endpoint.
    :param public_url: beginning of the picture URLs, where a proxy is in front.
    """

    honours_keys: bool = True
    has_batch: bool = True
    life: list[LifeStep] = field(default_factory=lambda: ["completed"])
    lives: dict[str, list[LifeStep]] = field(default_factory=dict)
    image_path: Callable[[PlainPurchase, int], str] = lambda purchase, index: f"/files/{purchase.task_id}_{index}.png"
    picture: bytes = field(default_factory=picture_bytes)
    url_lifetime: float = DAY
    private_tasks: bool = False
    prices: dict[str, Any] = field(
        default_factory=lambda: {"resolution_paid_prices": {"1K": 0.0085, "2K": 0.014, "4K": 0.021}}
    )
    public_url: str = ""
    calls: list[SubmitCall] = field(default_factory=list)
    purchases: list[PlainPurchase] = field(default_factory=list)
    #: Status queries: the ids of each request.
    queries: list[tuple[str, ...]] = field(default_factory=list)
    #: Request targets that the image host received, byte for byte.
    downloads: list[str] = field(default_factory=list)
    _replies: dict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    _shapes: dict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    _by_key: dict[str, tuple[str, PlainPurchase]] = field(default_factory=dict)
    _issued: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # What tests ask for.

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def keys(self) -> list[str | None]:
        """Idempotency keys of all paid calls, in order."""
        return [call.key for call in self.calls]

    def reply(self, route: Route, *replies: RawReply | Callable[[], RawReply] | None) -> None:
        """Send these, one after the other, instead of working; ``None`` works as usual, and so does what follows."""
        self._replies[route].extend(replies)

    def reshape(self, route: Route, shape: Callable[[Any], Any], *, times: int = 1) -> None:
        """Work as usual, and send ``shape(usual body)`` instead of the usual body: JSON, or a RawReply."""
        self._shapes[route].extend([shape] * times)

    def work_again(self) -> None:
        """Drop the replies that were not sent yet."""
        self._replies.clear()

    def forget_urls(self) -> None:
        """Serve no picture at a URL that was given out before."""
        self._issued.clear()

    # What a client asks for.

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> RawReply:
        route = _route(method, urlsplit(target).path)
        with self._lock:
            if route == "image":
                self.downloads.append(target)
            scripted = self._replies[route].popleft() if self._replies[route] else None
            if scripted is not None:
                if route == "submit":
                    self.calls.append(_call(target, headers, body))
                return scripted if isinstance(scripted, RawReply) else scripted()
            usual = self._usual(route, target, headers, body)
            if self._shapes[route] and usual.status < 300:
                shaped = self._shapes[route].popleft()(usual.body)
                return shaped if isinstance(shaped, RawReply) else RawReply(usual.status, shaped, usual.headers)
            return usual

    def _usual(self, route: Route, target: str, headers: dict[str, str], body: bytes) -> RawReply:
        parts, api_key = urlsplit(target), _api_key(headers)
        usual: dict[Route, Callable[[], RawReply]] = {
            "submit": lambda: self._submit(_call(target, headers, body), api_key),
            "task": lambda: self._one(parts.path.rpartition("/")[2], api_key),
            "batch": lambda: self._many(json.loads(body)["task_ids"], api_key),
            "image": lambda: self._image(target),
            "price": lambda: RawReply(body={"success": True, "data": self._prices(parts.query)}),
            "balance": lambda: RawReply(body={"success": True, "remain_balance": 10.5, "used_balance": 2.3}),
            "models": lambda: RawReply(body={"success": True, "object": "list", "data": [{"id": "gpt-image-2"}]}),
            "upload": lambda: RawReply(body=self._upload()),
        }
        return usual[route]()

    def _prices(self, query: str) -> dict[str, Any]:
        return {"model_name": parse_qs(query)["model"][0], **self.prices}

    def _image(self, target: str) -> RawReply:
        if target in self._issued:
            return RawReply(body=self.picture, headers={"Content-Type": "image/png"})
        return RawReply(403, "<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})

    def _submit(self, call: SubmitCall, api_key: str) -> RawReply:
        self.calls.append(call)
        digest = hashlib.sha256(json.dumps(call.body, sort_keys=True).encode()).hexdigest()
        headers = {}
        if call.key and self.honours_keys and (kept := self._by_key.get(call.key)):
            if kept[0] != digest:
                message = "this key was used with another body"
                return RawReply(409, _error("idempotency_key_reused", message, "invalid_request_error"))
            purchase, headers = kept[1], {"Idempotency-Replayed": "true"}
        else:
            number = next(self._numbers)
            purchase = PlainPurchase(f"task_{number:026d}", call, api_key, int(time.time()))
            self.purchases.append(purchase)
            if call.key:
                self._by_key[call.key] = digest, purchase
        data = [{"status": "submitted", "task_id": purchase.task_id}]
        return RawReply(body={"code": 200, "data": data}, headers=headers)

    def _one(self, task_id: str, api_key: str) -> RawReply:
        self.queries.append((task_id,))
        purchase = self._find(task_id, api_key)
        if purchase is None:
            return RawReply(400, _error(400, "无效的任务ID", "invalid_request_error"))
        return RawReply(body={"code": 200, "data": self.view(purchase)})

    def _many(self, task_ids: list[str], api_key: str) -> RawReply:
        if not self.has_batch:
            return RawReply(404, _error(404, "page not found", "invalid_request_error"))
        self.queries.append(tuple(task_ids))
        found = [purchase for task_id in task_ids if (purchase := self._find(task_id, api_key))]
        return RawReply(body={"data": [self.view(purchase) for purchase in found]})

    def _find(self, task_id: str, api_key: str) -> PlainPurchase | None:
        return next(
            (
                purchase
                for purchase in self.purchases
                if purchase.task_id == task_id and (not self.private_tasks or purchase.api_key == api_key)
            ),
            None,
        )

    def view(self, purchase: PlainPurchase) -> dict[str, Any]:
        """Return the task as the next poll sees it."""
        life = self.lives.get(purchase.prompt, self.life)
        step = life[min(purchase.polls, len(life) - 1)]
        purchase.polls += 1
        if callable(step):
            return dict(step(purchase, self))
        replaced = {"status": step} if isinstance(step, str) else dict(step)
        return {**self.usual_view(purchase, replaced.get("status", "completed")), **replaced}

    def usual_view(self, purchase: PlainPurchase, status: str | None = "completed") -> dict[str, Any]:
        """Return the documented fields of a task with a status."""
        shown: dict[str, Any] = {"id": purchase.task_id, "status": status, "progress": 0, "created": purchase.created}
        match status:
            case "completed":
                completed = purchase.created + 7
                images = [
                    {"url": [self.issue(purchase, index)], "expires_at": int(completed + self.url_lifetime)}
                    for index in range(int(purchase.call.body.get("n") or 1))
                ]
                cost = round(0.0085 * len(images), 6)
                done = {"progress": 100, "completed": completed, "actual_time": 7, "result": {"images": images}}
                return {**shown, **done, "cost": cost, "credits_cost": round(10 * cost, 6)}
            case "failed":
                return {
                    **shown,
                    "error": {"code": "task_failed", "message": "the kiln was cold", "type": "task_failed"},
                }
        return shown

    def issue(self, purchase: PlainPurchase, index: int = 0) -> str:
        """Return a picture's URL, at which the image host serves it from now on."""
        path = self.image_path(purchase, index)
        # A request line is ASCII: what is beyond is percent-encoded as UTF-8, and nothing else is touched.
        self._issued.add("".join(char if char.isascii() else quote(char) for char in path))
        return (self.public_url or self.url) + path

    def _upload(self) -> dict[str, Any]:
        number = next(self._numbers)
        return {
            "url": f"{self.url}/uploads/reference-{number}.png",
            "filename": "reference.png",
            "content_type": "image/png",
            "bytes": 4499,
            "created_at": int(time.time()),
        }

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gateway = self
        self._serving = ExitStack()
        self._serving.enter_context(serving(self._server))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._serving.close()


def _error(code: Any, message: str, kind: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": kind}}


def _api_key(headers: dict[str, str]) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def _call(target: str, headers: dict[str, str], body: bytes) -> SubmitCall:
    return SubmitCall(urlsplit(target).path, headers.get("idempotency-key"), json.loads(body))


def _route(method: str, path: str) -> Route:
    if method == "POST":
        if path == "/v1/tasks/batch":
            return "batch"
        return "upload" if path == "/v1/uploads/images" else "submit"
    named: dict[str, Route] = {"/api/pricing/model": "price", "/v1/balance": "balance", "/v1/models": "models"}
    if path in named:
        return named[path]
    return "task" if re.fullmatch("/v1/tasks/[^/]+", path) else "image"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    gateway: PlainGateway


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: _Server

    def _serve(self) -> None:
        # Not self.path: the base class joins leading slashes.
        target = self.raw_requestline.split(b" ")[1].decode("latin-1")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.gateway.handle(self.command, target, headers, body)
        content = reply.content
        given = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        self.send_response_only(reply.status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - the base class looks for these

    def handle(self) -> None:
        with suppress(OSError, HTTPException):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass
