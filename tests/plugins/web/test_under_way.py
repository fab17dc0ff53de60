from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_provider_apimart.plugins.web.card import Status
from airflow_provider_apimart.plugins.web.scope import Scope
from airflow_provider_apimart.plugins.web.under_way import find_instance, find_under_way

if TYPE_CHECKING:
    from plugins.database import Database

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.under_way import UnderWay

OF_DAG = Scope("posters")
OF_RUN = Scope("posters", "run")


@pytest.fixture
def posters(database: Database) -> Database:
    database.add_run("posters")
    return database


def add_mapped(database: Database, count: int, *, state: str = "running") -> None:
    """Make as many tasks, of which the last is the newest."""
    for index in range(count):
        database.add_task("posters", "buy", map_index=index, state=state, rendered={"prompt": f"harbour {index}."})


def prompts(found: UnderWay) -> list[str]:
    return [card.title for card in found.cards]


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "deferred", "up_for_retry", "restarting"])
async def test_a_task_that_has_begun_and_not_ended_is_under_way(api: AirflowApi, posters: Database, state: str) -> None:
    posters.add_task("posters", "buy", state=state, rendered={"prompt": "a harbour"})
    assert prompts(await find_under_way(api, OF_RUN, Status.RUNNING, limit=5)) == ["a harbour"]


@pytest.mark.parametrize("state", ["scheduled", "queued"])
async def test_one_that_waits_to_begin_is_not(api: AirflowApi, posters: Database, state: str) -> None:
    posters.add_task("posters", "buy", state=state, took=None, rendered={"prompt": "a harbour"})
    assert await find_under_way(api, OF_RUN, Status.RUNNING, limit=5) == ([], 0, None)


@pytest.mark.parametrize("scope", [OF_DAG, OF_RUN, Scope("posters", "run", "buy", -1)])
async def test_tasks_of_derived_classes_are_ours_and_others_are_not(
    api: AirflowApi, posters: Database, scope: Scope
) -> None:
    posters.add_task("posters", "buy", operator="Posters", operator_name="APIMart image", state="running")
    posters.add_task("posters", "clean_up", operator="BashOperator", state="running")
    posters.add_task("posters", "copy", operator="ApimartToS3Operator", state="running")
    assert prompts(await find_under_way(api, scope, Status.RUNNING, limit=5)) == ["buy"]
    assert await find_instance(api, Scope("posters", "run", "buy", -1)) is not None
    for foreign in ("clean_up", "copy", "absent"):
        assert await find_instance(api, Scope("posters", "run", foreign, -1)) is None


@pytest.mark.parametrize(("status", "state"), [(Status.RUNNING, "running"), (Status.FAILED, "failed")])
async def test_pages_follow_each_other_without_a_gap(
    api: AirflowApi, posters: Database, status: Status, state: str
) -> None:
    add_mapped(posters, 5, state=state)
    first = await find_under_way(api, OF_RUN, status, limit=2)
    second = await find_under_way(api, OF_RUN, status, limit=2, offset=first.following or 0)
    third = await find_under_way(api, OF_RUN, status, limit=2, offset=second.following or 0)
    shown = [title for found in (first, second, third) for title in prompts(found)]
    assert shown == [f"harbour {index}." for index in (4, 3, 2, 1, 0)]
    assert [found.following for found in (first, second, third)] == [2, 4, None]
    assert {found.total for found in (first, second, third)} == {5}


async def test_a_text_is_looked_for_in_all_of_them(api: AirflowApi, posters: Database) -> None:
    add_mapped(posters, 30)
    found = await find_under_way(api, OF_RUN, Status.RUNNING, limit=2, text="HARBOUR 1")
    assert prompts(found) == ["harbour 19.", "harbour 18."]
    later = await find_under_way(api, OF_RUN, Status.RUNNING, limit=24, offset=found.following or 0, text="harbour 1")
    assert prompts(later) == [f"harbour {index}." for index in (17, 16, 15, 14, 13, 12, 11, 10, 1)]
    assert later.following is None


@dataclass
class BusyApi:
    """The API of an Airflow with very many tasks under way, which gives few at once."""

    count: int
    at_once: int = 100
    calls: int = 0

    async def find(self, _: str, *, offset: int, limit: int, **__: Any) -> dict[str, Any]:
        self.calls += 1
        last = min(self.count, offset + min(limit, self.at_once))
        return {"task_instances": [self._instance(index) for index in range(offset, last)], "total_entries": self.count}

    def _instance(self, index: int) -> dict[str, Any]:
        names = {"dag_id": "posters", "dag_run_id": "run", "task_id": "buy", "map_index": index}
        return {**names, "start_date": "2026-11-22T09:00:00Z", "rendered_fields": {"prompt": f"harbour {index}."}}


async def test_a_search_looks_at_a_few_hundred_and_goes_on_where_it_left_off() -> None:
    busy = BusyApi(700)
    api = cast("AirflowApi", busy)
    assert await find_under_way(api, OF_RUN, Status.RUNNING, limit=24, text="harbour 650.") == ([], 700, 500)
    assert busy.calls == 5
    found = await find_under_way(api, OF_RUN, Status.RUNNING, limit=24, offset=500, text="harbour 650.")
    assert prompts(found) == ["harbour 650."]
    assert found.following is None


async def test_an_airflow_that_gives_fewer_at_once_is_asked_again() -> None:
    found = await find_under_way(cast("AirflowApi", BusyApi(30, at_once=10)), OF_RUN, Status.RUNNING, limit=24)
    assert prompts(found) == [f"harbour {index}." for index in range(24)]
    assert found.following == 24


async def test_a_progress_that_makes_no_sense_is_not_shown(api: AirflowApi, posters: Database) -> None:
    posters.add_task(
        "posters", "buy", operator="ApimartImageDatasetOperator", state="deferred", rendered={}, progress={"note": "x"}
    )
    [card] = (await find_under_way(api, OF_RUN, Status.RUNNING, limit=5)).cards
    assert card.progress is None


async def test_a_run_that_was_deleted_has_none(api: AirflowApi, posters: Database) -> None:
    posters.add_task("posters", "buy", state="running")
    assert await find_under_way(api, Scope("posters", "gone"), Status.RUNNING, limit=5) == ([], 0, None)
