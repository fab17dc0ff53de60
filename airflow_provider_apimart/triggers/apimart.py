"""The trigger: waits for gateway tasks without holding a worker."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent  # noqa: TID253 - only operators that defer import this module

from airflow_provider_apimart.triggers._poller import watched
from airflow_provider_apimart.triggers._waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["ApimartTaskTrigger"]


class ApimartTaskTrigger(BaseTrigger):
    """
    Waits until all of the given gateway tasks are finished, or until the deadline.

    It only ever reads: nothing that it calls can buy a picture. It may run twice or move between triggerers, so every
    time in it is wall clock. It fires one event::

        {"status": "finished" | "timeout", "task_ids": [...], "tasks": [...], "failures": {task_id: message}}

    with the tasks in the gateway's own shape; at a timeout those that still run are missing from ``tasks``.

    :param apimart_conn_id: the connection. The key itself is never part of the trigger.
    :param task_ids: ids of gateway tasks.
    :param deadline: Unix seconds at which to give up.
    :param first_look: Unix seconds before which nobody needs to look.
    :param not_before: Unix seconds before which no event may fire. Airflow up to at least 3.3.2 can lose a task whose
        event comes within seconds of its deferral, and burn a retry.
    :param poll_interval: seconds between looks.
    :param finished: those of the tasks that were finished before, in the gateway's shape; the event repeats them.
    """

    def __init__(
        self,
        *,
        apimart_conn_id: str,
        task_ids: Sequence[str],
        deadline: float,
        first_look: float = 0.0,
        not_before: float = 0.0,
        poll_interval: float = 4.0,
        finished: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self.task_ids = list(task_ids)
        self.deadline = deadline
        self.first_look = first_look
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.finished = list(finished)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to make this trigger again elsewhere."""
        return (
            "airflow_provider_apimart.triggers.apimart.ApimartTaskTrigger",
            {
                "apimart_conn_id": self.apimart_conn_id,
                "task_ids": self.task_ids,
                "deadline": self.deadline,
                "first_look": self.first_look,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
                "finished": self.finished,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, fire one event, and end at once: a trigger that lives on after its event is taken for a killed one."""
        self.log.debug("Waiting for %d gateway task(s): %s", len(self.task_ids), ", ".join(self.task_ids))
        waiter = await self._wait()
        status = "timeout" if waiter.pending else "finished"
        await asyncio.sleep(self.not_before - time.time())
        yield TriggerEvent(
            {
                "status": status,
                "task_ids": self.task_ids,
                "tasks": [*self.finished, *(task.to_json() for task in waiter.tasks.values())],
                "failures": {task_id: str(error) for task_id, error in waiter.failures.items()},
            }
        )

    async def on_kill(self) -> None:
        """
        Say what happens to the money when somebody ends the wait.

        Airflow also calls this when the trigger only moves to another triggerer, so it must not do more than that.
        """
        self.log.warning(
            "The wait for gateway task(s) %s was ended here. They cannot be cancelled at the gateway: they go on and "
            "will be charged. Where the purchase is noted (Airflow 3.3, durable), a retry of the task asks after them "
            "and buys nothing; clearing it buys anew unless on_clear='reuse'.",
            ", ".join(self.task_ids),
        )

    async def _wait(self) -> Waiter:
        finished = {task["id"] for task in self.finished}
        waiter = Waiter((task_id for task_id in self.task_ids if task_id not in finished), self.log.warning)
        with watched(waiter, self.apimart_conn_id, first_look=self.first_look, poll_interval=self.poll_interval):
            try:
                await asyncio.wait_for(waiter.done, max(0.0, self.deadline - time.time()))
            except TimeoutError:
                self.log.warning("Deadline reached with %d task(s) still running at the gateway", len(waiter.pending))
        return waiter
