"""The trigger of a dataset: waits until enough is finished to be worth a worker."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.task import TaskState
from airflow_provider_apimart.triggers.apimart import GatewayWaitTrigger
from airflow_provider_apimart.triggers.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.triggers.poller import TaskPoller

__all__ = ["ApimartDatasetTrigger", "due_at"]

#: Seconds before its URL expires at which a finished picture is collected whatever the others do.
_MARGIN: Final = 600.0
#: Seconds between two readings of the clock.
_BEAT: Final = 1.0


class ApimartDatasetTrigger(GatewayWaitTrigger):
    """
    Waits until all of the given gateway tasks have ended, or the first of them have waited long enough for others.

    Its one event is small, however many tasks there are: the worker queries them itself::

        {"status": "all" | "due" | "timeout", "ended": 190, "of": 200, "without_picture": ["task_1"],
         "began_at": 1776748674.0, "settings": {...}}

    ``without_picture`` are the tasks that the gateway has denied, or has completed without a picture, for long enough.

    :param linger: seconds for which the first task that has ended waits for others.
    :param wake_at: Unix seconds at which to fire whatever the tasks do; ``None`` for never. Without ``task_ids``, the
        trigger waits for this moment alone.
    :param began_at: Unix seconds at which this try of the Airflow task began; ``settings`` are its parameters. The
        event repeats both, because nothing else carries them over a deferral in every version of Airflow.
    :param wait: see :class:`~airflow_provider_apimart.triggers.apimart.GatewayWaitTrigger` for the other parameters.
    """

    parameters = (*GatewayWaitTrigger.parameters, "linger", "wake_at", "began_at", "settings")

    def __init__(
        self, *, linger: float, wake_at: float | None, began_at: float, settings: dict[str, Any], **wait: Any
    ) -> None:
        super().__init__(**wait)
        self.linger = linger
        self.wake_at = wake_at
        self.began_at = began_at
        self.settings = settings

    async def wait(self, poller: TaskPoller) -> dict[str, Any]:
        """Wait, and return the payload of the event."""
        waiter = Waiter(self.task_ids, self.log.warning)
        status = await self._status(poller, waiter)
        completed = (task for task in waiter.tasks.values() if task.state is TaskState.COMPLETED)
        empty = (task.task_id for task in completed if not task.images)
        return {
            "status": status,
            "ended": self._ended(waiter),
            "of": len(self.task_ids),
            "without_picture": sorted({*waiter.failures, *empty}),
            "began_at": self.began_at,
            "settings": self.settings,
        }

    async def _status(self, poller: TaskPoller, waiter: Waiter) -> str:
        """Return why to wake the task."""
        loop = asyncio.get_running_loop()
        # Wall clock as it was when the wait began: it may be set meanwhile.
        offset = time.time() - loop.time()
        deadline = offset + loop.time() + self.seconds_left()
        if not self.task_ids:
            await asyncio.sleep(min(deadline, self.wake_at or math.inf) - loop.time() - offset)
            return "due"
        first_ended_at = math.inf
        with poller.watching(waiter, initial_delay=self.initial_delay(), poll_interval=self.poll_interval):
            while not waiter.done.done():
                now = offset + loop.time()
                if self._ended(waiter):
                    first_ended_at = min(now, first_ended_at)
                due = due_at(
                    waiter.tasks.values(), wake_at=self.wake_at, linger=self.linger, first_ended_at=first_ended_at
                )
                if now >= min(due, deadline):
                    return "due" if now >= due else "timeout"
                await asyncio.wait([waiter.done], timeout=_BEAT)
            await waiter.done  # Raises where nothing polls any more.
            return "all"

    def _ended(self, waiter: Waiter) -> int:
        return len(self.task_ids) - len(waiter.pending)


def due_at(finished: Iterable[Task], *, wake_at: float | None, linger: float, first_ended_at: float) -> float:
    """
    Return the Unix seconds at which a worker must collect finished tasks although others still run.

    :param linger: seconds for which the first waits for others.
    :param first_ended_at: when the first of the tasks had ended.
    """
    expiries = (image.expires_at for task in finished for image in task.images)
    first_expiry = min((expiry for expiry in expiries if expiry is not None), default=math.inf)
    return min(wake_at or math.inf, first_ended_at + linger, first_expiry - _MARGIN)
