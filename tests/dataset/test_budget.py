"""Money: what may still be spent, whatever is known of prices, costs and outcomes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from dataset.entries import entry
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.budget import Budget, expected_cost
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.ledger import Ledger

dollars = st.decimals(0, 10, places=6).map(float)
settled = st.one_of(
    st.builds(dict, cost=dollars),
    st.builds(dict, cost=st.none(), reserved=st.none() | dollars),
    st.builds(dict, status=st.just(Status.FAILED), charged=st.just("no"), cost=st.just(0.0)),
    st.builds(dict, status=st.just(Status.UNKNOWN), charged=st.just("unknown"), reserved=st.none() | dollars),
    st.builds(dict, status=st.just(Status.ACCEPTED), charged=st.just("unknown"), reserved=st.none() | dollars),
)


def budget_of(*changes: dict[str, object], max_cost: float | None = 10.0) -> Budget:
    ledger = Ledger()
    ledger.add(entry(id=f"sku-{number}", **each) for number, each in enumerate(changes))
    return Budget.of(ledger.states(), max_cost=max_cost)


@given(st.lists(settled, max_size=5), st.lists(st.none() | dollars, max_size=20), dollars)
def test_what_is_spent_and_held_never_exceeds_the_limit_by_a_purchase(
    before: list[dict[str, object]], wanted: list[float | None], max_cost: float
) -> None:
    budget = budget_of(*before, max_cost=max_cost)
    already = budget.spent + budget.reserved + budget.unknown

    for expected in wanted:
        if budget.objection(expected) is None:
            budget.reserve(expected)

    assert budget.spent + budget.reserved + budget.unknown <= max(already, Decimal(str(max_cost)))


@given(st.lists(dollars, max_size=50))
def test_sums_are_exact(amounts: list[float]) -> None:
    budget = budget_of(*({"cost": amount} for amount in amounts))

    assert budget.spent == sum((Decimal(str(amount)) for amount in amounts), Decimal(0))


@pytest.mark.parametrize(
    ("changes", "spent", "reserved", "unknown"),
    [
        pytest.param({"cost": 0.5, "reserved": 2.0}, "0.5", "0", "0", id="copied"),
        pytest.param({"cost": None, "reserved": 2.0}, "2", "0", "0", id="copied at a cost that is not named"),
        pytest.param({"status": Status.ACCEPTED, "reserved": 2.0}, "0", "2", "0", id="in flight"),
        pytest.param({"status": Status.INTENDED, "reserved": 2.0}, "0", "2", "0", id="about to be in flight"),
        pytest.param(
            {"status": Status.UNKNOWN, "charged": "unknown", "reserved": 2.0}, "0", "0", "2", id="of unknown outcome"
        ),
        pytest.param(
            {"status": Status.FAILED, "charged": "unknown", "reserved": 2.0}, "0", "0", "2", id="perhaps charged"
        ),
        pytest.param({"status": Status.FAILED, "charged": "yes", "cost": 1.0}, "1", "0", "0", id="charged for nothing"),
        pytest.param({"status": Status.FAILED, "charged": "no", "cost": 0.0}, "0", "0", "0", id="not charged"),
        pytest.param({"status": Status.REFUSED, "charged": "no", "cost": 0.0}, "0", "0", "0", id="refused"),
    ],
)
def test_each_purchase_counts_as_what_is_known_of_it(
    changes: dict[str, object], spent: str, reserved: str, unknown: str
) -> None:
    budget = budget_of(changes)

    assert (budget.spent, budget.reserved, budget.unknown) == (Decimal(spent), Decimal(reserved), Decimal(unknown))
    assert budget.left == 10 - Decimal(spent) - Decimal(reserved) - Decimal(unknown)


def test_the_last_cent_may_be_spent_and_no_more() -> None:
    budget = budget_of(*({"cost": 0.1} for _ in range(97)), max_cost=10)

    for _ in range(3):
        assert budget.objection(0.1) is None
        assert budget.reserve(0.1) == 0.1

    assert budget.objection(0.1) == (
        "The next purchase takes about 0.1 USD, and 0 USD are left. "
        "9.7 USD spent of 10 USD, 0.3 USD held for what is in flight."
    )


def test_a_limit_that_is_overdrawn_leaves_nothing() -> None:
    budget = budget_of({"cost": 11.0})

    assert budget.left == 0
    assert budget.objection(0.0) is not None


def test_without_a_limit_everything_may_be_bought_and_is_counted_all_the_same() -> None:
    budget = budget_of({"cost": 3.0}, max_cost=None)

    assert budget.objection(1e6) is budget.objection(None) is None
    assert budget.left is None
    assert budget.reserve(2.0) == 2.0
    assert budget.reserve(None) is None
    assert (budget.reserved, budget.unpriced) == (2, 1)
    assert str(budget) == "3 USD spent, 2 USD held for what is in flight"


def test_of_what_nobody_knows_the_price_one_goes_out_at_a_time() -> None:
    budget = budget_of({"cost": 4.0})

    assert budget.objection(None) is None
    assert budget.reserve(None) == 6.0
    assert "takes an amount that nobody knows yet, and 0 USD are left" in str(budget.objection(None))
    assert budget.objection(0.01) is not None


def test_a_gateway_that_names_no_cost_is_found_out_before_a_second_purchase() -> None:
    first = budget_of()
    held = first.reserve(None)

    budget = budget_of({"cost": None, "reserved": held})

    assert "has not named the cost of 1 finished purchase(s): max_cost cannot be kept" in str(budget.objection(None))
    assert budget.objection(0.01) is not None


def test_a_known_price_keeps_the_budget_where_the_gateway_names_no_cost() -> None:
    budget = budget_of({"cost": None, "reserved": 2.0})

    assert budget.objection(8.0) is None
    assert "the cost of 1 purchase(s) not named by the gateway" in str(budget.objection(8.01))


def test_a_limit_that_is_set_later_waits_for_what_is_in_flight_without_a_price() -> None:
    budget = budget_of({"status": Status.ACCEPTED, "charged": "unknown"})

    assert "1 purchase(s) are in flight whose price nobody knows yet" in str(budget.objection(0.01))


def test_what_may_have_been_charged_stays_held_and_is_told() -> None:
    budget = budget_of({"status": Status.UNKNOWN, "charged": "unknown", "reserved": 9.5})

    assert "9.5 USD held for calls whose outcome nobody knows" in str(budget.objection(1.0))


@pytest.mark.parametrize(
    ("listed", "seen", "expected"),
    [(None, None, None), (0.5, None, 0.5), (None, 0.25, 0.25), (0.5, 0.25, 0.5), (0.5, 0.75, 0.75), (None, 0.0, 0.0)],
)
def test_the_dearer_of_two_prices_is_expected(listed: float | None, seen: float | None, expected: float | None) -> None:
    assert expected_cost(listed, seen) == expected
