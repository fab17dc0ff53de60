"""What a person sees of a dataset that is on its way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from dataset.entries import NOW, entry

from airflow_provider_apimart.dataset.budget import Budget
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.progress import Progress, is_due, progress_of
from airflow_provider_apimart.dataset.survey import Survey

HALFWAY = Progress(
    at=NOW,
    total=10_000,
    done=1_240,
    in_flight=198,
    failed=3,
    spent=10.54,
    projected=85.0,
    per_minute=12.0,
    seconds_left=43_800,
)


def progress(found: Survey, *bought: dict[str, Any], now: float = NOW) -> Progress:
    ledger = Ledger()
    ledger.add(entry(id=f"sku-{number}", **each) for number, each in enumerate(bought))
    return progress_of(found, Budget.of(ledger.states(), max_cost=None), ledger.states(), now=now)


def test_a_person_reads_one_line() -> None:
    assert str(HALFWAY) == (
        "1,240 of 10,000 done, 198 in flight, 3 failed; 10.54 USD spent, about 85.00 USD in all; "
        "12 pictures/min, 12 h 10 min left"
    )


def test_what_is_not_known_is_not_said() -> None:
    unknown = replace(HALFWAY, spent=0.0, projected=None, per_minute=None, seconds_left=None)

    assert str(unknown) == "1,240 of 10,000 done, 198 in flight, 3 failed; 0.00 USD spent"


def test_small_sums_are_not_rounded_to_nothing() -> None:
    assert "0.0085 USD spent" in str(replace(HALFWAY, spent=0.0085))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "in all"), (59, "59 s left"), (60, "1 min left"), (3_600, "1 h 0 min left")]
)
def test_the_time_left_is_told_as_people_tell_it(seconds: float, text: str) -> None:
    assert str(replace(HALFWAY, seconds_left=seconds)).endswith(text)


def test_the_same_is_plain_json_for_xcom() -> None:
    told = HALFWAY.to_json()

    assert json.loads(json.dumps(told)) == told
    assert (told["schema_version"], told["done"], told["spent"], told["currency"]) == (1, 1_240, 10.54, "USD")


def test_pace_and_projection_come_from_what_was_copied_of_late() -> None:
    found = Survey(total=10, done=2, failed=1, left=3, waiting=1, ask=[entry()] * 3)
    recent = {"cost": 0.5, "intended_at": NOW - 120, "updated_at": NOW - 10}

    told = progress(found, recent, recent, {"status": Status.FAILED, "charged": "no", "cost": 0.0})

    assert (told.total, told.done, told.in_flight, told.failed) == (10, 2, 3, 1)
    assert told.spent == 1.0
    assert told.projected == 1.0 + 7 * 0.5
    assert told.per_minute == 1.0
    assert told.seconds_left == 7 * 60


def test_what_is_long_ago_says_nothing_about_the_pace() -> None:
    told = progress(
        Survey(total=2, done=1, left=1), {"cost": 0.5, "intended_at": NOW, "updated_at": NOW}, now=NOW + 601
    )

    assert told.per_minute is told.seconds_left is None
    assert told.projected == 1.0


def test_what_began_long_ago_counts_as_if_it_had_begun_with_the_period() -> None:
    told = progress(Survey(total=11, done=10, left=1), *[{"intended_at": NOW - 86_400, "updated_at": NOW}] * 10)

    assert told.per_minute == 1.0


def test_a_gateway_that_names_no_cost_allows_no_projection() -> None:
    assert progress(Survey(total=2, done=1, left=1), {"cost": None, "reserved": 0.25}).projected is None


def test_an_empty_dataset_has_its_progress_too() -> None:
    assert str(progress(Survey())) == "0 of 0 done, 0 in flight, 0 failed; 0.00 USD spent"


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        pytest.param({"at": NOW + 29, "done": 1_300}, False, id="something happened a moment ago"),
        pytest.param({"at": NOW + 30, "done": 1_300}, True, id="something happened half a minute ago"),
        pytest.param({"at": NOW + 30, "in_flight": 1}, True, id="something was bought"),
        pytest.param({"at": NOW + 30, "failed": 4}, True, id="something failed"),
        pytest.param({"at": NOW + 3_600}, False, id="nothing happened"),
        pytest.param({"at": NOW + 1, "done": 2_000}, True, id="a tenth is reached"),
        pytest.param({"at": NOW + 1, "failed": 800}, True, id="a tenth is reached by failures"),
    ],
)
def test_a_line_is_due_at_each_tenth_and_else_every_half_minute(changes: dict[str, Any], due: bool) -> None:
    assert is_due(HALFWAY, replace(HALFWAY, **changes)) is due


def test_an_empty_dataset_reaches_no_tenth() -> None:
    nothing = progress(Survey())

    assert not is_due(nothing, replace(nothing, at=NOW + 3_600))
