"""How many submits may be under way at the same time, found out from what becomes of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.throttle import ConcurrencyLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What became of a submit, and how many changes ago it was sent.
histories = st.lists(st.tuples(st.sampled_from(["accepted", "refused"]), st.integers(0, 40)), max_size=200)


def limit(maximum: int = 16, current: int | None = None) -> ConcurrencyLimit:
    return ConcurrencyLimit(maximum=maximum, current=maximum if current is None else current)


def accept(limit: ConcurrencyLimit, times: int = 1) -> ConcurrencyLimit:
    """Send so many one after the other, all of which are accepted."""
    for _ in range(times):
        limit = limit.after_acceptance(limit)
    return limit


def lived(maximum: int, history: Sequence[tuple[str, int]]) -> list[ConcurrencyLimit]:
    """Every limit that there was."""
    limits = [limit(maximum)]
    for outcome, age in history:
        sent_under = limits[max(0, len(limits) - 1 - age)]
        now = limits[-1]
        limits.append(now.after_refusal(sent_under) if outcome == "refused" else now.after_acceptance(sent_under))
    return limits


@pytest.mark.parametrize(("current", "halved"), [(16, 8), (15, 7), (3, 1), (2, 1), (1, 1)])
def test_a_refusal_halves_it_down_to_one(current: int, halved: int) -> None:
    before = limit(current=current)

    assert before.after_refusal(before).current == halved


def test_refusals_of_what_was_sent_together_halve_it_once() -> None:
    before = after = limit()

    for _ in range(16):
        after = after.after_refusal(before)

    assert after.current == 8


def test_a_refusal_of_what_was_sent_after_that_halves_it_again() -> None:
    once = limit().after_refusal(limit())

    assert once.after_refusal(once).current == 4


@pytest.mark.parametrize("current", [1, 2, 7, 15])
def test_it_grows_by_one_after_as_many_accepted_submits_as_there_may_be_at_once(current: int) -> None:
    before = limit(current=current)

    assert accept(before, current - 1).current == current
    assert accept(before, current).current == current + 1
    assert accept(before, current + (current + 1)).current == min(16, current + 2)


def test_a_refusal_starts_the_count_anew() -> None:
    almost = accept(limit(current=8), 7)
    halved = almost.after_refusal(almost)

    assert accept(halved, 3).current == 4
    assert accept(halved, 4).current == 5


def test_what_was_sent_before_the_refusal_does_not_raise_it_again() -> None:
    before = limit()
    after = before.after_refusal(before)

    for _ in range(15):
        after = after.after_acceptance(before)

    assert after.current == 8


@given(maximum=st.integers(1, 64), history=histories)
def test_it_stays_between_one_and_what_the_connection_allows(maximum: int, history: list[tuple[str, int]]) -> None:
    assert all(1 <= limit.current <= maximum == limit.maximum for limit in lived(maximum, history))


@given(maximum=st.integers(1, 64), history=histories)
def test_one_outcome_never_raises_it_by_more_than_one(maximum: int, history: list[tuple[str, int]]) -> None:
    limits = lived(maximum, history)

    assert all(after.current <= before.current + 1 for before, after in pairwise(limits))


@given(maximum=st.integers(1, 64), history=histories)
def test_it_recovers_whatever_happened(maximum: int, history: list[tuple[str, int]]) -> None:
    now = lived(maximum, history)[-1]

    recovered = accept(now, sum(range(now.current, maximum)))

    assert recovered.current == maximum
    assert accept(recovered, 3).current == maximum
