from __future__ import annotations

from typing import Any

import pytest
from plugins.reports import BOUGHT, STORED, image, images, purchase

from airflow_provider_apimart.plugins.web.events import read_events
from airflow_provider_apimart.plugins.web.scope import Scope


def given(**changes: Any) -> dict[str, Any]:
    """Return an event as Airflow's API gives it."""
    return {
        "name": STORED,
        "uri": STORED,
        "extra": images([image(1)]),
        "source_dag_id": "d",
        "source_run_id": "r",
        "source_task_id": "t",
        "source_map_index": -1,
        "timestamp": "2026-04-21T06:24:34Z",
        **changes,
    }


def test_an_event_tells_who_reported_what_and_when() -> None:
    [event] = read_events([given()])
    assert event.source == Scope("d", "r", "t", -1)
    assert event.at == 1_776_752_674
    assert (event.is_purchase, event.count, event.images) == (False, 1, [image(1)])


def test_it_may_tell_of_more_pictures_than_it_lists() -> None:
    [event] = read_events([given(extra=images([image(1)], count=10_000))])
    assert (event.count, len(event.images)) == (10_000, 1)


def test_a_purchase_tells_of_what_it_lists() -> None:
    [event] = read_events([given(name=BOUGHT, extra=purchase([1, 2]))])
    assert (event.is_purchase, event.count) == (True, 2)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"extra": None}, id="without anything"),
        pytest.param({"extra": {"rows": 7}}, id="of somebody else"),
        pytest.param({"name": "s3://bucket/pictures"}, id="of the folder, which repeats what another event says"),
        pytest.param({"name": BOUGHT}, id="of pictures in the name of a purchase"),
        pytest.param({"source_dag_id": None}, id="that a person has made through the API"),
    ],
)
def test_events_are_left_out(changes: dict[str, Any]) -> None:
    assert read_events([given(**changes), given()]) == read_events([given()])
