"""The same wait on a worker, where it blocks, against the simulator."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from typing import TYPE_CHECKING, NoReturn

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs
from triggers.test_dataset import trigger_of
from triggers.waiting import waiting_for

from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.triggers.apimart import run_inline

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.simulator import Simulator


class KilledError(BaseException):
    """What Airflow raises in the main thread of a worker's process."""


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "asyncio" in thread.name}


def test_it_returns_what_the_trigger_would_fire(buy: Callable[..., list[str]], simulator: Simulator) -> None:
    task_ids = buy(3)
    before = threads()

    event = run_inline(waiting_for(task_ids))

    assert event["status"] == "finished"
    assert {task["id"] for task in event["tasks"]} == set(task_ids)
    assert simulator.stats()["submits"]["received"] == 3
    assert threads() <= before


def test_a_dataset_waits_in_the_same_way(buy: Callable[..., list[str]]) -> None:
    event = run_inline(trigger_of(buy(4)))

    assert (event["status"], event["ended"]) == ("all", 4)


def test_the_connection_is_looked_up_outside_the_event_loop(buy: Callable[..., list[str]]) -> None:
    looked_up_in_loop: list[bool] = []

    class Hook(ApimartHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> object:  # type: ignore[override]
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                looked_up_in_loop.append(False)
            else:
                looked_up_in_loop.append(True)
            return super().get_connection(conn_id)

        async def aget_connection(self, conn_id: str) -> NoReturn:  # type: ignore[override]
            raise AssertionError(conn_id)

    assert run_inline(waiting_for(buy(1)), Hook)["status"] == "finished"
    assert looked_up_in_loop == [False]


def test_its_trouble_is_in_the_log_of_the_task(buy: Callable[..., list[str]], simulator: Simulator) -> None:
    task_ids = buy(1)
    simulator.add_fault({"fault": "refuse", "on": "task", "status": 402, "times": 1})

    with bound_contextvars(try_number=1), capture_logs(processors=[merge_contextvars]) as logged:
        event = run_inline(waiting_for(task_ids))

    assert event["status"] == "finished"
    (line,) = (line for line in logged if line["event"].startswith("Could not get the status of task"))
    assert line["try_number"] == 1


def test_the_caller_is_interrupted_at_once_by_a_signal(buy: Callable[..., list[str]], simulator: Simulator) -> None:
    simulator.add_fault({"fault": "never_finishes"})
    task_ids = buy(1)
    before = threads()

    def kill(*_: object) -> NoReturn:
        raise KilledError

    usual = signal.signal(signal.SIGALRM, kill)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(KilledError):
            run_inline(waiting_for(task_ids, deadline=time.time() + 3600))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)

    assert threads() <= before, "the event loop has ended"


def test_it_works_within_the_context_of_a_running_task(buy: Callable[..., list[str]]) -> None:
    task_ids = buy(1)

    event = contextvars.copy_context().run(run_inline, waiting_for(task_ids))

    assert event["status"] == "finished"
