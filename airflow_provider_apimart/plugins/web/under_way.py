"""The task instances whose pictures are still being made, or were not made. I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.plugins.web.airflow_api import run_path
from airflow_provider_apimart.plugins.web.buying_tasks import UNDER_WAY, begun, buying
from airflow_provider_apimart.plugins.web.card import Card, Status
from airflow_provider_apimart.plugins.web.progress import find_progress
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

__all__ = ["UnderWay", "find_instance", "find_under_way"]

_STATES: Final = {Status.RUNNING: UNDER_WAY, Status.FAILED: ("failed",)}
#: Task instances that a search asks for at once, and how often: it goes on where it left off.
_MOST: Final = 100
_ROUNDS: Final = 5


class UnderWay(NamedTuple):
    """
    Tasks that have no result.

    :param cards: one for each of the newest that are looked for.
    :param total: how many there are, whether they are looked for or not.
    :param following: place of the first that was not looked at; ``None`` where all were.
    """

    cards: list[Card]
    total: int
    following: int | None = None


async def find_under_way(
    api: AirflowApi, scope: Scope, status: Status, *, limit: int, offset: int = 0, text: str = ""
) -> UnderWay:
    """
    Return the tasks that are at work, or that have failed, the newest first.

    :param status: ``RUNNING`` or ``FAILED``.
    :param limit: cards at most.
    :param offset: place of the first, as ``following`` says it. Tasks that begin or end meanwhile move the others.
    :param text: that is looked for, among a few hundred tasks; empty for all.
    """
    cards: list[Card] = []
    for _ in range(_ROUNDS):
        found = await _ask(api, scope, status, limit=_MOST if text else limit - len(cards), offset=offset)
        for instance in found["task_instances"]:
            offset += 1
            card = _card(instance, status)
            cards += [card] if not text or card.matches(text) else []
            if len(cards) == limit:
                break
        is_last = not found["task_instances"] or offset >= found["total_entries"]
        if is_last or len(cards) == limit:
            break
    following = None if is_last else offset
    return UnderWay([await _with_progress(api, card) for card in cards], found["total_entries"], following)


async def find_instance(api: AirflowApi, scope: Scope) -> Mapping[str, Any] | None:
    """Return a task instance as Airflow's API gives it, or ``None`` where there is none of ours."""
    found = await api.find(run_path(scope), task_id=scope.task_id, map_index=scope.map_index, limit=1, **buying())
    return next(iter(found["task_instances"]), None) if found else None


async def _ask(api: AirflowApi, scope: Scope, status: Status, *, limit: int, offset: int) -> dict[str, Any]:
    found = await api.find(
        run_path(scope),
        state=_STATES[status],
        task_id=scope.task_id,
        map_index=scope.map_index,
        order_by="-start_date",
        limit=limit,
        offset=offset,
        **buying(),
        **begun(),
    )
    # Of a DAG or a run that was deleted there are none.
    return found or {"task_instances": [], "total_entries": 0}


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
    progress = await find_progress(api, card.source)
    return replace(card, progress=progress.model_dump() if progress else None)
