"""The form of a ledger line: what people read, and what is never taken for a line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dataset.entries import entries, entry
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.entry import Entry, Failure, Status
from airflow_provider_apimart.dataset.line import read_line, to_line

USUAL = json.loads(to_line(entry()))


@given(entries)
def test_an_entry_survives_being_written_and_read(one: Entry) -> None:
    line = to_line(one)

    assert b"\n" not in line
    assert read_line(line) == one


@given(st.floats(0, 4e9))
def test_a_time_is_kept_to_the_thousandth_of_a_second(moment: float) -> None:
    one = entry(updated_at=moment)

    assert read_line(to_line(one)).updated_at == one.updated_at == pytest.approx(moment, abs=0.001)


def test_a_line_is_what_a_person_would_look_for() -> None:
    line = to_line(
        entry(
            row=7,
            prompt="图: a cat",
            size="16:9",
            cost=0.0085,
            credits_cost=0.085,
            objects=({"uri": "s3://bucket/cat.png", "bytes": 3},),
            task_ids=("task_1",),
        )
    )

    assert "图: a cat" in line.decode()
    assert json.loads(line) == {
        "row": 7,
        "id": "sku-1",
        "part": 0,
        "status": "copied",
        "charged": "yes",
        "cost": 0.0085,
        "credits_cost": 0.085,
        "reserved": None,
        "prompt": "图: a cat",
        "model": "gpt-image-2",
        "size": "16:9",
        "resolution": None,
        "quality": None,
        "n": 1,
        "objects": [{"uri": "s3://bucket/cat.png", "bytes": 3}],
        "error": None,
        "task_ids": ["task_1"],
        "delivered": [],
        "generation": 0,
        "attempt": 0,
        "refusals": 0,
        "retries": 0,
        "idempotency_key": "airflow-1",
        "fingerprint": "0" * 32,
        "run_id": "monday",
        "max_tries": 0,
        "intended_at": "2025-06-15T15:06:40.000Z",
        "updated_at": "2025-06-15T15:06:40.000Z",
        "currency": "USD",
        "schema_version": 1,
    }


def test_a_failure_is_part_of_the_line() -> None:
    one = entry(status=Status.FAILED, error=Failure("upstream", "no capacity", retryable=True))

    assert json.loads(to_line(one))["error"] == {"code": "upstream", "message": "no capacity", "retryable": True}


def test_half_a_character_does_not_keep_a_purchase_from_being_noted() -> None:
    assert read_line(to_line(entry(prompt="cut \ud83d off"))).prompt == "cut \ud83d off"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"row": 1}',
        to_line(entry())[:-1],
        to_line(entry())[: len(to_line(entry())) // 2],
    ],
)
def test_what_is_no_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError, match="no ledger entry of this release"):
        read_line(line)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"schema_version": 2}, id="a later release"),
        pytest.param({"status": "bought"}, id="no status"),
        pytest.param({"charged": "perhaps"}, id="no answer"),
        pytest.param({"row": "1"}, id="a text for a number"),
        pytest.param({"attempt": True}, id="a truth for a number"),
        pytest.param({"attempt": 1.5}, id="a fraction of a count"),
        pytest.param({"id": None}, id="no id"),
        pytest.param({"cost": "0.5"}, id="a text for money"),
        pytest.param({"cost": float("nan")}, id="no number"),
        pytest.param({"cost": float("inf")}, id="no end"),
        pytest.param({"task_ids": "task_1"}, id="a text for a list"),
        pytest.param({"task_ids": [1]}, id="no id of a task"),
        pytest.param({"objects": ["s3://bucket/a.png"]}, id="no object"),
        pytest.param({"delivered": [None]}, id="no task"),
        pytest.param({"error": "no capacity"}, id="a text for an error"),
        pytest.param({"error": {}}, id="an error that says nothing"),
        pytest.param({"error": {"code": None, "message": "", "retryable": False, "more": 1}}, id="more than an error"),
        pytest.param({"updated_at": 1}, id="a number for a time"),
        pytest.param({"updated_at": "yesterday"}, id="no time"),
        pytest.param({"updated_at": "2025-06-15T15:06:40"}, id="a time nowhere"),
    ],
)
def test_a_line_with_something_else_in_it_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no ledger entry of this release"):
        read_line(json.dumps({**USUAL, **changes}).encode())


@pytest.mark.parametrize("column", sorted(set(USUAL) - {"currency"}))
def test_a_line_with_a_gap_is_an_error(column: str) -> None:
    with pytest.raises(ValueError, match="no ledger entry of this release"):
        read_line(json.dumps({name: value for name, value in USUAL.items() if name != column}).encode())


def test_columns_of_a_later_release_are_passed_over() -> None:
    assert read_line(json.dumps({**USUAL, "reviewed_by": "a person"}).encode()) == entry()
