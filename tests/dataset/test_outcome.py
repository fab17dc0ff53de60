"""What an answer of the gateway makes of a purchase."""

from __future__ import annotations

from typing import Any

import pytest
from dataset.entries import NOW, entry

from airflow_provider_apimart.dataset.entry import Entry, Failure, Status
from airflow_provider_apimart.dataset.outcome import Ending, copied, ending_of, failed, submitted, unknown
from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    ConnectionFailedError,
    IdempotencyError,
    ImageRejectedError,
    InsufficientBalanceError,
    InvalidRequestError,
    ModerationError,
    RateLimitError,
    RequestRejectedError,
    SubmitOutcomeUnknownError,
    TaskNotFoundError,
    TransferError,
)
from airflow_provider_apimart.gateway.task import Image, Submission, Task, TaskState

INTENDED = entry(status=Status.INTENDED, charged="unknown", reserved=0.5)
ACCEPTED = entry(status=Status.ACCEPTED, charged="unknown", reserved=0.5, task_ids=("a", "b"))
OBJECT = {
    "task_id": "a",
    "index": 0,
    "uri": "s3://bucket/a.png",
    "bytes": 3,
    "sha256": "0" * 64,
    "content_type": "image/png",
    "width": 1024,
    "height": 1024,
    "outcome": "copied",
}
LATER = NOW + 60


def task(task_id: str, state: TaskState = TaskState.COMPLETED, **changes: Any) -> Task:
    images = (Image(f"https://example.com/{task_id}.png", None),) if state is TaskState.COMPLETED else ()
    return Task(**{"task_id": task_id, "status": str(state), "state": state, "images": images, **changes})


def ended(**found: Task | ApimartError) -> Ending:
    ending = ending_of(ACCEPTED, found, now=NOW + 3600)
    assert ending is not None
    return ending


def test_an_accepted_call_is_known_by_its_tasks() -> None:
    running, done = task("a", TaskState.RUNNING), task("b", cost=0.25)

    one = submitted(INTENDED, Submission((running, done)), again=False, now=LATER)

    assert (one.status, one.charged, one.task_ids, one.updated_at) == (Status.ACCEPTED, "unknown", ("a", "b"), LATER)
    assert [Task.from_json(each) for each in one.delivered] == [done]
    assert (one.reserved, one.intended_at) == (0.5, NOW)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (RateLimitError("too many"), True),
        (BusyError("busy"), True),
        (ConnectionFailedError("no route"), True),
        (AuthenticationError("wrong key"), True),
        (InsufficientBalanceError("top up"), True),
        (RequestRejectedError("no such size"), False),
        (ModerationError("not allowed"), False),
        (InvalidRequestError("no such size"), False),
        (IdempotencyError("another body"), False),
    ],
)
def test_a_refusal_costs_nothing_and_is_final_only_where_the_request_is_the_reason(
    error: ApimartError, retryable: bool
) -> None:
    one = submitted(INTENDED, error, again=False, now=LATER)

    assert (one.status, one.charged, one.cost, one.reserved) == (Status.REFUSED, "no", 0.0, None)
    assert one.error == Failure(None, str(error), retryable)


@pytest.mark.parametrize("again", [False, True])
def test_a_lost_answer_is_unknown_and_its_money_stays_held(again: bool) -> None:
    one = submitted(INTENDED, SubmitOutcomeUnknownError("lost", code=502), again=again, now=LATER)

    assert (one.status, one.charged, one.cost, one.reserved) == (Status.UNKNOWN, "unknown", None, 0.5)
    assert one.error == Failure("502", "lost", retryable=True)


def test_a_refusal_of_the_second_call_says_nothing_of_the_first() -> None:
    one = submitted(INTENDED, RateLimitError("too many"), again=True, now=LATER)

    assert (one.status, one.charged) == (Status.UNKNOWN, "unknown")


def test_a_call_that_is_given_up_keeps_its_key_and_its_time() -> None:
    one = unknown(INTENDED, SubmitOutcomeUnknownError("the worker died"), now=LATER)

    assert (one.idempotency_key, one.intended_at, one.updated_at) == (INTENDED.idempotency_key, NOW, LATER)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({"a": task("a")}, id="one was not asked after"),
        pytest.param({"a": task("a"), "b": task("b", TaskState.RUNNING)}, id="one runs"),
        pytest.param({"a": task("a"), "b": ConnectionFailedError("no route")}, id="one could not be asked after"),
    ],
)
def test_a_call_has_not_ended_while_one_of_its_tasks_may_still_deliver(found: dict[str, Any]) -> None:
    assert ending_of(ACCEPTED, found, now=NOW + 3600) is None


