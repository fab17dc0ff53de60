"""Which of many lines about one purchase counts: the same whatever the order, the crash or the clock."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from types import FunctionType, ModuleType

import pytest
from dataset.entries import NOW, entries, entry
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.entry import UNSETTLED, Entry, Failure, Status
from airflow_provider_apimart.dataset.ledger import Ledger, rank_of
from airflow_provider_apimart.dataset.line import read_line, to_line


def ledger_of(*lines: Entry) -> Ledger:
    ledger = Ledger()
    ledger.add(lines)
    return ledger


@given(st.lists(entries, max_size=12).flatmap(lambda them: st.tuples(st.just(them), st.permutations(them))))
def test_the_order_of_the_lines_does_not_matter(both: tuple[list[Entry], list[Entry]]) -> None:
    one, other = both

    assert ledger_of(*one) == ledger_of(*other)


@given(st.lists(entries, max_size=8), st.lists(entries, max_size=8))
def test_reading_lines_again_changes_nothing(one: list[Entry], other: list[Entry]) -> None:
    assert ledger_of(*one, *other, *one, *one) == ledger_of(*one, *other)


@given(st.lists(entries, min_size=1, max_size=12))
def test_the_newest_lines_alone_say_the_same_as_all(them: list[Entry]) -> None:
    ledger = ledger_of(*them)
    newest = [one for one in them if ledger.is_newest(one)]

    assert ledger_of(*newest) == ledger
    assert len({one.key for one in newest}) == len(ledger)


@given(entries, entries)
def test_no_two_different_lines_of_a_purchase_are_equally_new(one: Entry, other: Entry) -> None:
    other = replace(other, id=one.id, part=one.part)

    assert (rank_of(one) == rank_of(other)) == (one == other)


@given(entries)
def test_a_line_that_was_read_back_is_as_new_as_the_one_that_was_written(one: Entry) -> None:
    assert rank_of(read_line(to_line(one))) == rank_of(one)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param({"status": Status.INTENDED}, {"status": Status.ACCEPTED}, id="accepted after the intent"),
        pytest.param({"status": Status.ACCEPTED}, {"status": Status.COPIED}, id="copied after it was accepted"),
        pytest.param({"status": Status.UNKNOWN}, {"status": Status.ACCEPTED}, id="an answer that came after all"),
        pytest.param({"status": Status.REFUSED}, {"status": Status.UNKNOWN}, id="a doubt that a refusal does not end"),
        pytest.param({"status": Status.FAILED}, {"status": Status.COPIED}, id="a picture that was had after all"),
    ],
)
def test_a_worker_that_lags_behind_takes_nothing_back(older: dict[str, object], newer: dict[str, object]) -> None:
    late, early = entry(**older, updated_at=NOW + 60), entry(**newer)

    ledger = ledger_of(early, late)

    state = ledger.find(early.key)
    assert state is not None
    assert state.status is newer["status"]
    assert not ledger.is_newest(late)


def test_what_was_accepted_under_a_key_counts_for_more_than_a_later_call_with_it() -> None:
    again = entry(status=Status.INTENDED, refusals=1, updated_at=NOW + 60)

    ledger = ledger_of(entry(status=Status.ACCEPTED), entry(status=Status.REFUSED), again)

    (state,) = ledger.states()
    assert state.status is Status.ACCEPTED


def test_a_call_after_a_refusal_outdoes_it() -> None:
    ledger = ledger_of(entry(status=Status.REFUSED, updated_at=NOW + 60), entry(status=Status.INTENDED, refusals=1))

    (state,) = ledger.states()
    assert (state.status, state.refusals) == (Status.INTENDED, 1)


@pytest.mark.parametrize("number", ["generation", "attempt"])
def test_a_later_call_outdoes_whatever_became_of_an_earlier_one(number: str) -> None:
    ledger = ledger_of(entry(status=Status.COPIED, updated_at=NOW + 60), entry(status=Status.INTENDED, **{number: 1}))

    (state,) = ledger.states()
    assert state.status is Status.INTENDED
    assert getattr(state, number) == 1


def test_of_two_lines_that_say_the_same_the_later_counts() -> None:
    ledger = ledger_of(entry(cost=0.5, updated_at=NOW + 1), entry(cost=0.25))

    (state,) = ledger.states()
    assert (state.cost, state.updated_at) == (0.5, NOW + 1)


def test_rows_and_their_parts_are_told_apart() -> None:
    ledger = ledger_of(entry(), entry(id="sku-2"), entry(part=1), entry(fingerprint="1" * 32))

    assert len(ledger) == 4
    assert ledger.find(entry(part=2).key) is None


@given(st.lists(entries, max_size=12))
def test_whole_entries_are_kept_of_what_is_not_settled_only(them: list[Entry]) -> None:
    ledger = ledger_of(*them)

    for key, one in ledger.unsettled.items():
        assert one.key == key
        assert one.status in UNSETTLED
        assert ledger.is_newest(one)
    assert len(ledger.unsettled) == sum(state.status in UNSETTLED for state in ledger.states())


def test_what_a_failure_says_about_another_try_is_kept() -> None:
    ledger = ledger_of(
        entry(status=Status.FAILED, error=Failure(None, "no capacity", retryable=True)),
        entry(id="sku-2", status=Status.FAILED, error=Failure(None, "not allowed", retryable=False)),
    )

    assert [state.retryable for state in ledger.states()] == [True, False]


def test_the_most_that_each_kind_has_cost_is_known() -> None:
    ledger = ledger_of(
        entry(id="1", cost=0.5),
        entry(id="2", cost=0.75),
        entry(id="3", cost=None),
        entry(id="4", size="16:9", cost=0.0),
        entry(id="5", resolution="2k", cost=0.0, charged="no", status=Status.FAILED),
    )

    assert ledger.dearest() == {
        ("gpt-image-2", None, None, None, 1): 0.75,
        ("gpt-image-2", "16:9", None, None, 1): 0.0,
    }


def test_memory_does_not_grow_with_the_texts() -> None:
    def held(length: int) -> int:
        ledger = Ledger()
        ledger.add(
            read_line(to_line(entry(id=f"sku-{number}", prompt=f"{number} " * length, task_ids=("task",) * length)))
            for number in range(500)
        )
        assert len(ledger) == 500
        return size_of(ledger) // 500

    assert held(100) == held(1) < 1000


def size_of(root: object) -> int:
    """Return the bytes of an object and of all that it refers to, but for code. What others hold is not in it."""
    seen: set[int] = set()
    found, size = [root], 0
    while found:
        held = found.pop()
        if id(held) not in seen and not isinstance(held, type | ModuleType | FunctionType):
            seen.add(id(held))
            size += sys.getsizeof(held)
            found += gc.get_referents(held)
    return size
