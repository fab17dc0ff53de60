"""
A gateway that accepts everything after a while.

Run as ``python -m benchmarks.submits.server CERTIFICATE LATENCY``. ``GET /`` tells what it has counted.
"""

from __future__ import annotations

import json
import sys

from benchmarks.https_server import Answer, Handler, Request, serve

__all__ = ["Gateway"]


class Gateway(Handler):
    """
    Answers each submit as APIMart does.

    :param latency: seconds until it answers.
    """

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._connections = self._submits = 0
        self._keys: set[str] = set()

    def connected(self) -> None:
        """Count a connection."""
        self._connections += 1

    def answer(self, request: Request) -> Answer:
        """Accept a submit."""
        if request.method == "GET":
            return _json({"submits": self._submits, "keys": len(self._keys), "connections": self._connections})
        self._submits += 1
        self._keys.add(request.headers["idempotency-key"])
        task = {"status": "submitted", "task_id": f"task_{self._submits}"}
        return _json({"code": 200, "data": [task]}, delay=self._latency)


def _json(value: object, *, delay: float = 0.0) -> Answer:
    return Answer(headers={"Content-Type": "application/json"}, body=(json.dumps(value).encode(),), delay=delay)


if __name__ == "__main__":
    serve(Gateway(float(sys.argv[2])), sys.argv[1])
