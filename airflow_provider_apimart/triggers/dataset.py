"""The trigger of a dataset: waits until enough is finished to be worth a worker."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent  # noqa: TID253 - only operators that defer import this module

from airflow_provider_apimart.triggers._poller import watched
from airflow_provider_apimart.triggers._waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["ApimartDatasetTrigger", "due_at"]

#: Seconds for which a finished picture waits for others at the most, and by which it is fetched before its URL dies.
_LINGER: Final = 300.0
_MARGIN: Final = 600.0
#: Seconds between two looks at the clock.
_BEAT: Final = 1.0


class ApimartDatasetTrigger(BaseTrigger):
    """
    Waits until enough of the given gateway tasks have ended, one of them cannot wait any longer, or nobody does.

    It only ever reads: nothing that it calls can buy a picture. Its one event is small, however many tasks there are,
    since the worker asks after them itself::

        {"status": "enough" | "due" | "timeout", "ended": 190, "of": 200, "began_at": 1776748674.0}

    :param apimart_conn_id: the connection. The key itself is never part of the trigger.
    :param task_ids: ids of gateway tasks; none to wait for ``wake_at`` alone.
    :param enough: how many of them are worth a worker.
    :param deadline: Unix seconds at which to give up.
    :param wake_at: Unix seconds at which to fire in any case; ``None`` for never.
    :param began_at: Unix seconds at which this try of the task began; the event repeats it, because nothing else
        carries it over a deferral in every version of Airflow.
    :param first_look: Unix seconds before which nobody needs to look.
    :param not_before: Unix seconds before which no event may fire, see
        :class:`~airflow_provider_apimart.triggers.apimart.ApimartTaskTrigger`.
    :param poll_interval: seconds between looks.
    """

    def __init__(
        self,
        *,
        apimart_conn_id: str,
        task_ids: Sequence[str],
        enough: int,
        deadline: float,
        wake_at: float | None,
        began_at: float,
        first_look: float = 0.0,
        not_before: float = 0.0,
        poll_interval: float = 4.0,
    ) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self.task_ids = list(task_ids)
        self.enough = enough
        self.deadline = deadline
        self.wake_at = wake_at
        self.began_at = began_at
        self.first_look = first_look
        self.not_before = not_before
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what it takes to make this trigger again elsewhere."""
        return (
            "airflow_provider_apimart.triggers.dataset.ApimartDatasetTrigger",
            {
                "apimart_conn_id": self.apimart_conn_id,
                "task_ids": self.task_ids,
                "enough": self.enough,
                "deadline": self.deadline,
                "wake_at": self.wake_at,
                "began_at": self.began_at,
                "first_look": self.first_look,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, fire one event, and end at once: a trigger that lives on after its event is taken for a killed one."""
        status, ended = await self._wait()
        await asyncio.sleep(self.not_before - time.time())
        yield TriggerEvent(
            {"status": status, "ended": ended, "of": len(self.task_ids), "began_at": self.began_at},
        )

    async def on_kill(self) -> None:
        """
        Say what happens to the money when somebody ends the wait.

        Airflow also calls this when the trigger only moves to another triggerer, so it must not do more than that.
        """
        self.log.warning(
            "The wait for %d gateway task(s) was ended here. They go on at the gateway and will be charged. They are "
            "in the dataset's ledger: a retry, or clearing the task, collects them and buys nothing twice.",
            len(self.task_ids),
        )

    async def _wait(self) -> tuple[str, int]:
        """Return why to wake the task, and how many tasks have ended."""
        waiter = Waiter(self.task_ids, self.log.warning, enough=self.enough)
        if not self.task_ids:
            await asyncio.sleep(min(self.deadline, self.wake_at or math.inf) - time.time())
            return "due", 0
        first_ended_at = math.inf
        with watched(waiter, self.apimart_conn_id, first_look=self.first_look, poll_interval=self.poll_interval):
            while not waiter.done.done():
                now = time.time()
                if self._ended(waiter):
                    first_ended_at = min(now, first_ended_at)
                due = due_at(waiter.tasks.values(), wake_at=self.wake_at, first_ended_at=first_ended_at)
                if now >= min(due, self.deadline):
                    return "due" if now >= due else "timeout", self._ended(waiter)
                await asyncio.wait([waiter.done], timeout=_BEAT)
            await waiter.done  # Raises where nobody looks any more.
        return "enough", self._ended(waiter)

    def _ended(self, waiter: Waiter) -> int:
        return len(self.task_ids) - len(waiter.pending)


def due_at(finished: Iterable[Task], *, wake_at: float | None, first_ended_at: float) -> float:
    """
    Return when a worker must come although it is not enough for one, in Unix seconds.

    :param first_ended_at: when the first of the tasks had ended.
    """
    expiries = (image.expires_at for task in finished for image in task.images)
    first_death = min((expiry for expiry in expiries if expiry is not None), default=math.inf)
    return min(wake_at or math.inf, first_ended_at + _LINGER, first_death - _MARGIN)
