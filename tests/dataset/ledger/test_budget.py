"""Money: what may still be spent, whatever is known of prices, costs and outcomes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from dataset.ledger.ledger_entries import RUN, accepted, copied, entry, failed
from dataset.ledger.model_store import NOW
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.index import Index
from airflow_provider_apimart.dataset.ledger.money import Budget, expected_cost

dollars = st.decimals(0, 10, places=6).map(float)


def budget_of(*entries: Entry, max_cost: float | None = 10.0, now: float = NOW) -> Budget:
    index = Index()
    for each in entries:
        index.apply(each)
    return Budget.of(index, run_id=RUN, max_cost=max_cost, now=now)


def bought(*costs: float | None, start: int = 0) -> list[Entry]:
    return [copied(entry(start + place), cost=cost) for place, cost in enumerate(costs)]


def in_flight(*reserved: float | None, start: int = 100) -> list[Entry]:
    return [entry(start + place, reserved=amount) for place, amount in enumerate(reserved)]


@pytest.mark.parametrize(
    ("listed", "recent", "expected"),
    [
        (None, [], None),
        (0.5, [], 0.5),
        (None, [0.25], 0.25),
        (0.5, [0.25, 0.25], 0.5),
        (0.5, [0.75], 0.75),
        # A stale price list: three calls say what the price is now.
        (0.5, [0.05, 0.05, 0.06], 0.06),
        (0.5, [1.5, 1.5, 1.5], 1.5),
        (None, [0.0, 0.0, 0.0], 0.0),
    ],
)
def test_recent_costs_outweigh_the_price_list(
    listed: float | None, recent: list[float], expected: float | None
) -> None:
    assert expected_cost(listed, recent) == expected


@given(st.lists(dollars, max_size=30), st.lists(dollars, max_size=30), dollars, st.sampled_from([1, 3]))
def test_a_price_that_is_wrong_by_a_factor_of_three_overspends_by_three_calls_at_most(
    settled: list[float], wanted: list[float], max_cost: float, factor: int
) -> None:
    budget = budget_of(*bought(*settled), max_cost=max_cost)
    already = budget.spent
    held: list[float] = []

    for expected in wanted:
        if budget.objection(expected) is None:
            budget.reserve(expected)
            held.append(expected)

    spent = already + sum((Decimal(str(factor * amount)) for amount in held), Decimal(0))
    slack = sum((Decimal(str(amount)) for amount in sorted(held)[-4:]), Decimal(0)) * factor
    limit = max(already, Decimal(str(max_cost)))
    if factor == 1:
        assert spent <= limit
    else:
        # Twice what is in flight fits, so three times exceeds by half of it, within the limit.
        assert spent <= limit + slack + limit / 2


@pytest.mark.parametrize(("settled", "allowed"), [(0, 8), (1, 10), (10, 28)])
def test_the_wave_grows_as_costs_settle(settled: int, allowed: int) -> None:
    budget = budget_of(*bought(*[0.001] * settled))

    for _ in range(allowed):
        assert budget.objection(0.001) is None
        budget.reserve(0.001)

    objection = budget.objection(0.001)
    assert objection is not None
    assert not objection.is_final
    assert f"{allowed} calls are in flight and the cost of {settled} is settled" in objection.reason


def test_twice_what_is_in_flight_must_fit_except_for_the_last_few() -> None:
    budget = budget_of(*bought(*[0.5] * 10), *in_flight(0.5, 0.5, 0.5))
    # 5 spent, 1.5 held: the fourth still may have what is left.
    assert budget.objection(0.5) is None
    budget.reserve(0.5)
    assert budget.objection(0.5) is None  # 5 + 2 x 2.5 = 10
    budget.reserve(0.5)

    objection = budget.objection(0.5)

    assert objection is not None
    assert "when the cost of those in flight is settled" in objection.reason
    assert not objection.is_final


@pytest.mark.parametrize(
    ("entries", "spent", "reserved", "unknown"),
    [
        pytest.param(bought(0.5), "0.5", "0", "0", id="copied"),
        pytest.param([copied(entry(1, reserved=2.0), cost=None)], "2.0", "0", "0", id="copied at an unknown cost"),
        pytest.param([accepted(entry(1))], "0", "0.5", "0", id="accepted"),
        pytest.param([entry(1)], "0", "0.5", "0", id="intended"),
        pytest.param([entry(1, answer_by=NOW - 1)], "0", "0", "0.5", id="intended by a worker that died"),
        pytest.param([replace(entry(1), status=EntryStatus.UNANSWERED)], "0", "0", "0.5", id="unanswered"),
        pytest.param([failed(entry(1))], "0", "0", "0", id="failed at no cost"),
        pytest.param([failed(entry(1), charged="unknown", cost=None, reserved=2.0)], "0", "0", "2.0", id="perhaps"),
        pytest.param([entry(1, run_id="dag/other")], "0", "0", "0", id="another run"),
        pytest.param([*bought(0.5), copied(entry(0, generation=1), cost=0.5)], "1.0", "0", "0", id="two generations"),
        pytest.param([*bought(0.5), entry(0, generation=1)], "0.5", "0.5", "0", id="bought again"),
    ],
)
def test_each_call_counts_as_what_is_known_of_it(entries: list[Entry], spent: str, reserved: str, unknown: str) -> None:
    budget = budget_of(*entries)

    assert [str(it) for it in (budget.spent, budget.reserved, budget.unknown)] == [spent, reserved, unknown]


@pytest.mark.parametrize(
    ("entries", "expected", "reason", "is_final"),
    [
        (bought(9.9), 0.2, "The next call takes about 0.2 USD, and 0.1 USD are left.", True),
        (bought(11.0), 0.0, "and 0 USD are left", True),
        ([*bought(9.0), *in_flight(0.9)], 0.2, "0.9 USD reserved for calls in flight", False),
        (in_flight(None), 0.01, "1 call(s) are in flight whose price is not known yet", False),
        ([copied(entry(1, reserved=6.0), cost=None)], None, "has not reported the cost of 1 finished call(s)", True),
        ([replace(entry(1, reserved=9.5), status=EntryStatus.UNANSWERED)], 1.0, "calls of unknown outcome", True),
        (in_flight(10.0), None, "The next call takes an unknown amount, and 0 USD are left", False),
    ],
)
def test_an_objection_says_why_and_whether_it_may_pass(
    entries: list[Entry], expected: float | None, reason: str, is_final: bool
) -> None:
    objection = budget_of(*entries).objection(expected)

    assert objection is not None
    assert reason in objection.reason
    assert objection.is_final is is_final


def test_a_call_without_a_price_takes_all_that_is_left() -> None:
    budget = budget_of(*bought(4.0))

    assert budget.objection(None) is None
    assert budget.reserve(None) == 6.0
    assert budget.left == 0


def test_without_a_limit_everything_may_be_bought_and_is_counted_all_the_same() -> None:
    budget = budget_of(*bought(3.0), *in_flight(*[0.1] * 20), max_cost=None)

    assert budget.objection(1e6) is budget.objection(None) is budget.left is None
    assert budget.reserve(None) is None
    assert str(budget) == "3 USD spent, 2 USD reserved for calls in flight"


@given(st.lists(dollars, max_size=50))
def test_sums_are_exact(amounts: list[Any]) -> None:
    assert budget_of(*bought(*amounts)).spent == sum((Decimal(str(amount)) for amount in amounts), Decimal(0))
