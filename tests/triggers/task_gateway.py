"""A gateway in this process that is queried for tasks, as slow and as odd as a test wants it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
from gateway.exchange import error_response

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Look", "TaskGateway"]


@dataclass(frozen=True)
class Look:
    """One request: what it asked after, in which way, and with which key."""

    task_ids: tuple[str, ...]
    is_batch: bool
    api_key: str


@dataclass
class TaskGateway(httpx.AsyncBaseTransport):
    """
    A gateway where every task is finished unless it is among ``running`` or ``unknown``.

    :param seen_as: statuses that the next looks at an id find first; "unknown" is one.
    :param refusals: what the next requests are answered with, each one time; an exception among them is raised.
    :param has_batches: whether the batch endpoint exists.
    :param accepts: whether it accepts a key.
    :param are_batches_bare: whether the batch endpoint leaves pictures out.
    :param running_status: status word of the tasks in ``running``.
    :param owners: keys of the only accounts that know an id.
    :param broken: raised by queries of an id.
    :param without_pictures: ids of completed tasks that have no picture yet.
    :param held: ids; a request after one of them is not answered before :meth:`release`.
    :param may_close: what closing connections waits for, if anything.
    :param close_error: raised by closing connections.
    :param looks: what was asked.
    :param times_closed: how often a client has let go of its connections.
    """

    running: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    seen_as: dict[str, list[str]] = field(default_factory=dict)
    refusals: list[httpx.Response | Exception] = field(default_factory=list)
    has_batches: bool = True
    accepts: Callable[[str], bool] = bool
    are_batches_bare: bool = False
    without_pictures: set[str] = field(default_factory=set)
    running_status: str = "processing"
    owners: dict[str, str] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    may_close: asyncio.Event | None = None
    close_error: Exception | None = None
    looks: list[Look] = field(default_factory=list)
    times_closed: int = 0
    under_way: int = 0
    most_at_once: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def times_asked(self) -> Counter[str]:
        """How often each id was asked after."""
        return Counter(task_id for look in self.looks for task_id in look.task_ids)

    def release(self) -> None:
        """Answer what was held."""
        self.held.clear()
        self._released.set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_batch = request.method == "POST"
        task_ids = json.loads(request.content)["task_ids"] if is_batch else [_id_of(request)]
        look = Look(tuple(task_ids), is_batch, request.headers["Authorization"].removeprefix("Bearer "))
        self.looks.append(look)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(0)  # Whatever is sent side by side with it comes before the answer.
            if self.held & set(task_ids):
                await self._released.wait()
            return self._answer(look)
        finally:
            self.under_way -= 1

    async def aclose(self) -> None:
        self.times_closed += 1
        if self.may_close is not None:
            await self.may_close.wait()
        if self.close_error is not None:
            raise self.close_error

    def _answer(self, look: Look) -> httpx.Response:
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            return refusal
        if not self.accepts(look.api_key):
            return error_response(401)
        if look.is_batch:
            if not self.has_batches:
                return error_response(404)
            for task_id in self.broken.keys() & set(look.task_ids):
                raise self.broken[task_id]
            tasks = [
                self._task(task_id, status, is_bare=self.are_batches_bare)
                for task_id, status in self._statuses(look)
                if status != "unknown"
            ]
            return httpx.Response(200, json={"data": tasks})
        ((task_id, status),) = self._statuses(look)
        if task_id in self.broken:
            raise self.broken[task_id]
        if status == "unknown":
            return error_response(400, message="无效的任务ID")
        return httpx.Response(200, json={"data": self._task(task_id, status)})

    def _statuses(self, look: Look) -> list[tuple[str, str]]:
        return [(task_id, self._status(task_id, look.api_key)) for task_id in look.task_ids]

    def _status(self, task_id: str, api_key: str) -> str:
        if statuses := self.seen_as.get(task_id):
            return statuses.pop(0)
        if task_id in self.unknown or api_key != self.owners.get(task_id, api_key):
            return "unknown"
        return self.running_status if task_id in self.running else "completed"

    def _task(self, task_id: str, status: str, *, is_bare: bool = False) -> dict[str, Any]:
        task: dict[str, Any] = {"id": task_id, "status": status}
        if status == "completed" and not is_bare:
            has_picture = task_id not in self.without_pictures
            task["result"] = {"images": [{"url": [f"https://cdn.example/{task_id}.png"]}] if has_picture else []}
        return task


def _id_of(request: httpx.Request) -> str:
    return unquote(request.url.path.rpartition("/")[2])
