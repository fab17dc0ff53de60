"""The tasks that one trigger waits for, as the poller reports them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["Waiter", "readable"]

#: Characters of an error that a log message or an event repeats.
_LONGEST_TEXT: Final = 500
#: Seconds between two warnings of the same kind in the log of one task; doubled each time up to the maximum.
_FIRST_SILENCE: Final = 30.0
_LONGEST_SILENCE: Final = 600.0


def readable(error: BaseException, *, limit: int = _LONGEST_TEXT) -> str:
    """Return an error's text on one line, at most ``limit`` characters long and safe to log and store."""
    text = str(error) if isinstance(error, ApimartError) else f"{type(error).__name__}: {error}"
    line = " ".join(text[: 2 * limit].split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


class Waiter:
    """
    The tasks that one trigger waits for, and what is known about them.

    :param task_ids: gateway tasks.
    :param warn: writes a warning; called in the context of the trigger, so that the line lands in its task's log.
    :param enough: number of the tasks that must have ended; all unless given.

    ``pending`` are the ids that have not ended. ``tasks`` and ``failures`` hold the final outcomes; ``running`` and
    ``errors`` the last description of a pending task, and the error of its last query where that failed.
    """

    def __init__(self, task_ids: Iterable[str], warn: Callable[[str], None], *, enough: int | None = None) -> None:
        self.pending = set(task_ids)
        self.tasks: dict[str, Task] = {}
        self.failures: dict[str, ApimartError] = {}
        self.running: dict[str, Task] = {}
        self.errors: dict[str, str] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left_over = 0 if enough is None else max(0, len(self.pending) - enough)
        self._warn = warn
        self._context = contextvars.copy_context()
        self._silences: dict[str, tuple[float, float]] = {}
        self._end_when_settled()

    def warn(self, kind: str, message: str, *, now: float) -> None:
        """
        Write a warning into the log of the trigger's task, rate-limited per kind so that the log stays readable.

        :param now: monotonic seconds.
        """
        until, silence = self._silences.get(kind, (now, _FIRST_SILENCE))
        if now >= until:
            self._silences[kind] = (now + silence, min(2 * silence, _LONGEST_SILENCE))
            self._context.run(self._warn, message)

    def observe(self, task_id: str, outcome: Task | str) -> None:
        """Record an outcome that does not end the wait: a description of the task, or the text of an error."""
        if isinstance(outcome, str):
            self.errors[task_id] = outcome
        else:
            self.running[task_id] = outcome
            self.errors.pop(task_id, None)

    def settle(self, task_id: str, outcome: Task | ApimartError) -> None:
        """Record the end of one task."""
        self.pending.discard(task_id)
        self.running.pop(task_id, None)
        self.errors.pop(task_id, None)
        if isinstance(outcome, ApimartError):
            self.failures[task_id] = outcome
        else:
            self.tasks[task_id] = outcome
        self._end_when_settled()

    def fail(self, error: BaseException) -> None:
        """End the wait because nothing polls any more."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # Marks it as retrieved: a trigger cancelled at the same time never awaits it.

    def _end_when_settled(self) -> None:
        if len(self.pending) <= self._left_over and not self.done.done():
            self.done.set_result(None)
