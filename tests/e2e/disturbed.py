"""The Airflow whose DAGs are disturbed on purpose: what stands behind its connections, and waiting for its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from services.dag_run import DagRun

__all__ = ["DATASETS", "KEY", "wait_for"]

KEY = "sk-a-key-for-the-disturbed-airflow"
#: The bucket of its datasets.
DATASETS = "datasets"


def wait_for(run: DagRun, state: str, *, task_id: str = "generate") -> list[dict[str, Any]]:
    """
    Wait until all instances of a task are in a state, and return them.

    :param state: one that lasts.
    """

    def reached() -> list[dict[str, Any]]:
        instances = run.task_instances(task_id)
        return instances if {instance["state"] for instance in instances} == {state} else []

    return wait_until(reached, what=f"{run.dag_id} to be {state}", within=PATIENCE, pause=0.5, explain=run.explain)
