"""Which tasks are named. What the page says of them is in ``test_spend.py``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.plugins.web.periods import last_days
from airflow_provider_apimart.plugins.web.unaccounted import Unaccounted, find_unaccounted

if TYPE_CHECKING:
    from plugins.database import Database

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

PERIOD = last_days(30, datetime.now(UTC).date())


@pytest.fixture
def posters(database: Database) -> Database:
    database.add_run("posters")
    return database


def names(found: Unaccounted) -> list[str | None]:
    return [task.source.task_id for task in found.tasks]


async def test_a_task_that_was_cleared_after_it_had_bought_and_then_not_let_begin_is_named(
    api: AirflowApi, posters: Database
) -> None:
    posters.add_task("posters", "bought", state="upstream_failed", took=timedelta(minutes=1))
    posters.add_task("posters", "never_began", state="upstream_failed", took=timedelta(0))
    posters.add_task("posters", "long_ago", state="upstream_failed", at=datetime.now(UTC) - timedelta(days=50))
    found = await find_unaccounted(api, PERIOD, "posters")
    assert names(found) == ["bought"]
    assert found.number == 1


@pytest.mark.parametrize("state", ["scheduled", "queued", "upstream_failed"])
async def test_a_task_that_has_not_begun_is_not(api: AirflowApi, posters: Database, state: str) -> None:
    posters.add_task("posters", "buy", state=state, took=None)
    assert await find_unaccounted(api, PERIOD, None) == Unaccounted([], 0)


async def test_one_of_a_derived_class_is(api: AirflowApi, posters: Database) -> None:
    posters.add_task("posters", "ours", operator="Posters", operator_name="APIMart image", state="failed")
    posters.add_task("posters", "foreign", operator="BashOperator", state="failed")
    assert names(await find_unaccounted(api, PERIOD, None)) == ["ours"]
