"""A gateway that answers status queries without a network, in every way that a batch endpoint may be odd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gateway.exchange import answer, text_answer

from airflow_provider_apimart.exceptions import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from airflow_provider_apimart.gateway.endpoints import Endpoint
    from airflow_provider_apimart.gateway.polling import Found, Steps
    from airflow_provider_apimart.gateway.response import Response

__all__ = ["BatchGateway"]

PAGE = "<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head></html>"


@dataclass
class BatchGateway:
    """
    A gateway that knows every task except some.

    :param limit: ids that a batch may hold; more are refused with 400.
    :param bad: ids that no task has.
    :param refuses_bad: whether a batch that holds one is refused with 400; otherwise it is left out.
    :param describes: tasks that a batch describes, the first of them.
    :param missing: ids that batches leave out although they are known.
    :param item_errors: ids for which batches hold an error although they are known.
    :param batch_status: HTTP status that every batch is answered with; ``200`` for a page that is not JSON.
    :param status: HTTP status that everything is answered with; ``200`` for a page that is not JSON.
    :param single_status: HTTP status that every single query is answered with.
    :param page: whether refusals are HTML pages.
    :param poison: ids on which a whole batch fails, with ``poison_status``.
    :param items: descriptions of tasks that only batches give.
    :param batches: how many ids each batch held, one list per step.
    :param singles: ids that were asked after by themselves, one list per step.
    """

    limit: int = 10**6
    bad: AbstractSet[str] = frozenset()
    refuses_bad: bool = False
    describes: int = 10**6
    missing: AbstractSet[str] = frozenset()
    item_errors: AbstractSet[str] = frozenset()
    batch_status: int | None = None
    status: int | None = None
    single_status: int | None = None
    page: bool = False
    poison: AbstractSet[str] = frozenset()
    poison_status: int = 500
    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    batches: list[list[int]] = field(default_factory=list)
    singles: list[list[str]] = field(default_factory=list)

    def serve(self, steps: Steps[Found]) -> Found:
        """Serve the requests of one poll until it has its outcomes."""
        outcomes = None
        while True:
            try:
                calls = steps.send(outcomes)
            except StopIteration as finished:
                found: Found = finished.value
                return found
            self._count(calls)
            outcomes = [self._outcome(call) for call in calls]

    def _count(self, calls: Any) -> None:
        batches = [len(call.json["task_ids"]) for call in calls if call.method == "POST"]
        singles = [_id_of(call) for call in calls if call.method == "GET"]
        assert bool(batches) != bool(singles), "a step asks for something, and all of it in one way"
        if batches:
            self.batches.append(batches)
        else:
            self.singles.append(singles)

    def _outcome(self, call: Endpoint[Any]) -> Any:
        try:
            return call.result(self._batch(call.json["task_ids"]) if call.method == "POST" else self._single(call))
        except GatewayError as error:
            return error

    def _batch(self, task_ids: list[str]) -> Response:
        if (status := self.status or self.batch_status) is not None:
            return self._refusal(status)
        if self.poison & set(task_ids):
            return self._refusal(self.poison_status)
        if len(task_ids) > self.limit or (self.refuses_bad and self.bad & set(task_ids)):
            return self._refusal(400)
        known = [task_id for task_id in task_ids if task_id not in self.bad | self.missing]
        items = [
            {"task_id": task_id, "error": {"code": 400, "message": "no"}}
            if task_id in self.item_errors
            else {"id": task_id, "status": "processing", **self.items.get(task_id, {})}
            for task_id in known[: self.describes]
        ]
        return answer({"code": 200, "data": items})

    def _single(self, call: Endpoint[Any]) -> Response:
        task_id = _id_of(call)
        if (status := self.status or self.single_status) is not None:
            return self._refusal(status)
        if task_id in self.bad:
            return self._refusal(400, "无效的任务ID")
        return answer({"code": 200, "data": {"id": task_id, "status": "processing"}})

    def _refusal(self, status: int, message: str = "no") -> Response:
        if self.page or status == 200:
            return text_answer(PAGE, status)
        return answer({"error": {"code": status, "message": message, "type": "apimart_error"}}, status)


def _id_of(call: Endpoint[Any]) -> str:
    return unquote(call.path.rpartition("/")[2])
