"""The trigger that waits for gateway tasks without holding a worker, and the same wait on a worker."""

from __future__ import annotations

import asyncio
import contextvars
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent  # noqa: TID253 - only operators that defer import this module

from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.triggers.connection import RenewedHook
from airflow_provider_apimart.triggers.poller import TaskPoller
from airflow_provider_apimart.triggers.waiter import Waiter, readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["ApimartTaskTrigger", "GatewayWaitTrigger", "event_of", "run_inline", "seconds_until"]

#: Seconds for which an event is held back, and for which the first query of a wait without a timeout is delayed, at
#: most: a moment that is further ahead was named by a clock that shows another time.
_LONGEST_HOLD: Final = 10.0
_LONGEST_INITIAL_DELAY: Final = 600.0
#: Bytes of ``data:`` URLs that an event may hold: Airflow stores it in its database.
_LARGEST_INLINE: Final = 64 * 1024
#: Ids that a log message names.
_NAMED_IDS: Final = 100
#: Characters that all texts about pending tasks may take in an event together, and each of them at least and at most.
_ALL_TEXTS, _SHORTEST_TEXT, _LONGEST_TEXT = 50_000, 60, 500


def seconds_until(moment: float, *, now: float, limit: float | None = None) -> float:
    """
    Return the seconds until a moment that a clock has named which may be wrong, or may have been set since.

    :param moment: Unix seconds.
    :param limit: seconds; a moment further ahead was named by a wrong clock. ``None`` for no limit.
    """
    return max(0.0, moment - now if limit is None else min(moment - now, limit))


class GatewayWaitTrigger(BaseTrigger):
    """
    Base of the triggers that wait for gateway tasks.

    A trigger only reads: nothing that it calls can buy a picture. It may run twice or move between triggerers, so its
    times are wall clock; ``timeout`` bounds the wait when a clock is set.

    :param apimart_conn_id: the connection. The key itself is never part of the trigger.
    :param task_ids: ids of gateway tasks.
    :param deadline: Unix seconds at which to give up.
    :param timeout: seconds that this wait may last, whatever the clock says; ``None`` for no other limit than the
        deadline. It begins again when the trigger moves to another triggerer, the deadline does not.
    :param first_look: Unix seconds of the first query; at once where that is past, as by default.
    :param not_before: Unix seconds before which no event may fire, at most 10 s ahead; 0 for no such moment. Airflow
        up to at least 3.3.2 can lose a task whose event comes within seconds of its deferral, which costs a retry.
    :param poll_interval: seconds between queries, default 4.
    """

    #: Names of the parameters, which are also its attributes.
    parameters: ClassVar[tuple[str, ...]] = (
        "apimart_conn_id",
        "task_ids",
        "deadline",
        "timeout",
        "first_look",
        "not_before",
        "poll_interval",
    )

    def __init__(
        self,
        *,
        apimart_conn_id: str,
        task_ids: Sequence[str],
        deadline: float,
        timeout: float | None = None,
        first_look: float = 0.0,
        not_before: float = 0.0,
        poll_interval: float = 4.0,
    ) -> None:
        super().__init__()
        self.apimart_conn_id = apimart_conn_id
        self.task_ids = list(task_ids)
        self.deadline = deadline
        self.timeout = timeout
        self.first_look = first_look
        self.not_before = not_before
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the parameters from which a triggerer creates this trigger."""
        cls = type(self)
        return f"{cls.__module__}.{cls.__qualname__}", {name: getattr(self, name) for name in self.parameters}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, fire one event, and end at once: Airflow takes a trigger that lives on after it for a killed one."""
        loop = asyncio.get_running_loop()
        not_before = loop.time() + seconds_until(self.not_before, now=time.time(), limit=_LONGEST_HOLD)
        event = await self.wait(TaskPoller.of(self.apimart_conn_id))
        await asyncio.sleep(not_before - loop.time())
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """
        Log what happens to the money when somebody ends the wait.

        Airflow also calls this when the trigger only moves to another triggerer, so it must not do more than that.
        """
        self.log.warning(
            "Stopped waiting for %d gateway task(s), such as %s. They cannot be cancelled: they continue and will be "
            "charged. A retry of the Airflow task, or clearing it, collects their pictures and buys nothing, unless it "
            "is told to buy again (on_clear, on_existing).",
            len(self.task_ids),
            ", ".join(self.task_ids[:_NAMED_IDS]) or "none",
        )

    @abstractmethod
    async def wait(self, poller: TaskPoller) -> dict[str, Any]:
        """Wait, and return the payload of the event."""

    def seconds_left(self) -> float:
        """Return the seconds for which a wait that begins now may last."""
        return seconds_until(self.deadline, now=time.time(), limit=self.timeout)

    def initial_delay(self) -> float:
        """Return the seconds from now to the first query."""
        delay = seconds_until(self.first_look, now=time.time())
        longest = _LONGEST_INITIAL_DELAY if self.timeout is None else self.timeout
        return delay if delay < longest else 0.0  # Only a clock that was set puts it beyond the end of the wait.


