"""What one trigger waits for."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["Waiter"]


class Waiter:
    """
    One trigger's share in the poller.

    :param task_ids: gateway tasks that it waits for.
    :param report: told of trouble on the way, in the context of the trigger, so that the line lands in its task's log.
    :param enough: how many of them must have ended; all unless given.
    """

    def __init__(self, task_ids: Iterable[str], report: Callable[[str], None], *, enough: int | None = None) -> None:
        self.pending = set(task_ids)
        self._left_over = 0 if enough is None else max(0, len(self.pending) - enough)
        self.tasks: dict[str, Task] = {}
        self.failures: dict[str, ApimartError] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._report = report
        self._context = contextvars.copy_context()
        self._end_when_settled()

    def report(self, message: str) -> None:
        """Say something in the log of the task that waits."""
        self._context.run(self._report, message)

    def settle(self, task_id: str, outcome: Task | ApimartError) -> None:
        """Take note of the end of one task."""
        self.pending.discard(task_id)
        if isinstance(outcome, ApimartError):
            self.failures[task_id] = outcome
        else:
            self.tasks[task_id] = outcome
        self._end_when_settled()

    def fail(self, error: BaseException) -> None:
        """End the wait because nobody looks any more."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # Counts as heard: a trigger that is cancelled at the same time hears of nothing.

    def _end_when_settled(self) -> None:
        if len(self.pending) <= self._left_over and not self.done.done():
            self.done.set_result(None)
