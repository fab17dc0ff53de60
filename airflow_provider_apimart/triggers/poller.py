"""
One poller for every task of one connection that is waited for in one event loop.

A thousand triggers that each poll for themselves cost a thousand clients, connection look-ups and requests per
interval. They register here instead; tasks that are due at about the same time share a request.

No response to a query stops the poller:

=============================================  ===================================================================
Response                                       Effect
=============================================  ===================================================================
an outcome that ``OutcomeFilter`` accepts      the task is settled for everyone who waits for it
completed without pictures                     queried singly: at once, then at the poll interval
401, 402, 403, 404, "no such task"             the connection is looked up again; polling continues
an error that is not this provider's           the tasks are queried singly, to find the one that causes it
any other error                                polling continues
no outcome for any task of a batch, or for     all queries of the connection pause, ever longer
three single queries in a row, or a 429
=============================================  ===================================================================
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final
from weakref import WeakKeyDictionary

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    InsufficientBalanceError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.polling import OutcomeFilter, Schedule, next_pause
from airflow_provider_apimart.triggers.connection import RenewedHook
from airflow_provider_apimart.triggers.waiter import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.triggers.waiter import Waiter

__all__ = ["TaskPoller"]

_log: Final = logging.getLogger(__name__)

#: Seconds. Queries that fall due within one tick share a request; Airflow's triggerer itself works once a second.
_TICK: Final = 0.5
#: Seconds by which a query may come before its time, so that the outcome is never later than the interval promises.
_EARLY: Final = 0.35
#: Requests under way at the same time, of batches and of single tasks. A slow request no longer counts.
_BATCHES: Final = 2
_SINGLES: Final = 8
#: Seconds after which a request is slow, so that slow responses do not stop the queries of other tasks.
_SLOW: Final = 3.0
#: Single queries in a row that must fail before all queries pause: one bad id must not slow down the others.
_FAILED_SINGLES: Final = 3
#: Batches in a row that must fail before their tasks are queried singly: one of them may be the reason.
_FAILED_BATCHES: Final = 3
#: Seconds for which the client is kept when nobody waits: the next task may be about to.
_LINGER: Final = 60.0
#: Ids that a log message repeats.
_NAMED_IDS: Final = 3

#: Errors that may mean that the key, its account or the address is not the one that bought the task.
_ABOUT_THE_CONNECTION: Final = (AuthenticationError, InsufficientBalanceError, PermissionDeniedError, NotFoundError)


@dataclass(frozen=True, slots=True)
class _Query:
    """A request that is under way: its kind, and the monotonic second at which it began."""

    is_single: bool
    began_at: float


class TaskPoller:
    """
    Queries one gateway for all tasks that are waited for in this event loop.

    It stops, and closes its connections, when nobody has waited for a while. A poller that is stopped fails all waits.

    :param apimart_conn_id: the Airflow connection.
    :param connection: the hook; one that looks the connection up asynchronously unless given.
    :param linger: seconds for which to keep the connections when nobody waits.
    :param tick: seconds; queries that fall due within them share a request.
    :param clock: monotonic seconds, in which queries and pauses are planned.
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
        self._outcomes = OutcomeFilter(clock=clock)
        self._singly: deque[str] = deque()
        self._suspects: set[str] = set()
        self._queries: dict[asyncio.Task[None], _Query] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._due_until = float("-inf")
        self._is_behind = False
        self._pause = 0.0
        self._resume_at = float("-inf")
        self._failed_singles = 0
        self._failed_batches = 0
        self._runner: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, apimart_conn_id: str) -> TaskPoller:
        """Return the poller of a connection in the running event loop."""
        pollers = cls._pollers.setdefault(asyncio.get_running_loop(), {})
        if apimart_conn_id not in pollers:
            pollers[apimart_conn_id] = cls(apimart_conn_id)
        return pollers[apimart_conn_id]

    @contextmanager
    def watching(self, waiter: Waiter, *, initial_delay: float, poll_interval: float) -> Iterator[None]:
        """
        Poll a waiter's tasks for as long as the ``with`` statement lasts.

        :param initial_delay: seconds before the first query.
        :param poll_interval: seconds between queries.
        """
        self.register(waiter, first_look=self._clock() + initial_delay, poll_interval=poll_interval)
        try:
            yield
        finally:
            self.unregister(waiter)

    def register(self, waiter: Waiter, *, first_look: float, poll_interval: float) -> None:
        """
        Start to poll a waiter's tasks.

        :param first_look: monotonic seconds of the first query.
        :param poll_interval: seconds between queries.
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
        """Stop polling a waiter's tasks, except the tasks that another waiter waits for."""
        for task_id in waiter.pending:
            self._forget(task_id, waiter)

    async def aclose(self) -> None:
        """Stop polling; all waits fail."""
        await asyncio.sleep(0)  # A runner that is cancelled before its first step could fail nobody's wait.
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiters:
                await self._serve()
        except asyncio.CancelledError:
            self._fail_all(
                ApimartError("The poller was stopped; the tasks continue at the gateway.", charged="unknown")
            )
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, no wait may be left without an end
            _log.exception("The poller of connection %s failed", self._apimart_conn_id)
            self._fail_all(error)
        finally:
            self._runner = None
            pollers = self._pollers.get(asyncio.get_running_loop(), {})
            if pollers.get(self._apimart_conn_id) is self:
                del pollers[self._apimart_conn_id]

    async def _serve(self) -> None:
        """Poll until nobody has waited for a while, then close the connections."""
        try:
            while await self._has_waiters():
                if self._connection.is_stale and self._renewal is None:
                    self._renewal = asyncio.create_task(self._renew())
                await asyncio.sleep(self._tick)
                # What falls due while these are worked off waits for the next tick: few requests, each for many tasks.
                self._due_until = self._clock() + _EARLY
                self._start_queries()
        finally:
            under_way = [*self._queries, *([self._renewal] if self._renewal else [])]
            self._queries.clear()
            self._singly.clear()
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            await self._connection.aclose()

    async def _has_waiters(self) -> bool:
        """Return whether anything waits, or does so before the poller has been idle for too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger):
                while not self._waiters:
                    self._wanted.clear()
                    await self._wanted.wait()
        return bool(self._waiters)

    async def _renew(self) -> None:
        try:
            await self._connection.renew()
        except Exception as error:  # noqa: BLE001 - the connection may be wrong, or Airflow's API away
            self._report(
                dict.fromkeys(self._waiters, error),
                failed=f"Could not look up connection {self._apimart_conn_id!r}",
                pause=self._connection.seconds_until_stale,
            )
        finally:
            self._renewal = None

    def _start_queries(self) -> None:
        """Start as many of the due queries as may be under way at the same time; none during a pause."""
        hook = self._connection.current
        if hook is None or self._clock() < self._resume_at:
            return
        in_batches = hook.batch_endpoint.is_usable
        self._is_behind = True
        while self._has_room(_BATCHES, is_single=False):
            due = self._schedule.take_due(self._due_until, limit=hook.batch_endpoint.size)
            if not due:
                self._is_behind = False
                break
            lone = {task_id for task_id in due if not in_batches or task_id in self._suspects}
            self._singly.extend(lone)
            if batch := [task_id for task_id in due if task_id not in lone]:
                self._start_query(hook, batch, is_single=False)
        while self._singly and self._has_room(_SINGLES, is_single=True):
            task_id = self._singly.popleft()
            if task_id in self._waiters:
                self._start_query(hook, [task_id], is_single=True)

    def _has_room(self, limit: int, *, is_single: bool) -> bool:
        began_after = self._clock() - _SLOW
        counted = (query for query in self._queries.values() if query.is_single == is_single)
        return sum(query.began_at > began_after for query in counted) < limit

    def _start_query(self, hook: ApimartHook, due: Sequence[str], *, is_single: bool) -> None:
        query = _Query(is_single, self._clock())
        task = asyncio.create_task(self._query(hook, due, query))
        self._queries[task] = query
        task.add_done_callback(self._end_query)

    def _end_query(self, task: asyncio.Task[None]) -> None:
        if self._queries.pop(task, None) is not None:  # Otherwise the poller is being closed.
            if not task.cancelled() and (error := task.exception()):
                _log.error("A query of connection %s failed", self._apimart_conn_id, exc_info=error)
            if self._is_behind or self._singly:  # What has fallen due since the last tick waits for the next one.
                self._start_queries()

    async def _query(self, hook: ApimartHook, due: Sequence[str], query: _Query) -> None:
        async with self._connection.lease(hook):
            outcomes: Mapping[str, Task | Exception]
            try:
                outcomes = {due[0]: await hook.aget_task(due[0])} if query.is_single else await hook.aget_tasks(due)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is one failed request
                outcomes = dict.fromkeys(due, error)
                self._failed_batches += not query.is_single
                if self._failed_batches >= _FAILED_BATCHES and not query.is_single:
                    self._suspects.update(task_id for task_id in due if task_id in self._waiters)
            else:
                self._suspects.difference_update(due)
                self._failed_batches = 0 if not query.is_single else self._failed_batches
            try:
                self._take_in(outcomes, is_single=query.is_single)
            finally:
                in_batches = hook.batch_endpoint.is_usable
                self._schedule.put_back(due, looked_at=query.began_at, in_batches=in_batches)

    def _take_in(self, outcomes: Mapping[str, Task | Exception], *, is_single: bool) -> None:
        errors = {task_id: error for task_id, error in outcomes.items() if isinstance(error, Exception)}
        if any(isinstance(error, _ABOUT_THE_CONNECTION) for error in errors.values()):
            self._connection.distrust()
        self._adjust_pause(outcomes, is_single=is_single)
        for task_id, outcome in outcomes.items():
            if task_id in self._waiters and self._settle(task_id, outcome):
                errors.pop(task_id, None)
        self._report(errors, failed="Could not get the status of task", pause=self._resume_at - self._clock())

    def _adjust_pause(self, outcomes: Mapping[str, Task | Exception], *, is_single: bool) -> None:
        """Pause all queries of the connection after a failure that will probably hit the next one too."""
        # A gateway that does not know a task works.
        errors = [
            outcome
            for outcome in outcomes.values()
            if isinstance(outcome, Exception) and not isinstance(outcome, TaskNotFoundError)
        ]
        if len(errors) < len(outcomes):
            self._failed_singles = 0
            self._pause = 0.0
        elif is_single:
            self._failed_singles += 1
        has_failed = len(errors) == len(outcomes) and (not is_single or self._failed_singles >= _FAILED_SINGLES)
        if has_failed or any(isinstance(error, RateLimitError) for error in errors):
            asked = max((getattr(error, "retry_after", None) or 0.0 for error in errors), default=0.0)
            now = self._clock()
            if now >= self._resume_at:  # Otherwise a request of the same moment has failed before.
                self._pause = next_pause(self._pause, asked=asked)
                self._resume_at = now + self._pause

    def _settle(self, task_id: str, outcome: Task | Exception) -> bool:
        """Return whether an outcome ends the wait for a task, and tell everyone who waits for it."""
        if isinstance(outcome, Exception) and not isinstance(outcome, ApimartError):
            return False
        final = self._outcomes.conclude(task_id, outcome)
        for waiter in tuple(self._waiters[task_id]):
            if final is not None:
                waiter.settle(task_id, final)
                self._forget(task_id, waiter)
            elif not isinstance(outcome, ApimartError):
                waiter.observe(task_id, outcome)
        return final is not None

    def _report(self, errors: Mapping[str, Exception], *, failed: str, pause: float) -> None:
        """
        Tell everyone who waits for a task that its status is not known.

        :param errors: by task id.
        :param failed: the beginning of the message.
        :param pause: seconds until the next attempt, where that is not the poll interval.
        """
        texts = {id(error): readable(error) for error in errors.values()}
        affected: dict[Waiter, list[str]] = {}
        for task_id, error in errors.items():
            for waiter in self._waiters.get(task_id, ()):
                waiter.observe(task_id, texts[id(error)])
                affected.setdefault(waiter, []).append(task_id)
        for waiter, task_ids in affected.items():
            error = errors[task_ids[0]]
            subject = f"{failed} {_named(task_ids)}" if failed.endswith("task") else failed
            again = f", next attempt in {pause:.0f} s" if pause > 0 else ""
            message = f"{subject}; still waiting{again}. {texts[id(error)]}"
            waiter.warn(type(error).__name__, message, now=self._clock())

    def _forget(self, task_id: str, waiter: Waiter) -> None:
        waiters = self._waiters.get(task_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiters.pop(task_id, None)
            self._outcomes.forget(task_id)
            self._suspects.discard(task_id)
            self._schedule.remove(task_id)

    def _fail_all(self, error: BaseException) -> None:
        for waiter in {waiter for waiters in self._waiters.values() for waiter in waiters}:
            waiter.fail(error)
            self.unregister(waiter)


def _named(task_ids: Sequence[str]) -> str:
    """Return the first ids, and the number of the others."""
    named = ", ".join(task_ids[:_NAMED_IDS])
    more = len(task_ids) - _NAMED_IDS
    return f"{named} and {more} more" if more > 0 else named
