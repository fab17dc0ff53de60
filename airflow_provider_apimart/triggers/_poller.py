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
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakKeyDictionary

from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined] # Airflow 3.1 has it only here.

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    ConfigurationError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.polling import Schedule, next_pause
from airflow_provider_apimart.triggers._connection import RenewedHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.triggers._waiter import Waiter

__all__ = ["TaskPoller", "watched"]

_log: Final = logging.getLogger(__name__)

#: Seconds. Looks that fall due within one tick share a request; Airflow's triggerer itself works once a second.
_TICK: Final = 0.5
#: Seconds by which a look may come before its time, so that the answer is never later than the interval promises.
_EARLY: Final = 0.35
#: Requests under way at the same time, so that one slow answer does not hold up everybody.
_SIMULTANEOUS_LOOKS: Final = 2
#: Seconds for which the client is kept when nobody waits: the next task may be about to.
_LINGER: Final = 60.0
#: Looks in a row at which the gateway must not know an id before it is believed: a new task may not be visible at once.
_NOT_FOUND_LIMIT: Final = 5


class TaskPoller:
    """
    Asks one gateway after all tasks that somebody in this event loop waits for.

    It stops, and closes its connections, when nobody has waited for a while. A poller that fails fails all who wait.

    :param apimart_conn_id: the Airflow connection.
    :param connection: how that is looked up, for tests.
    :param linger: seconds for which to go on without anybody who waits.
    :param tick: seconds; what falls due within them shares a request.
    :param clock: monotonic seconds, in which looks and pauses are planned, for tests.
    """

    _pollers: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, TaskPoller]]] = WeakKeyDictionary()

    def __init__(
        self,
        apimart_conn_id: str,
        *,
        connection: RenewedHook | None = None,
        linger: float = _LINGER,
        tick: float = _TICK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apimart_conn_id = apimart_conn_id
        self._connection = connection or RenewedHook(apimart_conn_id)
        self._linger = linger
        self._tick = tick
        self._clock = clock
        self._waiters: dict[str, set[Waiter]] = {}
        self._schedule = Schedule()
        self._not_found: dict[str, int] = {}
        self._slots = asyncio.Semaphore(_SIMULTANEOUS_LOOKS)
        self._wanted = asyncio.Event()
        self._pause = 0.0
        self._resume_at = float("-inf")
        self._runner: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, apimart_conn_id: str) -> TaskPoller:
        """Return the poller of a connection in the running event loop."""
        pollers = cls._pollers.setdefault(asyncio.get_running_loop(), {})
        if apimart_conn_id not in pollers:
            pollers[apimart_conn_id] = cls(apimart_conn_id)
        return pollers[apimart_conn_id]

    def register(self, waiter: Waiter, *, first_look: float, poll_interval: float) -> None:
        """
        Start to look at a waiter's tasks.

        :param first_look: monotonic seconds of the first look.
        :param poll_interval: seconds between looks.
        """
        for task_id in waiter.pending:
            self._waiters.setdefault(task_id, set()).add(waiter)
            self._schedule.add(task_id, first_look=first_look, interval=poll_interval)
        self._wanted.set()
        if self._runner is None:
            # An empty context: the poller belongs to no task, so its own log lines must not land in the first one's.
            create_task = asyncio.get_running_loop().create_task
            self._runner = contextvars.Context().run(create_task, self._run())

    def unregister(self, waiter: Waiter) -> None:
        """Stop looking at a waiter's tasks, unless somebody else waits for them too."""
        for task_id in waiter.pending:
            self._forget(task_id, waiter)

    async def aclose(self) -> None:
        """Stop; whoever still waits fails."""
        await asyncio.sleep(0)  # A runner that is cancelled before its first step could tell nobody.
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiters:
                await self._serve()
        except asyncio.CancelledError:
            self._fail_all(ApimartError("The poller was stopped; the tasks go on at the gateway."))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting for ever
            _log.exception("The poller of connection %s failed", self._apimart_conn_id)
            self._fail_all(error.exceptions[0] if isinstance(error, ExceptionGroup) else error)
        finally:
            self._runner = None
            self._pollers.get(asyncio.get_running_loop(), {}).pop(self._apimart_conn_id, None)

    async def _serve(self) -> None:
        """Poll until nobody has waited for a while, then close the connections."""
        try:
            while await self._somebody_waits():
                if hook := await self._connected():
                    await self._poll_with(hook)
        finally:
            await self._connection.aclose()

    async def _somebody_waits(self) -> bool:
        """Whether anybody waits, or begins to before long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger):
                while not self._waiters:
                    self._wanted.clear()
                    await self._wanted.wait()
        return bool(self._waiters)

    async def _connected(self) -> ApimartHook | None:
        """Return the hook, or ``None`` while the connection cannot be looked up."""
        if self._clock() < self._resume_at:
            await asyncio.sleep(self._tick)
            return None
        try:
            return await self._connection.get()
        except (AirflowNotFoundException, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001 - Airflow's API server may be away for a moment, in any way
            self._back_off(None)
            self._report(self._waiters, f"The connection could not be looked up: {error}")
            return None

    async def _poll_with(self, hook: ApimartHook) -> None:
        """Poll until nobody waits or the connection should be looked up again."""
        async with asyncio.TaskGroup() as looks:
            await asyncio.sleep(self._tick)
            while self._waiters and not self._connection.is_stale:
                # What falls due while these are worked off waits for the next tick, or many requests would hold a few.
                until = self._clock() + _EARLY
                while due := await self._take_due(until, limit=hook.batch_endpoint.size):
                    looks.create_task(self._look(due, hook))
                await asyncio.sleep(self._tick)

    async def _take_due(self, until: float, *, limit: int) -> list[str]:
        """Return what to look at now, with a slot that is taken for it; nothing during a pause."""
        await self._slots.acquire()
        due = self._schedule.take_due(until, limit=limit) if self._clock() >= self._resume_at else []
        if not due:
            self._slots.release()
        return due

    async def _look(self, due: list[str], hook: ApimartHook) -> None:
        now = self._clock()
        try:
            outcomes = await hook.aget_tasks(due)
        except ApimartError as error:
            self._back_off(error.retry_after)
            self._report(due, f"The gateway could not be asked: {error}")
            if isinstance(error, AuthenticationError):
                self._connection.distrust()
        else:
            self._pause = 0.0
            for task_id, outcome in outcomes.items():
                self._deliver(task_id, outcome)
        finally:
            self._schedule.put_back(due, looked_at=now, in_batches=hook.batch_endpoint.is_usable)
            self._slots.release()

    def _back_off(self, asked: float | None) -> None:
        """Pause for everybody: what the gateway refuses to one request it refuses to the next."""
        now = self._clock()
        if now >= self._resume_at:  # Otherwise a look of the same moment has failed before.
            self._pause = next_pause(self._pause, asked=asked)
            self._resume_at = now + self._pause

    def _report(self, task_ids: Iterable[str], trouble: str) -> None:
        seconds = max(0.0, self._resume_at - self._clock())
        for waiter in {waiter for task_id in task_ids for waiter in self._waiters.get(task_id, ())}:
            waiter.report(f"{trouble} Next try in {seconds:.0f} s.")

    def _deliver(self, task_id: str, outcome: Task | ApimartError) -> None:
        if task_id not in self._waiters:  # Those who waited have left during the look.
            return
        if isinstance(outcome, TaskNotFoundError):
            self._not_found[task_id] = self._not_found.get(task_id, 0) + 1
            ended = self._not_found[task_id] >= _NOT_FOUND_LIMIT
        else:
            self._not_found.pop(task_id, None)
            ended = not isinstance(outcome, ApimartError) and outcome.is_finished
        if not ended and not isinstance(outcome, ApimartError):
            return
        for waiter in tuple(self._waiters[task_id]):
            if ended:
                waiter.settle(task_id, outcome)
                self._forget(task_id, waiter)
            else:
                waiter.report(f"Task {task_id} could not be asked after, it goes on waiting: {outcome}")

    def _forget(self, task_id: str, waiter: Waiter) -> None:
        waiters = self._waiters.get(task_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiters.pop(task_id, None)
            self._not_found.pop(task_id, None)
            self._schedule.remove(task_id)

    def _fail_all(self, error: BaseException) -> None:
        for waiter in {waiter for waiters in self._waiters.values() for waiter in waiters}:
            waiter.fail(error)
            self.unregister(waiter)


@contextmanager
def watched(waiter: Waiter, apimart_conn_id: str, *, first_look: float, poll_interval: float) -> Iterator[None]:
    """
    Have the poller of a connection look at a waiter's tasks for as long as the ``with`` statement lasts.

    :param first_look: Unix seconds before which nobody needs to look.
    :param poll_interval: seconds between looks.
    """
    poller = TaskPoller.of(apimart_conn_id)
    after = max(0.0, first_look - time.time())
    poller.register(waiter, first_look=time.monotonic() + after, poll_interval=poll_interval)
    try:
        yield
    finally:
        poller.unregister(waiter)
