"""The tasks that one trigger waits for."""

from __future__ import annotations

import gc
from contextvars import ContextVar, copy_context
from itertools import pairwise

import pytest

from airflow_provider_apimart.exceptions import ApimartError, TaskNotFoundError
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.triggers.waiter import Waiter, readable

whose_log: ContextVar[str] = ContextVar("whose_log", default="nobody's")


def waiter_for(*task_ids: str) -> Waiter:
    return Waiter(task_ids, lambda _: None)


def task(task_id: str, status: str = "completed") -> Task:
    return Task.from_json({"id": task_id, "status": status})


async def test_a_wait_ends_when_the_last_of_its_tasks_has() -> None:
    waiter = waiter_for("task_1", "task_2")

    waiter.settle("task_2", task("task_2"))
    assert not waiter.done.done()
    assert waiter.pending == {"task_1"}

    waiter.settle("task_1", task("task_1"))
    assert waiter.done.result() is None
    assert waiter.tasks == {"task_1": task("task_1"), "task_2": task("task_2")}
    assert waiter.failures == {}


async def test_a_wait_for_nothing_is_over_at_once() -> None:
    assert waiter_for().done.done()


async def test_a_task_that_cannot_be_found_is_a_failure_of_its_own() -> None:
    waiter, error = waiter_for("task_1", "task_2"), TaskNotFoundError("no")

    waiter.settle("task_1", error)
    waiter.settle("task_2", task("task_2"))

    assert waiter.done.result() is None
    assert waiter.failures == {"task_1": error}
    assert list(waiter.tasks) == ["task_2"]


async def test_the_last_answer_about_a_pending_task_is_kept_and_an_error_only_until_the_next_description() -> None:
    waiter = waiter_for("task_1", "task_2")

    waiter.observe("task_1", task("task_1", "queued"))
    waiter.observe("task_1", "no connection")
    waiter.observe("task_2", "no connection")
    waiter.observe("task_2", task("task_2", "processing"))

    assert {task_id: seen.status for task_id, seen in waiter.running.items()} == {
        "task_1": "queued",
        "task_2": "processing",
    }
    assert waiter.errors == {"task_1": "no connection"}
    waiter.settle("task_1", task("task_1"))
    assert (list(waiter.running), waiter.errors) == (["task_2"], {})


async def test_a_wait_fails_when_nothing_polls_any_more() -> None:
    waiter = waiter_for("task_1")

    waiter.fail(ApimartError("stopped"))
    waiter.fail(ApimartError("and a second time"))
    waiter.settle("task_1", task("task_1"))

    with pytest.raises(ApimartError, match="stopped"):
        await waiter.done


async def test_a_wait_that_is_over_cannot_fail() -> None:
    waiter = waiter_for()

    waiter.fail(ApimartError("stopped"))

    assert waiter.done.result() is None


async def test_a_warning_is_written_in_the_context_of_the_one_who_waits() -> None:
    written: list[tuple[str, str]] = []

    def make(name: str) -> Waiter:
        whose_log.set(name)
        return Waiter(["task_1"], lambda message: written.append((whose_log.get(), message)))

    first, second = (copy_context().run(make, name) for name in ("the first's", "the second's"))

    second.warn("a", "one", now=0)
    first.warn("a", "two", now=0)
    first.warn("b", "three", now=0)

    assert written == [("the second's", "one"), ("the first's", "two"), ("the first's", "three")]
    assert whose_log.get() == "nobody's"


async def test_warnings_of_one_kind_come_at_growing_intervals() -> None:
    written: list[float] = []
    waiter = Waiter(["task_1"], lambda message: written.append(float(message)))

    for second in range(3600):
        waiter.warn("a kind", str(second), now=second)

    assert written[0] == 0
    assert 5 <= len(written) <= 12, "an hour of trouble stays readable"
    gaps = [later - sooner for sooner, later in pairwise(written)]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 600


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ApimartError("The gateway\r\nis away."), "The gateway is away."),
        (OSError("record\x00 layer"), "OSError: record\N{REPLACEMENT CHARACTER} layer"),
        (ValueError("\ud800"), "ValueError: \N{REPLACEMENT CHARACTER}"),
        (ApimartError("x" * 10_000), "x" * 499 + "…"),
    ],
)
def test_an_error_is_one_line_that_can_be_logged_and_stored(error: Exception, text: str) -> None:
    assert readable(error) == text


async def test_a_failure_that_nobody_is_left_to_hear_of_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    caplog.clear()  # What earlier tests have left may make some.
    waiter = waiter_for("task_1")
    waiter.fail(ApimartError("stopped"))

    del waiter
    gc.collect()

    assert caplog.text == ""