def test_a_task_that_came_finished_with_the_answer_is_not_asked_after() -> None:
    done = task("sync_1", cost=0.25)
    one = submitted(INTENDED, Submission((done,)), again=False, now=NOW)

    assert ending_of(one, {}, now=NOW + 3600) == Ending((done,), ())
    assert copied(one, Ending((done,), ()), [OBJECT], now=LATER).delivered == ()


def test_pictures_that_are_in_s3_settle_the_purchase() -> None:
    ending = ended(a=task("a", cost=0.25, credits_cost=2.5), b=task("b", cost=0.5, credits_cost=5.0))

    one = copied(ACCEPTED, ending, [OBJECT], now=LATER)

    assert (one.status, one.charged, one.reserved, one.error) == (Status.COPIED, "yes", None, None)
    assert (one.cost, one.credits_cost) == (0.75, 7.5)
    assert one.objects == ({name: OBJECT[name] for name in OBJECT if name not in {"task_id", "index", "outcome"}},)


def test_a_cost_that_is_not_named_keeps_what_was_held() -> None:
    one = copied(ACCEPTED, ended(a=task("a", cost=0.25), b=task("b")), [OBJECT], now=LATER)

    assert (one.cost, one.reserved) == (None, 0.5)


def test_one_picture_is_enough_and_a_task_that_failed_beside_it_costs_nothing() -> None:
    ending = ended(a=task("a", cost=0.25), b=task("b", TaskState.FAILED))

    assert ending.cost == 0.25


def test_what_the_gateway_has_forgotten_may_have_cost_something() -> None:
    ending = ended(a=task("a", cost=0.25), b=TaskNotFoundError("no such task"))

    assert ending.cost is ending.credits_cost is None


@pytest.mark.parametrize(
    ("found", "charged", "cost", "retryable"),
    [
        pytest.param(
            {"a": task("a", TaskState.FAILED), "b": task("b", TaskState.FAILED)}, "no", 0.0, True, id="not charged"
        ),
        pytest.param(
            {"a": task("a", TaskState.FAILED), "b": task("b", TaskState.FAILED, error_message="content policy")},
            "no",
            0.0,
            False,
            id="one for its content",
        ),
        pytest.param(
            {"a": task("a", TaskState.FAILED), "b": task("b", TaskState.FAILED, cost=0.25)},
            "yes",
            0.25,
            False,
            id="one charged",
        ),
        pytest.param(
            {"a": task("a", TaskState.FAILED), "b": task("b", TaskState.CANCELLED)},
            "unknown",
            None,
            False,
            id="one cancelled",
        ),
        pytest.param(
            {"a": task("a", TaskState.FAILED), "b": TaskNotFoundError("no such task")},
            "unknown",
            None,
            False,
            id="one forgotten",
        ),
        pytest.param(
            {"a": task("a", images=()), "b": task("b", images=(), cost=0.5)}, "yes", None, False, id="without a URL"
        ),
    ],
)
def test_without_a_picture_the_worst_of_the_tasks_says_what_may_be_done(
    found: dict[str, Any], charged: str, cost: float | None, retryable: bool
) -> None:
    ending = ended(**found)

    one = failed(ACCEPTED, ending, now=LATER)

    assert (one.status, one.charged, one.cost) == (Status.FAILED, charged, cost)
    assert one.error is not None
    assert one.error.retryable is retryable
    assert one.reserved == (0.5 if cost is None else None)
    assert one.task_ids == ("a", "b")


def test_pictures_that_cannot_be_had_were_paid_for() -> None:
    ending = ended(a=task("a", cost=0.25), b=task("b", cost=0.25))

    one = failed(ACCEPTED, ending, ImageRejectedError("no picture", code=""), now=LATER)

    assert (one.status, one.charged, one.cost) == (Status.FAILED, "yes", 0.5)
    assert one.error == Failure(None, "no picture", retryable=False)


def test_a_call_that_was_accepted_as_nothing_was_probably_charged() -> None:
    nothing = entry(status=Status.ACCEPTED, charged="unknown")

    ending = ending_of(nothing, {}, now=NOW + 3600)

    assert ending is not None
    assert failed(nothing, ending, now=LATER).charged == "yes"


def test_a_long_message_is_cut_off() -> None:
    one: Entry = failed(ACCEPTED, Ending((), ()), TransferError("x" * 10_000), now=LATER)

    assert one.error is not None
    assert len(one.error.message) == 500
