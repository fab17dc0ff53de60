"""The rule by which a waiting task ends."""

from __future__ import annotations

import pytest
from gateway.clock import Clock

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    InsufficientBalanceError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.polling import DENIALS, DENIED_FOR, IMAGES_GRACE, OutcomeFilter
from airflow_provider_apimart.gateway.task import Task

PICTURE = {"images": [{"url": "https://cdn.example/1.png"}]}
DENIED = TaskNotFoundError("no such task")


def described(status: str, **fields: object) -> Task:
    return Task.from_json({"id": "task_1", "status": status, **fields})


class Wait:
    """The status queries of one task, at times that the test chooses."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.filter = OutcomeFilter(clock=self.clock)

    def query(self, seconds: float, outcome: Task | ApimartError) -> Task | ApimartError | None:
        self.clock.seconds = seconds
        return self.filter.conclude("task_1", outcome)


@pytest.fixture
def wait() -> Wait:
    return Wait()


@pytest.mark.parametrize(
    "task", [described("completed", result=PICTURE), described("failed"), described("cancelled"), described("expired")]
)
def test_a_finished_task_is_final_at_once(wait: Wait, task: Task) -> None:
    assert wait.query(0, task) is task


@pytest.mark.parametrize(
    "task", [described("processing"), described("archived"), described("")], ids=lambda t: t.status
)
def test_a_task_that_runs_is_never_final(wait: Wait, task: Task) -> None:
    assert [wait.query(seconds, task) for seconds in (0, 600, 10**6)] == [None] * 3


@pytest.mark.parametrize(
    "error",
    [
        cls("no")
        for cls in (
            AuthenticationError,
            InsufficientBalanceError,
            NotFoundError,
            RateLimitError,
            ServerError,
            ConnectionFailedError,
            UnreadableAnswerError,
            ConfigurationError,
        )
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_never_final(wait: Wait, error: ApimartError) -> None:
    assert [wait.query(seconds, error) for seconds in range(0, 10**5, 1000)] == [None] * 100


@pytest.mark.parametrize(
    ("times", "final"),
    [
        pytest.param([0, 1, 2, 3, 4, 5, 6], [], id="many in a few seconds"),
        pytest.param([0, 10**5], [], id="two in a day"),
        pytest.param([0, 30, 60, 90], [], id="four"),
        pytest.param([0, 30, 60, 90, 119.9], [], id="five in a little too short a time"),
        pytest.param([0, 30, 60, 90, 120], [4], id="five over two minutes"),
        pytest.param([0, 1, 2, 3, 4, 5, 120, 121], [6, 7], id="later ones count from the first"),
    ],
)
def test_a_denied_id_is_final_after_several_denials_over_minutes(
    wait: Wait, times: list[float], final: list[int]
) -> None:
    outcomes = [wait.query(seconds, DENIED) for seconds in times]

    assert [place for place, outcome in enumerate(outcomes) if outcome is DENIED] == final
    assert (DENIALS, DENIED_FOR) == (5, 120)


def test_a_task_that_was_seen_meanwhile_is_denied_from_the_beginning(wait: Wait) -> None:
    for seconds in (0, 30, 60, 90):
        wait.query(seconds, DENIED)
    wait.query(100, described("processing"))

    assert [wait.query(seconds, DENIED) for seconds in (120, 150, 180, 210)] == [None] * 4
    assert wait.query(240, DENIED) is DENIED


def test_other_errors_between_denials_change_nothing(wait: Wait) -> None:
    for seconds in (0, 30, 60, 90):
        wait.query(seconds, DENIED)
        wait.query(seconds + 1, ServerError("no"))

    assert wait.query(120, DENIED) is DENIED


@pytest.mark.parametrize(
    "empty", [described("completed"), described("done", result={"images": []}), described("success", result="?")]
)
def test_pictures_may_follow_for_five_minutes(wait: Wait, empty: Task) -> None:
    assert [wait.query(seconds, empty) for seconds in (10, 100, 309.9)] == [None] * 3
    assert wait.query(310, empty) is empty
    assert IMAGES_GRACE == 300


def test_pictures_that_follow_are_final_at_once(wait: Wait) -> None:
    wait.query(0, described("completed"))
    late = described("completed", result=PICTURE)

    assert wait.query(4, late) is late


@pytest.mark.parametrize("outcome", [DENIED, described("completed")], ids=["denied", "without pictures"])
def test_a_task_that_nobody_waits_for_any_more_is_forgotten(wait: Wait, outcome: Task | ApimartError) -> None:
    for seconds in (0, 30, 60, 90):
        wait.query(seconds, outcome)
    wait.filter.forget("task_1")
    wait.filter.forget("task_1")

    assert wait.query(10**6, outcome) is None
