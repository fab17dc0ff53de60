from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from fastapi import Request
from plugins.tables import read_tables

from airflow_provider_apimart.plugins.web.overview import Overview, needed_since, overview
from airflow_provider_apimart.plugins.web.periods import Period, last_days
from airflow_provider_apimart.plugins.web.purchase_events import Reading
from airflow_provider_apimart.plugins.web.purchases import Charge, Purchase
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.scope import Scope
from airflow_provider_apimart.plugins.web.spending import By
from airflow_provider_apimart.plugins.web.unaccounted import Unaccounted

TODAY = date(2026, 11, 22)
PERIOD = last_days(90, TODAY)
SOURCE = Scope("posters", "run", "buy", -1)


def reading(*ages: int, complete_since: datetime | None = None) -> Reading:
    """Return purchases for a dollar each, so many days ago."""
    purchases = [
        Purchase(
            SOURCE,
            f"purchase-{age}",
            0.0,
            (Charge(SOURCE, "apimart_default", "gpt-image-2", TODAY - timedelta(age), 1, Decimal(1), 0),),
        )
        for age in ages
    ]
    return Reading(PERIOD.begins_at, PERIOD.ends_at, purchases, frozenset(), complete_since)


def figures(*ages: int, complete_since: datetime | None = None, period: Period = PERIOD) -> Overview:
    return overview(reading(*ages, complete_since=complete_since), period, today=TODAY, by=By.MODEL)


def test_each_sum_has_the_days_that_it_names() -> None:
    sums = figures(0, 0, 6, 7, 29, 30, 89, 90).sums
    assert [(it.name, it.spent.cost) for it in sums] == [
        ("Today", 2),
        ("7 days", 3),
        ("30 days", 5),
        ("Chosen days", 7),
    ]


def test_the_sums_up_to_today_do_not_depend_on_the_days_that_were_chosen() -> None:
    chosen = figures(0, 6, 29, 40, period=Period(TODAY - timedelta(50), TODAY - timedelta(35)))
    assert [it.spent.cost for it in chosen.sums] == [1, 2, 3, 1]
    assert [run.run_id for run, _ in chosen.runs] == ["run"]
    assert chosen.tables[By.DAG][0].spent.cost == 1


@pytest.mark.parametrize(("days", "expected"), [(1, 30), (30, 30), (31, 31), (90, 90)])
def test_purchases_are_needed_for_a_month_at_least(days: int, expected: int) -> None:
    assert needed_since(last_days(days, TODAY), TODAY) == last_days(expected, TODAY).begins_at


def test_only_sums_that_reach_back_beyond_what_was_read_are_partial() -> None:
    complete_since = datetime(2026, 11, 10, 13, tzinfo=UTC)
    assert [it.is_partial for it in figures(0, complete_since=complete_since).sums] == [False, False, True, True]
    assert not any(it.is_partial for it in figures(0).sums)


def test_the_page_says_which_figures_are_not_complete_and_since_when_they_are() -> None:
    complete_since = datetime(2026, 11, 10, 13, 30, tzinfo=UTC)
    page = render(
        Request({"type": "http", "headers": []}),
        "spend.html",
        figures=figures(0, 20, complete_since=complete_since),
        reading=reading(0, 20, complete_since=complete_since),
        most_events=10_000,
        unaccounted=Unaccounted([], 0),
        with_balance=[],
        period=PERIOD,
        presets={},
        dag_id=None,
        by=By.MODEL,
    ).body
    html = bytes(page).decode()
    assert "Only the newest 10,000 events of purchases were read." in html
    assert "complete from 2026-11-10 13:30 UTC on" in html
    costs = [row[1] for row in read_tables(html)["totals"][1:]]
    assert costs == ["$1.00", "$1.00", "at least $2.00", "at least $2.00"]
