"""Waiting until tasks wait, and nobody works for them any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.airflow import AirflowComponents
    from services.dag_run import DagRun

__all__ = ["wait_until_deferred", "workers_are_gone"]


def workers_are_gone(airflow: AirflowComponents, run: DagRun, instances: Iterable[dict[str, Any]]) -> bool:
    """
    Return whether the scheduler has seen the end of the processes in which task instances have paused.

    A task that is resumed sooner is taken for a killed one (apache/airflow#67287, alive in 3.3.2), and tried again. A
    worker also has something to do between the pause and its end: it makes the buttons of its task instance.
    """
    log = airflow.scheduler.log.read_text(errors="replace")
    return all(
        f"Received executor event with state success for {_name(run, instance)}" in log for instance in instances
    )


def wait_until_deferred(airflow: AirflowComponents, run: DagRun, *, task_id: str = "generate") -> list[dict[str, Any]]:
    """Wait until all instances of a task are deferred and their workers gone, and return them."""

    def deferred() -> list[dict[str, Any]]:
        airflow.require_alive()
        instances = run.task_instances(task_id)
        are_deferred = {instance["state"] for instance in instances} == {"deferred"}
        return instances if are_deferred and workers_are_gone(airflow, run, instances) else []

    return wait_until(deferred, what=f"{run.dag_id} to be deferred", within=PATIENCE, pause=0.5, explain=run.explain)


def _name(run: DagRun, instance: dict[str, Any]) -> str:
    """Return a task instance as the scheduler's log calls it."""
    key = {"dag_id": run.dag_id, "task_id": instance["task_id"], "run_id": run.run_id}
    key |= {name: instance[name] for name in ("try_number", "map_index")}
    return f"task instance TaskInstanceKey({', '.join(f'{name}={value!r}' for name, value in key.items())})"
