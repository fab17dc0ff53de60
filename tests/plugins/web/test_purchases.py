from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from plugins.money import TODAY, days_ago, model, reported
from plugins.reports import BOUGHT

from airflow_provider_apimart.plugins.web.purchases import latest, read_purchases


def event(extra: Any, *, number: int = 1, **columns: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": BOUGHT,
        "source_dag_id": "posters",
        "source_run_id": "run",
        "source_task_id": "buy",
        "source_map_index": -1,
        "timestamp": days_ago(0).isoformat(),
        "extra": extra,
        **columns,
    }


def test_money_belongs_to_the_day_on_which_it_was_spent_and_not_to_that_of_the_report() -> None:
    [purchase], _ = read_purchases([event(reported("a", model(0.5), at=days_ago(9)))])
    assert [charge.day for charge in purchase.charges] == [TODAY - timedelta(9)]
    assert purchase.reported_at == pytest.approx(days_ago(0).timestamp(), abs=60)


def test_an_event_has_a_charge_for_each_model() -> None:
    [purchase], _ = read_purchases([event(reported("a", model(0.1, pictures=4), model(0.2, name="other", unknown=2)))])
    assert [(it.model, it.pictures, it.cost, it.unknown) for it in purchase.charges] == [
        ("gpt-image-2", 4, Decimal("0.1"), 0),
        ("other", 1, Decimal("0.2"), 2),
    ]


def test_a_cost_that_is_not_told_at_all_is_unknown_and_not_0() -> None:
    [purchase], _ = read_purchases([event(reported("a", model(None, unknown=0)))])
    assert [(it.cost, it.unknown) for it in purchase.charges] == [(0, 1)]


def test_a_later_report_of_the_same_purchase_replaces_the_earlier_one() -> None:
    reports = [
        event(reported("dataset", model(cost)), timestamp=days_ago(-after / 86400).isoformat())
        for after, cost in ((2, 3.0), (1, 2.0), (0, 1.0))
    ]
    purchases, _ = read_purchases(reports)
    assert [purchase.charges[0].cost for purchase in latest(purchases)] == [3]


@pytest.mark.parametrize("column", ["source_dag_id", "source_run_id", "source_task_id", "source_map_index"])
def test_the_same_name_at_another_task_instance_is_another_purchase(column: str) -> None:
    extra = reported("a", model(1.0))
    other = event(extra, **{column: 7 if column == "source_map_index" else "other"})
    purchases, _ = read_purchases([event(extra), other])
    assert len(latest(purchases)) == 2


def test_events_of_others_are_no_purchases() -> None:
    purchase = reported("a", model(1.0))
    others = [
        event(None),
        event({}),
        event(purchase | {"kind": "images"}),
        event(purchase, name="s3://bucket/pictures"),
        # What somebody writes into the API has no task.
        event(purchase, source_dag_id=None),
    ]
    assert read_purchases(others) == ([], set())


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema_version": 2},
        {"bought_at": "yesterday"},
        {"bought_at": 1e300},
        {"bought_at": float("nan")},
        {"bought_at": -1},
        {"currency": "EUR"},
        {"connection": None},
        {"purchase": 7},
        {"models": None},
        {"models": [{"model": "m", "delivered": -1, "cost": 1, "unknown": 0}]},
        {"models": [{"model": "m", "delivered": 1, "cost": -1, "unknown": 0}]},
        {"models": [{"model": "m", "delivered": 1, "cost": "much", "unknown": 0}]},
        {"models": [{"model": "m", "delivered": 1, "cost": float("inf"), "unknown": 0}]},
        {"models": [{"model": "m", "delivered": 1, "unknown": 0}]},
    ],
)
def test_an_event_that_makes_no_sense_is_named_and_spoils_no_other(wrong: dict[str, Any]) -> None:
    good = reported("a", model(1.0))
    purchases, unreadable = read_purchases([event(good | wrong, number=1), event(good, number=2)])
    assert [purchase.charges[0].cost for purchase in purchases] == [1]
    assert unreadable == {1}
