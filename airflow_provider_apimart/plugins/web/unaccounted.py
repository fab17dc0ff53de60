"""Tasks that may have bought something of which no event tells: those that have begun and not succeeded. I/O."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import HTTPException

from airflow_provider_apimart.plugins.web.airflow_api import run_path
from airflow_provider_apimart.plugins.web.buying_tasks import UNDER_WAY, begun, buying
from airflow_provider_apimart.plugins.web.progress import find_progress
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.periods import Period

__all__ = ["MOST_TASKS", "Unaccounted", "UnaccountedTask", "find_unaccounted"]

#: Tasks that are shown, each of which costs a question after its XCom.
MOST_TASKS: Final = 20
#: Seconds. What never began has ended, for Airflow, at the moment of its beginning.
_A_MOMENT: Final = 0.001
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

    async def ask(states: tuple[str, ...], **bounds: Any) -> dict[str, Any]:
        found = await api.find(
            run_path(Scope(dag_id or _ALL)),
            state=states,
            order_by="-start_date",
            limit=MOST_TASKS,
            **buying(),
            **begun(before=period.ends_at),
            **bounds,
        )
        return found or {"task_instances": [], "total_entries": 0}

    since = period.begins_at.isoformat()
    answers = await asyncio.gather(
        ask(UNDER_WAY),
        ask(("failed",), end_date_gte=since),
        # Those that were cleared after they had bought something, and then were not let begin again.
        ask(("upstream_failed",), end_date_gte=since, duration_gt=_A_MOMENT),
    )
    instances = [it for answer in answers for it in answer["task_instances"] if it["start_date"]]
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
    return progress.spent if progress else None
