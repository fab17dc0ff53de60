"""The page about money: what was spent, when, and on what."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.balance import may_ask
from airflow_provider_apimart.plugins.web.overview import needed_since, overview
from airflow_provider_apimart.plugins.web.periods import last_days, read_period
from airflow_provider_apimart.plugins.web.purchase_events import MOST_EVENTS, find_purchases
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.spending import By
from airflow_provider_apimart.plugins.web.unaccounted import find_unaccounted

__all__ = ["Filters", "current_day", "readable_dags", "router", "show_spend"]

router = APIRouter()

#: Connections that are offered to be asked after: Airflow is asked for the right to each.
_MOST_BALANCES: Final = 10
#: Days of the links beside the form.
_PRESETS: Final = (7, 30, 90, 365)


class Filters(BaseModel):
    """
    What the form of the page asks for. An empty field is none.

    :param since: the first day.
    :param until: the last day.
    :param dag_id: the only DAG that counts.
    :param by: what the bars of the chart are made up of.
    """

    since: str = ""
    until: str = ""
    dag_id: str = ""
    by: By = By.MODEL


def readable_dags(user: GetUserDep) -> frozenset[str]:
    """Return the ids of the DAGs that the caller may read."""
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user))


def current_day() -> date:
    """Return the day that it is, in UTC."""
    return datetime.now(UTC).date()


@router.get("/spend")
async def show_spend(
    request: Request,
    user: GetUserDep,
    readable: Annotated[frozenset[str], Depends(readable_dags)],
    filters: Annotated[Filters, Query()],
    today: Annotated[date, Depends(current_day)],
) -> HTMLResponse:
    """Show what was spent, as far as the caller may read the DAGs that have spent it."""
    period = read_period(filters.since, filters.until, today)
    dag_id = filters.dag_id.strip() or None
    since = needed_since(period, today)
    async with AirflowApi(request) as api:
        reading, unaccounted = await asyncio.gather(
            find_purchases(api, since=since, dag_id=dag_id, user=user.get_id(), readable=readable),
            find_unaccounted(api, period, dag_id),
        )
        figures = overview(reading, period, today=today, by=filters.by)
        connections = [share.name for share in figures.tables[By.CONNECTION][:_MOST_BALANCES] if share.name]
        with_balance = [name for name in connections if await may_ask(api, name)]
    return render(
        request,
        "spend.html",
        figures=figures,
        reading=reading,
        most_events=MOST_EVENTS,
        unaccounted=unaccounted,
        with_balance=with_balance,
        period=period,
        presets={days: last_days(days, today) for days in _PRESETS},
        dag_id=dag_id,
        by=filters.by,
    )
