"""The task instances whose pictures are still being made, or were not made. I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.plugins.web.airflow_api import run_path
from airflow_provider_apimart.plugins.web.card import Card, Status
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

__all__ = ["OPERATORS", "UnderWay", "find_instance", "find_progress", "find_under_way"]

#: As Airflow calls the classes of tasks that buy pictures.
OPERATORS: Final = ("ApimartImageOperator", "ApimartImageDatasetOperator", "_ImagesDecoratedOperator")
_STATES: Final = {
    Status.RUNNING: ("running", "deferred", "up_for_retry", "restarting"),
    Status.FAILED: ("failed",),
}
#: What a dataset's task pushes while it works.
_PROGRESS: Final = "progress"


class UnderWay(NamedTuple):
    """
    Tasks that have no result.

    :param cards: one for each of the newest.
    :param total: how many there are.
    """

    cards: list[Card]
    total: int


async def find_under_way(api: AirflowApi, scope: Scope, status: Status, *, limit: int) -> UnderWay:
    """
    Return the tasks that are at work, or that have failed.

    :param status: ``RUNNING`` or ``FAILED``.
    """
    # Of a DAG or a run that was deleted there are none.
    found = await api.find(
        run_path(scope),
        state=_STATES[status],
        operator=OPERATORS,
        task_id=scope.task_id,
        map_index=scope.map_index if scope.is_task else None,
        order_by="-start_date",
        limit=limit,
    )
    if found is None:
        return UnderWay([], 0)
    # An Airflow that cannot filter by operator gives them all.
    ours = [it for it in found["task_instances"] if it["operator"] in OPERATORS]
    return UnderWay([await _with_progress(api, _card(it, status)) for it in ours], found["total_entries"])


async def find_instance(api: AirflowApi, scope: Scope) -> Mapping[str, Any] | None:
    """Return a task instance as Airflow's API gives it, or ``None`` where there is none of ours."""
    found = await api.find(run_path(scope), task_id=scope.task_id, map_index=scope.map_index, limit=1)
    return next((it for it in found["task_instances"] if _is(it, scope)), None) if found else None


def _is(instance: Mapping[str, Any], scope: Scope) -> bool:
    # Not all releases of Airflow know each of the filters.
    names = (instance["dag_id"], instance["dag_run_id"], instance["task_id"], instance["map_index"])
    return instance["operator"] in OPERATORS and Scope(*names) == scope


def _card(instance: Mapping[str, Any], status: Status) -> Card:
    rendered = instance["rendered_fields"]
    asked = {name: rendered.get(name) for name in ("prompt", "model", "size", "resolution", "quality")}
    began = instance["start_date"]
    return Card(
        status=status,
        source=Scope(instance["dag_id"], instance["dag_run_id"], instance["task_id"], instance["map_index"]),
        at=None if began is None else datetime.fromisoformat(began).timestamp(),
        facts={name: value for name, value in asked.items() if value is not None},
        error="The task failed; its log says what was charged." if status is Status.FAILED else None,
    )


async def _with_progress(api: AirflowApi, card: Card) -> Card:
    if "prompt" in card.facts:
        return card
    return replace(card, progress=await find_progress(api, card.source))


async def find_progress(api: AirflowApi, source: Scope) -> dict[str, Any] | None:
    """Return how far the task of a dataset says it has come, or ``None`` where it says nothing."""
    progress = await api.xcom(source, _PROGRESS)
    return progress if isinstance(progress, dict) else None
