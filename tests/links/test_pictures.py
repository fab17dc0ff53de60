"""The button to the tab with the pictures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_apimart.links import ApimartPicturesLink
from airflow_provider_apimart.plugins.apimart import ApimartPlugin

RUN_ID = "manual__2026-11-22T12:30:50.403490+00:00"


def link(map_index: int | None = -1, **key: str) -> str:
    parts = {"dag_id": "a_dag", "run_id": RUN_ID, "task_id": "group.a_task", **key}
    ti_key: Any = SimpleNamespace(**parts, map_index=map_index)
    return ApimartPicturesLink().get_link(BaseOperator(task_id="a_task"), ti_key=ti_key)


@pytest.mark.parametrize("map_index", [-1, None])
def test_leads_to_the_tab_of_the_task_instance(map_index: int | None) -> None:
    path = link(map_index)

    assert unquote(path) == f"/dags/a_dag/runs/{RUN_ID}/tasks/group.a_task/plugin/apimart-images"
    assert "+" not in path
    assert urlsplit(path)[:2] == ("", "")


@pytest.mark.parametrize("map_index", [0, 9999])
def test_of_a_mapped_task_leads_to_its_own_pictures(map_index: int) -> None:
    assert link(map_index).endswith(f"/tasks/group.a_task/mapped/{map_index}/plugin/apimart-images")


@pytest.mark.parametrize("run_id", ["a/b?c#d", "über uns"])
def test_takes_a_run_id_for_one_part_of_the_path(run_id: str) -> None:
    path = link(run_id=run_id)

    assert urlsplit(path).path == path
    assert unquote(path.split("/")[4]) == run_id


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("https://data.example.com/airflow/", "/airflow"),
        ("https://data.example.com/teams/a", "/teams/a"),
        ("https://data.example.com", ""),
        ("/", ""),
    ],
)
def test_lies_below_the_path_of_the_base_url(base_url: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)

    assert link().startswith(f"{root}/dags/a_dag/")


def test_names_the_tab_that_the_plugin_adds() -> None:
    (tab,) = (view for view in ApimartPlugin.external_views if view["destination"] == "task_instance")

    assert link().rpartition("/")[2] == tab["url_route"]
