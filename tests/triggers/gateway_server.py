"""A gateway behind real sockets at which every task is finished."""

from __future__ import annotations

import json
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from services.serving import serving

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["GatewayServer"]


class GatewayServer:
    """A server in threads of this process, on 127.0.0.1. A context manager; ``requests`` counts what it was asked."""

    def __init__(self) -> None:
        self.requests = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._serving = ExitStack()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._serving.enter_context(serving(self._server))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._serving.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["task_ids"]
                self._answer([_finished(task_id) for task_id in asked])

            def do_GET(self) -> None:
                self._answer(_finished(self.path.rpartition("/")[2].partition("?")[0]))

            def log_message(self, *_: object) -> None:
                """Say nothing: ten thousand lines help nobody."""

            def _answer(self, data: object) -> None:
                gateway.requests += 1
                body = json.dumps({"code": 200, "data": data}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _finished(task_id: str) -> dict[str, object]:
    images = [{"url": [f"https://cdn.example/{task_id}.png"]}]
    return {"id": task_id, "status": "completed", "cost": 0.0085, "result": {"images": images}}
