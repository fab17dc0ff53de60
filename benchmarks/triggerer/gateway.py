"""
A server that plays all the APIs which the contestants ask, and counts what they ask.

Run as ``python -m benchmarks.triggerer.gateway SCENARIO CERTIFICATE [--without-batch]``; prints its URL.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.https_server import Answer, Handler, Request, serve
from benchmarks.triggerer import answers
from benchmarks.triggerer.scenario import GatewayTask, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Gateway"]

#: What stands before a task's id in the paths of the APIs, and what they say about the task.
_APIS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "/v1/tasks": answers.apimart_task,
    "/api/v2/accounts/1/runs": answers.dbt_run,
    "/v1/batches": answers.openai_batch,
    "/v1/messages/batches": answers.anthropic_batch,
    "/status": answers.plain_status,
}


class Gateway(Handler):
    """
    The tasks, and what was asked about them.

    :param scenario: the tasks, and the time that an answer takes.
    :param has_batch: whether many tasks can be asked after in one request.
    """

    def __init__(self, scenario: Scenario, *, has_batch: bool) -> None:
        self._latency = scenario.latency
        self._tasks = [*scenario.gateway_tasks(), scenario.warm_up_task()]
        self._has_batch = has_batch
        self._started_at = math.inf
        self._requests = self._connections = 0

    def connected(self) -> None:
        """Count a connection."""
        self._connections += 1

    def begin(self, request: Request) -> None:
        """Keep the body of a question after many tasks."""
        if request.method == "POST":
            request.attachment = bytearray()
            request.on_body = request.attachment.extend

    def answer(self, request: Request) -> Answer:
        """Say how things stand."""
        url = urlsplit(request.target)
        if url.path == "/control":
            return self._json(200, self._control(parse_qs(url.query)))
        self._requests += 1
        if request.method == "POST":
            return self._many(request.attachment)
        api, _, task_id = url.path.rstrip("/").rpartition("/")
        task = self._tasks[GatewayTask.number_of(task_id)]
        is_finished = self._is_finished(task)
        described = _APIS[api](task, is_finished=is_finished)
        if api == "/v1/tasks":
            described = {"code": 200, "data": described}
        status = 404 if api == "/status" and not is_finished else 200
        return self._json(status, described, delay=self._latency)

    def _many(self, body: bytearray) -> Answer:
        if not self._has_batch:
            error = {"error": {"code": 404, "message": "Not Found", "type": "invalid_request_error"}}
            return self._json(404, error, delay=self._latency)
        tasks = [self._tasks[GatewayTask.number_of(task_id)] for task_id in json.loads(body)["task_ids"]]
        described = [answers.apimart_task(task, is_finished=self._is_finished(task)) for task in tasks]
        return self._json(200, {"code": 200, "data": described}, delay=self._latency)

    def _control(self, query: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Start the tasks at the Unix time ``?at=``, or tell what was counted; those who control do not count."""
        self._connections -= 1
        if "at" in query:
            self._started_at = float(query["at"][0])
        return {"requests": self._requests, "connections": self._connections, "gateway_cpu": time.process_time()}

    def _is_finished(self, task: GatewayTask) -> bool:
        return task.ends_after == 0 or time.time() >= self._started_at + task.ends_after

    @staticmethod
    def _json(status: int, content: object, *, delay: float = 0.0) -> Answer:
        body = json.dumps(content).encode()
        return Answer(status, {"Content-Type": "application/json"}, (body,), delay=delay)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Scenario.from_json)
    parser.add_argument("certificate")
    parser.add_argument("--without-batch", action="store_true")
    options = parser.parse_args(arguments)
    serve(Gateway(options.scenario, has_batch=not options.without_batch), options.certificate)


if __name__ == "__main__":
    main()
