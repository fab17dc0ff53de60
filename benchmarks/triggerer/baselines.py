"""Triggers between which every other one must lie: one that only sleeps, and one that waits for all tasks at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx
from airflow.triggers.base import BaseTrigger, TriggerEvent

from benchmarks.triggerer.scenario import GatewayTask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["IdealLoopTrigger", "SleepTrigger"]

_IDS_PER_REQUEST = 100


class SleepTrigger(BaseTrigger):
    """
    Asks nobody, and sleeps until the task is known to be finished: what Airflow itself costs.

    :param until: Unix seconds.
    """

    def __init__(self, *, until: float) -> None:
        super().__init__()
        self.until = until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to make this trigger again."""
        return f"{__name__}.SleepTrigger", {"until": self.until}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep, and fire."""
        await asyncio.sleep(max(0.0, self.until - time.time()))
        yield TriggerEvent({"status": "success"})


class IdealLoopTrigger(BaseTrigger):
    """
    One trigger for all tasks, with one client and one event for each task.

    Airflow cannot do this: each deferred task has a trigger of its own.

    :param url: of the gateway.
    :param task_ids: all tasks.
    :param interval: seconds between two looks.
    """

    def __init__(self, *, url: str, task_ids: Sequence[str], interval: float) -> None:
        super().__init__()
        self.url = url
        self.task_ids = list(task_ids)
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to make this trigger again."""
        return f"{__name__}.IdealLoopTrigger", {"url": self.url, "task_ids": self.task_ids, "interval": self.interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until nothing is left."""
        waiting = set(self.task_ids)
        async with httpx.AsyncClient(base_url=self.url, limits=httpx.Limits(keepalive_expiry=300)) as client:
            while waiting:
                next_round = time.monotonic() + self.interval
                for task_id in await self._finished(client, sorted(waiting)):
                    waiting.remove(task_id)
                    yield TriggerEvent({"status": "success", "number": GatewayTask.number_of(task_id)})
                await asyncio.sleep(max(0.0, next_round - time.monotonic()))

    async def _finished(self, client: httpx.AsyncClient, task_ids: Sequence[str]) -> list[str]:
        finished = []
        for start in range(0, len(task_ids), _IDS_PER_REQUEST):
            chunk = task_ids[start : start + _IDS_PER_REQUEST]
            answer = await client.post("/v1/tasks/batch", json={"task_ids": chunk})
            answer.raise_for_status()
            finished += [task["id"] for task in answer.json()["data"] if task["status"] == "completed"]
        return finished
