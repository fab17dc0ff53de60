"""The purchase record as a state machine: what may be bought after any history."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import SubmitOutcomeUnknownError, TaskNotFoundError
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.operators._record import Part, Phase, Record

SAME = {"generation": 1, "fingerprint": "a picture", "on_clear": "regenerate", "on_unknown_submit": "fail"}


def task(task_id: str, state: TaskState = TaskState.RUNNING, cost: float | None = None) -> Task:
    images = (Image("https://example.com/a.png", 1),) if state is TaskState.COMPLETED else ()
    return Task(task_id=task_id, status=str(state), state=state, cost=cost, images=images)


parts = st.builds(
    Part,
    phase=st.sampled_from(Phase),
    attempt=st.integers(0, 9),
    task_ids=st.lists(st.text(min_size=1), max_size=2).map(tuple),
)
records = st.builds(
    Record,
    generation=st.integers(0, 3),
    fingerprint=st.text(),
    parts=st.lists(parts, min_size=1, max_size=4).map(tuple),
)


def new(count: int = 1) -> Record:
    return Record.new(generation=1, fingerprint="a picture", parts=count)


@given(records)
def test_a_record_survives_being_stored_as_json(record: Record) -> None:
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    "stored",
    [{}, [], "text", {"version": 2, "parts": []}, {"version": 1}, {**new().to_json(), "parts": [{"phase": "bought"}]}],
)
def test_anything_else_that_is_stored_is_an_error_and_not_an_empty_record(stored: object) -> None:
    with pytest.raises(ValueError, match="not a purchase record"):
        Record.from_json(stored)


@given(records, st.sampled_from(["regenerate", "reuse"]), st.sampled_from(["fail", "resubmit"]))
def test_a_retry_never_forgets_what_was_accepted(record: Record, on_clear: str, on_unknown_submit: str) -> None:
    try:
        continued = record.continued(
            generation=record.generation,
            fingerprint=record.fingerprint,
            on_clear=on_clear,
            on_unknown_submit=on_unknown_submit,
        )
    except SubmitOutcomeUnknownError:
        assert on_unknown_submit == "fail"
        assert Phase.INTENDED in {part.phase for part in record.parts}
    else:
        assert continued == record


@given(records)
def test_clearing_begins_anew_unless_the_old_pictures_are_wanted(record: Record) -> None:
    cleared = {"generation": record.generation + 1, "fingerprint": record.fingerprint, "on_unknown_submit": "fail"}

    assert record.continued(**cleared, on_clear="regenerate") is None
    reused = record.continued(**cleared, on_clear="reuse")
    assert reused is not None
    assert reused.generation == record.generation + 1
    for before, after in zip(record.parts, reused.parts, strict=True):
        assert after == before if before.phase is Phase.ACCEPTED else after.phase is Phase.OPEN


@given(records)
def test_another_request_is_another_purchase(record: Record) -> None:
    assert record.continued(**{**SAME, "fingerprint": f"{record.fingerprint}, but larger"}) is None


def test_an_intent_whose_outcome_is_not_known_stops_a_retry() -> None:
    record = new(2).marked(1, Phase.INTENDED)

    with pytest.raises(SubmitOutcomeUnknownError, match="clear the task"):
        record.continued(**SAME)
    assert record.continued(**{**SAME, "on_unknown_submit": "resubmit"}) == record


def test_what_came_finished_with_the_answer_is_kept_whole() -> None:
    done = task("sync_1", TaskState.COMPLETED, cost=0.5)

    record = new().marked(0, Phase.ACCEPTED, (done,))

    assert record.task_ids == ("sync_1",)
    assert record.delivered == {"sync_1": done}


@pytest.mark.parametrize(
    ("found", "is_open"),
    [
        pytest.param(task("t"), False, id="running"),
        pytest.param(task("t", TaskState.COMPLETED, 0.5), False, id="completed"),
        pytest.param(task("t", TaskState.CANCELLED), False, id="cancelled"),
        pytest.param(TaskNotFoundError(), False, id="not known to the gateway"),
        pytest.param(None, False, id="not answered"),
        pytest.param(task("t", TaskState.FAILED, 0.5), False, id="failed and charged"),
        pytest.param(task("t", TaskState.FAILED, 0.0), True, id="failed at no cost"),
        pytest.param(task("t", TaskState.FAILED), True, id="failed without a cost"),
    ],
)
def test_only_what_was_provably_not_charged_may_be_bought_again(found: object, is_open: bool) -> None:
    record = new().marked(0, Phase.ACCEPTED, (task("t"),))

    (part,) = record.reviewed({} if found is None else {"t": found}).parts

    assert (part.phase is Phase.OPEN) is is_open
    assert part.attempt == int(is_open)


@given(records)
def test_a_review_without_news_changes_nothing(record: Record) -> None:
    assert record.reviewed({}) == record
