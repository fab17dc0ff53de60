from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from plugins.reports import BOUGHT, STORED, image, images, purchase

from airflow_provider_apimart.plugins.web.card import Status
from airflow_provider_apimart.plugins.web.collection import read_page
from airflow_provider_apimart.plugins.web.event_queries import find_events
from airflow_provider_apimart.plugins.web.paging import START
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

SCOPE = Scope("posters", "run")


@dataclass
class OldApi:
    """The API of an Airflow that cannot filter events by the names of assets."""

    events: list[dict[str, Any]]

    async def get(self, _: str, *, offset: int, limit: int, **__: Any) -> dict[str, Any]:
        return {"asset_events": self.events[offset : offset + limit], "total_entries": len(self.events)}


def event(name: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "source_dag_id": "posters",
        "source_run_id": "run",
        "source_task_id": "generate" if name == BOUGHT else "copy",
        "source_map_index": -1,
        "timestamp": "2026-11-22T09:00:00+00:00",
        "extra": extra,
    }


@pytest.mark.parametrize("kind", [Status.STORED, Status.BOUGHT])
async def test_an_airflow_that_gives_all_events_shows_each_picture_once(kind: Status) -> None:
    api = cast("AirflowApi", OldApi([event(STORED, images([image(1)])), event(BOUGHT, purchase([1]))]))
    page = await read_page(api, SCOPE, kind, cursor=START)
    assert [card.status for card in page.cards] == [kind]
    assert [found.is_purchase for found in await find_events(api, SCOPE, kind)] == [kind is Status.BOUGHT]
