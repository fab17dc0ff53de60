"""
One poller for everything that waits for one gateway in one event loop.

A thousand triggers that each poll for themselves cost a thousand clients, connection look-ups and requests per
interval. They register here instead; what is due at about the same time is asked after in one request.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakKeyDictionary

from airflow_provider_apimart.exceptions import ApimartError, AuthenticationError, TaskNotFoundError
from airflow_provider_apimart.gateway.schedule import Schedule, next_pause
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["TaskPoller", "Waiter"]

_log: Final = logging.getLogger(__name__)

#: Seconds. Looks that fall due within one tick share a request; Airflow's triggerer itself works once a second.
_TICK: Final = 0.5
#: Seconds after which the connection is looked up again, so that a changed key or address is picked up.
_CONNECTION_LIFETIME: Final = 300.0
#: Looks in a row at which the gateway must not know an id before it is believed: a new task may not be visible at once.
_NOT_FOUND_LIMIT: Final = 5


class Waiter:
    """
    One trigger's share in the poller.

    :param task_ids: gateway tasks that it waits for.
    :param report: told of trouble on the way, in the context of the trigger, so that the line lands in its task's log.
    """

    def __init__(self, task_ids: Iterable[str], report: Callable[[str], None]) -> None:
        self.pending = set(task_ids)
        self.tasks: dict[str, Task] = {}
        self.failures: dict[str, ApimartError] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._report = report
        self._context = contextvars.copy_context()

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
        if not self.pending and not self.done.done():
            self.done.set_result(None)


class TaskPoller:
    """
    Asks one gateway after all tasks that somebody in this event loop waits for.

    Runs only while somebody waits, and closes its connections when nobody does. A poller that fails fails all who wait.

    :param apimart_conn_id: the Airflow connection.
    """

    _pollers: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, TaskPoller]]] = WeakKeyDictionary()

    def __init__(self, apimart_conn_id: str) -> None:
        self._apimart_conn_id = apimart_conn_id
        self._waiters: dict[str, set[Waiter]] = {}
        self._schedule = Schedule()
        self._not_found: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._pause = 0.0
        self._runner: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, apimart_conn_id: str) -> TaskPoller:
        """Return the poller of a connection in the running event loop."""
        pollers = cls._pollers.setdefault(asyncio.get_running_loop(), {})
        return pollers.setdefault(apimart_conn_id, cls(apimart_conn_id))

    def register(self, waiter: Waiter, *, first_look: float, poll_interval: float) -> None:
        """
        Start to look at a waiter's tasks.

        :param first_look: monotonic seconds of the first look.
        :param poll_interval: seconds between looks.
        """
        for task_id in waiter.pending:
            self._waiters.setdefault(task_id, set()).add(waiter)
            self._schedule.add(task_id, first_look=first_look, interval=poll_interval)
        self._wake.set()
        if self._runner is None or self._runner.done():
            # An empty context: the poller belongs to no task, so its own log lines must not land in the first one's.
            create_task = asyncio.get_running_loop().create_task
            self._runner = contextvars.Context().run(create_task, self._run())

    def unregister(self, waiter: Waiter) -> None:
        """Stop looking at a waiter's tasks, unless somebody else waits for them too."""
        for task_id in waiter.pending:
            self._forget(task_id, waiter)
        self._wake.set()

    async def _run(self) -> None:
        try:
            while self._waiters:
                async with ApimartHook(self._apimart_conn_id) as hook:
                    await self._poll_with(hook, until=time.monotonic() + _CONNECTION_LIFETIME)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting for ever
            _log.exception("The poller of connection %s failed", self._apimart_conn_id)
            self._fail_all(error)

    async def _poll_with(self, hook: ApimartHook, *, until: float) -> None:
        """Poll with one look-up of the connection: until it is old, refused, or nobody waits."""
        while self._waiters and time.monotonic() < until:
            due = self._schedule.take_due(time.monotonic() + _TICK)
            if due:
                try:
                    outcomes = await hook.aget_tasks(due)
                except ApimartError as error:
                    await self._back_off(error, due)
                    if isinstance(error, AuthenticationError):
                        return
                    continue
                self._pause = 0.0
                for task_id, outcome in outcomes.items():
                    self._deliver(task_id, outcome)
            await self._sleep()

    async def _sleep(self) -> None:
        """Wait for the next look, or for somebody who registers or leaves."""
        next_due = self._schedule.next_due()
        if next_due is None:
            return
        self._wake.clear()
        seconds = max(_TICK, next_due - time.monotonic())
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    async def _back_off(self, error: ApimartError, due: Iterable[str]) -> None:
        """Pause for everybody: what the gateway refuses to one request it refuses to the next."""
        self._pause = next_pause(self._pause, asked=error.retry_after)
        for waiter in {waiter for task_id in due for waiter in self._waiters.get(task_id, ())}:
            waiter.report(f"The gateway could not be asked; next try in {self._pause:.0f} s: {error}")
        await asyncio.sleep(self._pause)

    def _deliver(self, task_id: str, outcome: Task | ApimartError) -> None:
        if isinstance(outcome, TaskNotFoundError):
            self._not_found[task_id] = self._not_found.get(task_id, 0) + 1
            ended = self._not_found[task_id] >= _NOT_FOUND_LIMIT
        else:
            self._not_found.pop(task_id, None)
            ended = not isinstance(outcome, ApimartError) and outcome.is_finished
        for waiter in tuple(self._waiters.get(task_id, ())):
            if ended:
                waiter.settle(task_id, outcome)
                self._forget(task_id, waiter)
            elif isinstance(outcome, ApimartError):
                waiter.report(f"Task {task_id} could not be asked after, it goes on waiting: {outcome}")

    def _forget(self, task_id: str, waiter: Waiter) -> None:
        waiters = self._waiters.get(task_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiters.pop(task_id, None)
            self._not_found.pop(task_id, None)
            self._schedule.remove(task_id)

    def _fail_all(self, error: Exception) -> None:
        waiters = {waiter for group in self._waiters.values() for waiter in group}
        for waiter in waiters:
            if not waiter.done.done():
                waiter.done.set_exception(error)
            self.unregister(waiter)