class ApimartTaskTrigger(GatewayWaitTrigger):
    """
    Waits until all of the given gateway tasks have ended, or until the deadline.

    Nothing else ends the wait: a status query that fails, in whatever way, is repeated. It fires one event::

        {"status": "finished" | "timeout", "task_ids": [...], "tasks": [...], "large": [...],
         "failures": {task_id: message},
         "left": {task_id: {"status": "processing", "quote": "", "error": ""}}}

    ``tasks`` holds the tasks that have ended, in the gateway's own shape, but for those in ``large``: their pictures
    came inside the answer and are too large for an event, so the worker queries them. ``failures`` are the ids that
    the gateway has denied for minutes. ``left`` describes the tasks that were still running at the deadline: the
    gateway's last status word, its answer where that was not understood, and the error of the last query.

    :param finished: tasks among ``task_ids`` that had ended before, in the gateway's shape; the event repeats them.
    :param wait: see :class:`GatewayWaitTrigger` for the other parameters.
    """

    parameters = (*GatewayWaitTrigger.parameters, "finished")

    def __init__(self, *, finished: Sequence[dict[str, Any]] = (), **wait: Any) -> None:
        super().__init__(**wait)
        self.finished = list(finished)

    async def wait(self, poller: TaskPoller) -> dict[str, Any]:
        """Wait, and return the payload of the event."""
        self.log.debug("Waiting for %d gateway task(s): %s", len(self.task_ids), ", ".join(self.task_ids))
        ended = {task["id"] for task in self.finished}
        waiter = Waiter((task_id for task_id in self.task_ids if task_id not in ended), self.log.warning)
        with poller.watching(waiter, initial_delay=self.initial_delay(), poll_interval=self.poll_interval):
            try:
                await asyncio.wait_for(waiter.done, self.seconds_left())
            except TimeoutError:
                self.log.warning(
                    "Timed out with %d of %d gateway task(s) still running. They continue at the gateway; their "
                    "pictures can be collected later.",
                    len(waiter.pending),
                    len(self.task_ids),
                )
            return event_of(self.task_ids, self.finished, waiter)


def event_of(task_ids: Sequence[str], finished: Sequence[dict[str, Any]], waiter: Waiter) -> dict[str, Any]:
    """
    Return the payload of an :class:`ApimartTaskTrigger`'s event.

    :param finished: tasks that had ended before the wait, in the gateway's shape.
    """
    room = _LARGEST_INLINE
    tasks, large = [], []
    for task_id, task in waiter.tasks.items():
        size = sum(len(image.url) for image in task.images if image.url.startswith("data:"))
        if size > room:
            large.append(task_id)
        else:
            room -= size
            tasks.append(task.to_json())
    length = max(_SHORTEST_TEXT, min(_LONGEST_TEXT, _ALL_TEXTS // max(1, len(waiter.failures) + len(waiter.pending))))
    return {
        "status": "timeout" if waiter.pending else "finished",
        "task_ids": list(task_ids),
        "tasks": [*finished, *tasks],
        "large": large,
        "failures": {task_id: readable(error, limit=length) for task_id, error in waiter.failures.items()},
        "left": {
            task_id: _description(waiter.running.get(task_id), waiter.errors.get(task_id, ""), length)
            for task_id in task_ids
            if task_id in waiter.pending
        },
    }


def _description(task: Task | None, error: str, length: int) -> dict[str, str]:
    return {
        "status": task.status[:length] if task else "",
        "quote": task.quote[:length] if task else "",
        "error": error[:length],
    }


def run_inline(trigger: GatewayWaitTrigger, make_hook: Callable[[str], ApimartHook] = ApimartHook) -> dict[str, Any]:
    """
    Wait on a worker as a trigger waits in a triggerer, and return the payload of the event.

    The event loop runs in a thread of its own: Airflow's signals for ``execution_timeout`` and a kill raise in the
    thread that calls this, and end the wait at once.

    :param make_hook: makes a hook from a connection id. Its connection is looked up in a thread.
    """
    from anyio.from_thread import start_blocking_portal  # noqa: PLC0415 - not for a triggerer to load

    context = contextvars.copy_context()

    async def wait() -> dict[str, Any]:
        connection = RenewedHook(trigger.apimart_conn_id, make_hook=make_hook, in_thread=True)
        poller = TaskPoller(trigger.apimart_conn_id, connection=connection)
        try:
            # In the caller's context, so that the trigger's log lines land where the caller's do.
            return await asyncio.get_running_loop().create_task(trigger.wait(poller), context=context)
        finally:
            await poller.aclose()

    with start_blocking_portal() as portal:
        return portal.call(wait)
