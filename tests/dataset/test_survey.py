"""All rows at once: what is done now, and how a task ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import CHARGED, FREE, LOST, NOW, UNANSWERED, entry, rules
from dataset.world import rows, spool_of
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.survey import Next, Survey, fails_already, survey, turn, verdict

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.plan import Rules

PARTS = rows(5)
ACCEPTED: dict[str, Any] = {"status": Status.ACCEPTED, "charged": "unknown", "task_ids": ("task_1",)}


def known(changes: dict[int, dict[str, Any]], *more: Entry) -> Ledger:
    """Return a ledger that knows some of the rows."""
    ledger = Ledger()
    for place, each in changes.items():
        row = PARTS[place].row
        ledger.add([entry(row=row.number, id=row.id, fingerprint=row.fingerprint, **each)])
    ledger.add(more)
    return ledger


def looked(ledger: Ledger, rule: Rules | None = None, *, now: float = NOW, belongs: bool = True) -> Survey:
    return survey(spool_of(PARTS), ledger, rule or rules(), now=now, belongs=lambda _: belongs)


def test_each_row_is_counted_once_by_what_it_needs() -> None:
    ledger = known({0: {}, 1: CHARGED, 2: ACCEPTED, 3: {**UNANSWERED, "run_id": "sunday"}})

    found = looked(ledger)

    assert (found.total, found.done, found.failed, found.in_flight, found.waiting, found.left) == (5, 1, 1, 1, 1, 1)
    assert found.buy == [PARTS[4]]
    assert found.ask == [ledger.unsettled[PARTS[2].key]]
    assert found.look_again_at == NOW + 30
    ((given_up, reason),) = found.given_up
    assert given_up == PARTS[1]
    assert "was charged" in reason


def test_rows_are_bought_in_the_order_of_the_dataset_and_no_more_are_held_than_may_be_in_flight() -> None:
    found = looked(Ledger(), rules(max_in_flight=2))

    assert found.buy == PARTS[:2]
    assert found.left == 5


def test_no_more_reasons_are_held_than_somebody_reads() -> None:
    ledger, parts = Ledger(), rows(60)
    ledger.add(entry(id=part.row.id, fingerprint=part.row.fingerprint, **CHARGED) for part in parts)

    found = survey(spool_of(parts), ledger, rules(), now=NOW, belongs=lambda _: True)

    assert found.failed == 60
    assert len(found.given_up) == 50


def test_a_call_without_an_answer_goes_out_again_with_its_old_entry() -> None:
    ledger = known({1: UNANSWERED, 2: LOST})

    found = looked(ledger, rules(on_unknown_submit="resubmit"))

    assert found.resubmit == [(part, ledger.unsettled[part.key]) for part in PARTS[1:3]]
    assert found.in_flight == 2


def test_a_call_without_an_answer_that_is_given_up_is_to_be_noted_as_unknown_once() -> None:
    ledger = known({1: UNANSWERED, 2: LOST})

    found = looked(ledger)

    assert found.lost == [ledger.unsettled[PARTS[1].key]]
    assert found.failed == 2


@pytest.mark.parametrize(
    ("changes", "age", "belongs", "is_asked_after"),
    [
        pytest.param({}, 0, True, True, id="bought by this run"),
        pytest.param({}, 0, False, False, id="of another shard"),
        pytest.param({"run_id": "sunday"}, 0, True, False, id="bought by another run just now"),
        pytest.param({"run_id": "sunday"}, 3600, True, True, id="left by another run"),
        pytest.param({"run_id": "sunday"}, 3600, False, False, id="left by another run in another shard"),
    ],
)
def test_what_is_paid_for_is_collected_although_the_dataset_has_no_such_row_any_more(
    changes: dict[str, Any], age: float, belongs: bool, is_asked_after: bool
) -> None:
    gone = entry(id="gone", **{**ACCEPTED, **changes})

    found = looked(known({}, gone), now=NOW + age, belongs=belongs)

    assert found.ask == ([gone] if is_asked_after else [])
    assert found.total == 5


def test_a_call_without_an_answer_of_a_row_that_is_gone_cannot_be_sent_again_and_is_lost() -> None:
    gone, noted = entry(id="gone", **UNANSWERED), entry(id="noted", **LOST)

    found = looked(known({}, gone, noted), rules(on_unknown_submit="resubmit"))

    assert (found.ask, found.resubmit, found.lost) == ([], [], [gone])


@pytest.mark.parametrize(
    ("found", "objection", "expected"),
    [
        pytest.param({"done": 5}, None, Next.FINISH, id="all is done"),
        pytest.param({"done": 3, "left": 2}, "no money", Next.OVER_BUDGET, id="two are left, and no money"),
        pytest.param({"done": 2, "left": 2, "failed": 1}, "no money", Next.FAIL, id="no money, and one has failed"),
        pytest.param({"left": 4, "ask": [entry()]}, "no money", Next.DEFER, id="no money, and one in flight"),
        pytest.param({"left": 3, "ask": [entry()] * 2}, None, Next.DEFER, id="as many in flight as may be"),
        pytest.param({"done": 4, "waiting": 1}, None, Next.DEFER, id="another run is buying"),
        pytest.param({"done": 4, "failed": 1}, None, Next.FAIL, id="one has failed"),
    ],
)
def test_a_task_goes_on_while_there_is_something_to_wait_for(
    found: dict[str, Any], objection: str | None, expected: Next
) -> None:
    assert verdict(Survey(total=5, **found), rules(max_in_flight=2), objection=objection).next is expected


@pytest.mark.parametrize(
    ("found", "ended", "is_first", "expected"),
    [
        pytest.param({}, 0, True, (False, 0, False), id="nothing to do"),
        pytest.param({"left": 500}, 0, True, (False, 100, False), id="no more than may be in flight"),
        pytest.param({"left": 5}, 0, False, (False, 5, False), id="all that is left"),
        pytest.param({"left": 500, "in_flight": 90}, 0, True, (False, 10, False), id="few, by a new worker"),
        pytest.param({"left": 500, "in_flight": 90}, 0, False, (False, 0, False), id="few are no reason to stay"),
        pytest.param({"left": 500, "in_flight": 75}, 0, False, (False, 25, False), id="a quarter is"),
        pytest.param({"left": 500, "in_flight": 110}, 0, True, (False, 0, False), id="more in flight than may be"),
        pytest.param({"left": 500, "in_flight": 100}, 40, False, (False, 40, True), id="room of those that have ended"),
        pytest.param({"in_flight": 100}, 3, True, (False, 0, True), id="few have ended for a new worker"),
        pytest.param({"in_flight": 100}, 3, False, (False, 0, False), id="few are no reason to stay for either"),
        pytest.param({"in_flight": 3}, 1, False, (False, 0, True), id="one of the last few"),
        pytest.param({"resubmits": 1}, 0, False, (True, 0, False), id="one to be sent again"),
    ],
)
def test_a_worker_stays_while_there_is_much_to_do(
    found: dict[str, int], ended: int, is_first: bool, expected: tuple[bool, int, bool]
) -> None:
    survey_of_rows = Survey(
        left=found.get("left", 0),
        ask=[entry()] * found.get("in_flight", 0),
        resubmit=[(PARTS[0], entry())] * found.get("resubmits", 0),
    )
    rule = rules(max_in_flight=100)

    assert turn(survey_of_rows, rule, ended=ended, may_buy=True, is_first=is_first) == expected
    resubmit, _, copy = expected
    assert turn(survey_of_rows, rule, ended=ended, may_buy=False, is_first=is_first) == (resubmit, 0, copy)


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 1), st.integers(1, 500), st.booleans())
def test_a_worker_never_leaves_rows_that_nobody_would_come_back_for(
    left: int, in_flight: int, share: float, max_in_flight: int, is_first: bool
) -> None:
    ended = int(in_flight * share)
    found = Survey(left=left, ask=[entry()] * in_flight)

    todo = turn(found, rules(max_in_flight=max_in_flight), ended=ended, may_buy=True, is_first=is_first)

    assert todo.buy <= min(left, max(0, max_in_flight - in_flight + ended))
    if todo == (False, 0, False):
        assert in_flight or not left


def test_a_task_that_stops_for_money_says_so() -> None:
    found = Survey(total=5, done=3, left=2)

    assert verdict(found, rules(), objection="0 USD are left.").reason == "2 of 5 rows were not bought. 0 USD are left."
    found.failed = 1
    allowing = rules(max_failed=1)
    assert verdict(found, allowing, objection="0 USD are left.").next is Next.OVER_BUDGET
    failing = verdict(found, rules(), objection="0 USD are left.")
    assert failing.reason == "1 of 5 rows gave no picture. 2 of the others were not bought. 0 USD are left."


@pytest.mark.parametrize(
    ("max_failed", "failed", "expected"),
    [
        (None, 1, Next.FAIL),
        (0, 1, Next.FAIL),
        (1, 1, Next.FINISH),
        (1, 2, Next.FAIL),
        (0.0, 1, Next.FAIL),
        (0.1, 1, Next.FINISH),
        (0.1, 2, Next.FAIL),
        (1.0, 10, Next.FINISH),
    ],
)
def test_a_number_or_a_share_of_the_rows_may_fail(max_failed: float | None, failed: int, expected: Next) -> None:
    found = Survey(total=10, done=10 - failed, failed=failed)

    assert verdict(found, rules(max_failed=max_failed), objection=None).next is expected


def test_nothing_more_is_bought_once_the_task_fails_anyway_but_what_is_in_flight_is_collected() -> None:
    rule = rules(max_failed=1)

    assert not fails_already(Survey(total=9, failed=1), rule)
    assert fails_already(Survey(total=9, failed=2), rule)
    assert verdict(Survey(total=9, failed=2, left=6, ask=[entry()]), rule, objection=None).next is Next.DEFER
    ended = verdict(Survey(total=9, failed=2, left=7), rule, objection=None)
    assert ended.next is Next.FAIL
    assert ended.reason == "2 of 9 rows gave no picture. 7 of the others were not bought."


def test_an_empty_dataset_is_finished() -> None:
    found = survey(spool_of([]), Ledger(), rules(), now=NOW, belongs=lambda _: True)

    assert found == Survey(look_again_at=math.inf)
    assert verdict(found, rules(), objection=None).next is Next.FINISH


def test_a_failure_that_is_worth_another_try_is_bought_again() -> None:
    assert looked(known({0: FREE})).buy == PARTS
