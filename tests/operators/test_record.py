"""The purchase record as a state machine: what may be bought after any history."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.request import KEY_LIFETIME, ImageRequest
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.operators.record import (
    PurchasePart,
    PurchasePhase,
    PurchaseRecord,
    describe_request,
    reopen_lost_parts,
    resume_purchase,
)

NOW = 1_000_000.0
ACCEPTED = PurchasePart(PurchasePhase.ACCEPTED, task_ids=("t",))


def task(task_id: str, state: TaskState = TaskState.RUNNING, cost: float | None = None, *, expires: int = 0) -> Task:
    images = (Image("https://example.com/a.png", expires),) if state is TaskState.COMPLETED else ()
    return Task(task_id=task_id, status=str(state), state=state, cost=cost, images=images)


parts = st.builds(
    PurchasePart,
    phase=st.sampled_from(PurchasePhase),
    n=st.integers(1, 4),
    attempt=st.integers(0, 9),
    key=st.text(max_size=5),
    intended_at=st.none() | st.floats(0, 2 * NOW),
    task_ids=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    is_reused=st.booleans(),
)
records = st.builds(
    PurchaseRecord,
    generation=st.integers(0, 3),
    fingerprint=st.text(),
    parts=st.lists(parts, min_size=1, max_size=4).map(tuple),
    request=st.just({"prompt": "a cat", "n": 4}),
    connection_id=st.sampled_from(["", "one"]),
    deadline=st.none() | st.floats(1, NOW),
)


def new(*record_parts: PurchasePart, prompt: str = "a cat", generation: int = 1) -> PurchaseRecord:
    return PurchaseRecord(
        generation=generation,
        fingerprint=prompt,
        parts=record_parts or (PurchasePart(),),
        request={"prompt": prompt, "n": 1},
    )


@given(records, st.booleans())
def test_a_record_survives_being_stored_as_json(record: PurchaseRecord, has_replacement: bool) -> None:
    record = replace(record, replacement=record if has_replacement else None)

    assert PurchaseRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    "stored",
    [{}, [], "text", {"version": 3, "parts": []}, {"version": 1}, {**new().to_json(), "parts": [{"phase": "bought"}]}],
)
def test_anything_else_that_is_stored_is_an_error_and_not_an_empty_record(stored: object) -> None:
    with pytest.raises(ValueError, match="not a purchase record"):
        PurchaseRecord.from_json(stored)


@given(records, st.booleans())
def test_a_retry_continues_the_record_whatever_is_rendered(record: PurchaseRecord, is_reuse: bool) -> None:
    for rendered in (None, new(prompt="another", generation=record.generation)):
        resumed = resume_purchase(record, rendered, generation=record.generation, is_reuse=is_reuse, now=NOW)

        assert resumed == (record, [])


@given(records)
def test_a_clear_keeps_what_was_accepted_unless_new_pictures_are_wanted(record: PurchaseRecord) -> None:
    rendered = new(generation=record.generation + 1)
    regenerated, _ = resume_purchase(record, rendered, generation=rendered.generation, is_reuse=False, now=NOW)
    reused, _ = resume_purchase(record, rendered, generation=rendered.generation, is_reuse=True, now=NOW)

    assert regenerated == rendered
    accepted = [part.task_ids for part in record.parts if part.phase is PurchasePhase.ACCEPTED]
    assert reused is not None
    assert [part.task_ids for part in reused.parts if part.phase is PurchasePhase.ACCEPTED] == accepted
    assert all(part.phase is not PurchasePhase.INTENDED for part in reused.parts)


@pytest.mark.parametrize(
    ("age", "is_kept"), [(60, True), (KEY_LIFETIME - 1, True), (KEY_LIFETIME + 1, False), (None, False)]
)
def test_a_clear_keeps_the_key_of_an_unanswered_call_while_it_lives(age: float | None, is_kept: bool) -> None:
    intended_at = None if age is None else NOW - age
    record = new(PurchasePart(PurchasePhase.INTENDED, key="k", intended_at=intended_at))

    resumed, warnings = resume_purchase(record, new(generation=2), generation=2, is_reuse=True, now=NOW)

    assert resumed is not None
    assert resumed.parts[0].phase is PurchasePhase.OPEN
    assert (resumed.parts[0].key == "k") is is_kept
    assert bool(warnings) is not is_kept


@pytest.mark.parametrize(
    ("outcome", "is_open"),
    [
        pytest.param(task("t"), False, id="running"),
        pytest.param(task("t", TaskState.COMPLETED, 0.5), False, id="completed"),
        pytest.param(task("t", TaskState.CANCELLED), False, id="cancelled"),
        pytest.param(None, False, id="not answered"),
        pytest.param(task("t", TaskState.FAILED, 0.5), False, id="failed and charged"),
        pytest.param(task("t", TaskState.FAILED, 0.0), True, id="failed at no cost"),
        pytest.param(task("t", TaskState.FAILED), True, id="failed without a cost"),
    ],
)
def test_a_retry_buys_again_only_what_was_provably_not_charged(outcome: Task | None, is_open: bool) -> None:
    known = {} if outcome is None else {"t": outcome}

    reviewed = reopen_lost_parts(new(ACCEPTED), known, (), retries=1, now=NOW)

    assert (reviewed.parts[0].phase is PurchasePhase.OPEN) is is_open
    assert reviewed.parts[0].attempt == int(is_open)
    assert reopen_lost_parts(new(ACCEPTED), known, (), retries=None, now=NOW) == new(ACCEPTED)


@pytest.mark.parametrize(
    ("outcome", "denied", "is_open"),
    [
        pytest.param(None, (), False, id="not known yet"),
        pytest.param(None, ("t",), True, id="denied for minutes"),
        pytest.param(task("t", TaskState.CANCELLED), (), True, id="cancelled"),
        pytest.param(task("t", TaskState.FAILED, 0.5), (), True, id="failed"),
        pytest.param(task("t", TaskState.COMPLETED, expires=int(NOW) + 1), (), False, id="alive"),
        pytest.param(task("t", TaskState.COMPLETED, expires=int(NOW)), (), True, id="expired"),
    ],
)
def test_after_a_clear_only_what_cannot_be_had_is_bought(
    outcome: Task | None, denied: tuple[str, ...], is_open: bool
) -> None:
    record = replace(new(replace(ACCEPTED, is_reused=True)), replacement=new(prompt="another"))
    known = {} if outcome is None else {"t": outcome}

    reviewed = reopen_lost_parts(record, known, denied, retries=None, now=NOW)

    assert reviewed == (new(prompt="another") if is_open else record)


def test_a_long_text_is_recorded_as_a_digest_and_restored_only_from_the_same_text() -> None:
    request = ImageRequest(prompt="a cat" * 2000, image_urls=("data:image/png;base64," + "A" * 9000,))
    record = replace(new(), request=describe_request(request))

    assert record.request["prompt"] == request.prompt
    assert len(json.dumps(record.to_json()["request"]["image_urls"])) < 100
    assert record.part_requests(request) == [request]
    with pytest.raises(ValueError, match="has changed"):
        record.part_requests(replace(request, image_urls=("data:image/png;base64," + "B" * 9000,)))
