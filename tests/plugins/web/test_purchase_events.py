from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from fastapi import HTTPException, Request
from plugins.money import days_ago, model, reported
from plugins.people import token_of
from plugins.reports import BOUGHT, STORED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import FastAPI
    from plugins.database import Database

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

SINCE = datetime.now(UTC) - timedelta(days=60)
READABLE = frozenset({"posters", "shots"})


class Listened:
    """Airflow's application, and what was asked of it."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self.asked: list[dict[str, list[str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(parse_qs(scope["query_string"].decode()))
        await self._app(scope, receive, send)


@pytest.fixture
def airflow(airflow_app: FastAPI, database: Database) -> Listened:
    from airflow_provider_apimart.plugins.web.purchase_events import _KEPT

    _KEPT.clear()
    for dag_id in ("posters", "shots", "theirs"):
        database.add_run(dag_id)
    return Listened(airflow_app)


@pytest.fixture
def api_of(airflow: Listened) -> Callable[[str], Any]:
    """Make the API as it is for somebody."""
    from airflow_provider_apimart.plugins.lazy_app import AIRFLOW
    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

    @asynccontextmanager
    async def api_of(name: str) -> AsyncIterator[AirflowApi]:
        headers = [(b"cookie", f"_token={token_of(name)}".encode())] if name else []
        async with AirflowApi(Request({"type": "http", "headers": headers, AIRFLOW: airflow})) as api:
            yield api

    return api_of


@pytest.fixture
def find(api_of: Callable[[str], Any]) -> Callable[..., Any]:
    from airflow_provider_apimart.plugins.web.purchase_events import Reading, find_purchases

    async def find(who: str = "admin", **options: Any) -> Reading:
        given = {"since": SINCE, "dag_id": None, "user": who, "readable": READABLE, **options}
        async with api_of(who) as api:
            return await find_purchases(api, **given)

    return find


def many(number: int, *, seconds_between: float = 1, dag_id: str = "posters") -> list[dict[str, Any]]:
    """Return events of mapped tasks, the newest first."""
    now = days_ago(0)
    return [
        {
            "source_dag_id": dag_id,
            "source_task_id": "buy",
            "source_run_id": "run",
            "source_map_index": index,
            "extra": reported(str(index), model(0.5)),
            "timestamp": now - timedelta(seconds=index * seconds_between),
        }
        for index in range(number)
    ]


async def test_all_purchases_are_read_however_many_calls_that_takes(
    find: Callable[..., Any], airflow: Listened, database: Database
) -> None:
    database.add_events(many(250), BOUGHT)
    found = await find()
    assert {purchase.source.map_index for purchase in found.purchases} == set(range(250))
    assert found.complete_since is None
    assert len(airflow.asked) == 3


@pytest.mark.parametrize("number", [150, 200, 230])
async def test_events_of_the_same_moment_are_read_once_each(
    find: Callable[..., Any], database: Database, airflow: Listened, number: int
) -> None:
    at_once = many(number, seconds_between=0)
    database.add_events(
        [*at_once, *({**event, "source_map_index": 1000 + n} for n, event in enumerate(many(30)))], BOUGHT
    )
    found = await find()
    assert len(found.purchases) == number + 30
    assert len(airflow.asked) == 1 + (number + 30 - 1) // 100


async def test_where_there_are_too_many_the_newest_are_read_and_it_is_said_since_when_they_are_all(
    find: Callable[..., Any], database: Database, airflow: Listened
) -> None:
    events = many(250)
    database.add_events(events, BOUGHT)
    found = await find(most=200)
    assert {purchase.source.map_index for purchase in found.purchases} == set(range(200))
    assert found.complete_since == events[199]["timestamp"]
    assert len(airflow.asked) == 2


async def test_pictures_in_s3_are_no_purchases(find: Callable[..., Any], database: Database, airflow: Listened) -> None:
    extra = reported("a", model(1.0))
    database.add_event("posters", "copy", STORED, extra | {"kind": "images"})
    database.add_event("posters", "copy", "s3://bucket/pictures", extra)
    assert (await find()).purchases == []
    assert {call["name_pattern"][0] for call in airflow.asked} == {BOUGHT}


async def test_one_dag_is_asked_for_where_only_one_counts(
    find: Callable[..., Any], database: Database, airflow: Listened
) -> None:
    database.add_events([*many(3), *many(2, dag_id="shots")], BOUGHT)
    found = await find(dag_id="shots")
    assert [purchase.source.dag_id for purchase in found.purchases] == ["shots", "shots"]
    assert airflow.asked[0]["source_dag_id"] == ["shots"]


async def test_events_of_dags_that_the_caller_may_not_read_are_left_out_where_airflow_does_not_do_that(
    find: Callable[..., Any], database: Database
) -> None:
    database.add_events([*many(3), *many(2, dag_id="theirs")], BOUGHT)
    found = await find(readable=frozenset({"theirs"}))
    assert {purchase.source.dag_id for purchase in found.purchases} == {"theirs"}


async def test_what_was_read_once_is_not_read_again_and_what_is_new_is_added(
    find: Callable[..., Any], database: Database, airflow: Listened
) -> None:
    old = [{**event, "timestamp": event["timestamp"] - timedelta(hours=1)} for event in many(250)]
    database.add_events(old, BOUGHT)
    await find()
    calls = len(airflow.asked)
    database.add_event("posters", "buy", BOUGHT, reported("0", model(7.5)), map_index=0, at=datetime.now(UTC))
    database.add_event("posters", "buy", BOUGHT, reported("new", model(1.0)), at=datetime.now(UTC))

    found = await find(since=SINCE + timedelta(days=30))

    assert len(airflow.asked) == calls + 1
    assert len(found.purchases) == 251
    assert sum(purchase.charges[0].cost for purchase in found.purchases) == 249 * 0.5 + 7.5 + 1


async def test_a_longer_time_is_read_anew(find: Callable[..., Any], database: Database) -> None:
    database.add_event("posters", "buy", BOUGHT, reported("a", model(1.0)), at=days_ago(70))
    assert not (await find()).purchases
    assert len((await find(since=SINCE - timedelta(days=30))).purchases) == 1


async def test_too_many_new_ones_are_not_mistaken_for_all(find: Callable[..., Any], database: Database) -> None:
    await find(most=100)
    events = many(250, seconds_between=0.001)
    now = datetime.now(UTC)
    database.add_events(
        [{**event, "timestamp": now - timedelta(microseconds=n)} for n, event in enumerate(events)], BOUGHT
    )
    found = await find(most=100)
    assert len(found.purchases) == 100
    assert found.complete_since is not None


async def test_what_one_person_has_read_is_given_to_no_other(
    find: Callable[..., Any], database: Database, airflow: Listened
) -> None:
    database.add_events(many(5), BOUGHT)
    assert len((await find("admin")).purchases) == 5
    assert (await find("stranger")).purchases == []
    calls = len(airflow.asked)
    assert len((await find("viewer")).purchases) == 5
    assert airflow.asked[calls]["timestamp_gte"] == [SINCE.isoformat()]


async def test_who_loses_a_right_does_not_see_what_was_read_before(
    find: Callable[..., Any], database: Database
) -> None:
    database.add_events([*many(3), *many(2, dag_id="shots")], BOUGHT)
    assert len((await find()).purchases) == 5
    assert len((await find(readable=frozenset({"shots"}))).purchases) == 2


async def test_who_is_not_signed_in_any_more_gets_nothing(find: Callable[..., Any], database: Database) -> None:
    database.add_events(many(3), BOUGHT)
    await find("admin")
    with pytest.raises(HTTPException) as refused:
        await find("", user="admin")
    assert refused.value.status_code == 401
