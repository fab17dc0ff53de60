"""Tasks that may have bought something of which no event tells: those that have not succeeded. I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import HTTPException

from airflow_provider_apimart.plugins.web.airflow_api import run_path
from airflow_provider_apimart.plugins.web.scope import Scope
from airflow_provider_apimart.plugins.web.under_way import OPERATORS, find_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.periods import Period

__all__ = ["MOST_TASKS", "Unaccounted", "UnaccountedTask", "find_unaccounted"]

#: Tasks that are shown, each of which costs a question after its XCom.
MOST_TASKS: Final = 20
#: Those that have begun and not ended. A task that goes on after a deferral is scheduled and queued once more.
_UNDER_WAY: Final = ("scheduled", "queued", "running", "deferred", "up_for_retry", "restarting")
_FAILED: Final = ("failed",)
#: The path of all DAGs.
_ALL: Final = "~"


@dataclass(frozen=True, slots=True)
class UnaccountedTask:
    """
    A task instance that has not succeeded.

    :param state: as Airflow calls it.
    :param began_at: Unix seconds of its last try.
    :param spent: US dollars by then, as a dataset says while it works; ``None`` where nobody says.
    """

    source: Scope
    state: str
    began_at: float
    spent: float | None


class Unaccounted(NamedTuple):
    """
    What is not in the sums.

    :param tasks: the newest.
    :param number: how many there are.
    """

    tasks: list[UnaccountedTask]
    number: int


async def find_unaccounted(api: AirflowApi, period: Period, dag_id: str | None) -> Unaccounted:
    """
    Return the tasks that were at work in a period and have not succeeded.

    :param dag_id: of the only DAG that counts; ``None`` for all.
    """

    async def ask(states: tuple[str, ...], **bounds: str) -> dict[str, Any]:
        found = await api.find(
            run_path(Scope(dag_id or _ALL)),
            state=states,
            operator=OPERATORS,
            # Without this, tasks that wait for their first try come too.
            start_date_lt=period.ends_at.isoformat(),
            order_by="-start_date",
            limit=MOST_TASKS,
            **bounds,
        )
        return found or {"task_instances": [], "total_entries": 0}

    answers = await asyncio.gather(ask(_UNDER_WAY), ask(_FAILED, end_date_gte=period.begins_at.isoformat()))
    instances = [it for answer in answers for it in answer["task_instances"]]
    newest = sorted(instances, key=lambda it: datetime.fromisoformat(it["start_date"]), reverse=True)[:MOST_TASKS]
    tasks = [await _task(api, instance) for instance in newest]
    return Unaccounted(tasks, sum(answer["total_entries"] for answer in answers))


async def _task(api: AirflowApi, instance: Mapping[str, Any]) -> UnaccountedTask:
    source = Scope(instance["dag_id"], instance["dag_run_id"], instance["task_id"], instance["map_index"])
    return UnaccountedTask(
        source=source,
        state=instance["state"],
        began_at=datetime.fromisoformat(instance["start_date"]).timestamp(),
        spent=await _spent(api, source),
    )


async def _spent(api: AirflowApi, source: Scope) -> float | None:
    try:
        progress = await find_progress(api, source)
    except HTTPException:
        # Who may see tasks need not be allowed to read what they have pushed.
        return None
    spent = progress.get("spent") if progress else None
    return spent if isinstance(spent, int | float) and spent >= 0 else None
