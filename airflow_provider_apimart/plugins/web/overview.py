"""The figures of the page about money. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.plugins.web.periods import last_days
from airflow_provider_apimart.plugins.web.spending import By, Spent, dearest_runs, over_time, shares, total

if TYPE_CHECKING:
    from datetime import date, datetime

    from airflow_provider_apimart.plugins.web.periods import Period
    from airflow_provider_apimart.plugins.web.purchase_events import Reading
    from airflow_provider_apimart.plugins.web.scope import Scope
    from airflow_provider_apimart.plugins.web.spending import Share, Timeline

__all__ = ["Overview", "Sum", "needed_since", "overview"]

#: Rows of each table.
_MOST_ROWS: Final = 50
_MOST_RUNS: Final = 10
#: Days of the longest sum that is always shown.
_LONGEST: Final = 30


class Sum(NamedTuple):
    """
    What was spent in some days.

    :param is_partial: whether it was more, because not all purchases could be read.
    """

    name: str
    period: Period
    spent: Spent
    is_partial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """
    What the page shows.

    :param sums: of today, 7 and 30 days, and of the days that were chosen.
    :param timeline: of the days that were chosen, and so are all others.
    :param tables: what was spent on what.
    :param runs: the dearest.
    :param dags: ids of all DAGs that have spent something, whenever that was.
    """

    sums: list[Sum]
    timeline: Timeline
    tables: dict[By, list[Share]]
    runs: list[tuple[Scope, Spent]]
    dags: list[str]


def needed_since(period: Period, today: date) -> datetime:
    """Return the moment from which on purchases are needed for a page about a period."""
    return min(period.begins_at, last_days(_LONGEST, today).begins_at)


def overview(reading: Reading, period: Period, *, today: date, by: By) -> Overview:
    """
    Return the figures.

    :param period: the days that were chosen.
    :param by: what the bars of the chart are made up of.
    """
    charges = [charge for purchase in reading.purchases for charge in purchase.charges]
    chosen = [charge for charge in charges if charge.day in period]
    shown = {"Today": last_days(1, today), "7 days": last_days(7, today), "30 days": last_days(_LONGEST, today)}
    since = reading.complete_since
    return Overview(
        sums=[
            Sum(
                name,
                days,
                total(charge for charge in charges if charge.day in days),
                is_partial=since is not None and days.begins_at < since,
            )
            for name, days in {**shown, "Chosen days": period}.items()
        ],
        timeline=over_time(chosen, period, by),
        tables={choice: shares(chosen, choice, most=_MOST_ROWS) for choice in By},
        runs=dearest_runs(chosen, most=_MOST_RUNS),
        dags=sorted({charge.source.dag_id for charge in charges}),
    )
