"""The runs of the shipped examples that the tests of the main job look at."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from e2e.deferral import workers_are_gone
from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from services.airflow import AirflowComponents
    from services.airflow_home import AirflowHome
    from services.dag_run import DagRun

__all__ = [
    "API_KEY",
    "BUCKET",
    "CATALOGUE",
    "GENERATING",
    "PARALLELISM",
    "Clock",
    "Examples",
    "Waiting",
    "generating",
    "start_examples",
    "wait_for_deferral",
    "wait_for_question",
    "wait_for_run",
    "xcoms_of_generating",
]

#: The one that the examples take by themselves: the DAG that waits for a folder names it.
BUCKET = "apimart-pictures"
PARALLELISM = 4
#: Of each example, the task that generates pictures.
GENERATING = {
    "apimart_approved_pictures": "generate",
    "apimart_backfill_dataset": "generate",
    "apimart_mapped_prompts": "generate",
    "apimart_scheduled_picture": "generate",
    "apimart_sharded_dataset": "generate",
    "apimart_taskflow_prompts": "posters",
}
#: The one that Airflow starts by itself.
CATALOGUE = "apimart_poster_catalogue"
API_KEY = f"sk-{secrets.token_hex(24)}"


@dataclass
class Clock:
    """
    The gateway's time: it stands still until it is moved, so no picture is finished before we have looked.

    It begins an hour ago, so that nothing is bought tomorrow.
    """

    now: float = field(default_factory=lambda: time.time() - 3600)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Examples:
    """
    A run of each example DAG.

    :param scheduled: of the DAG with one scheduled picture.
    :param mapped: of the DAG with mapped prompts.
    :param approved: of the DAG that asks a person before it publishes.
    :param backfilled: of the DAG with a dated dataset, one for each date.
    :param taskflow: of the DAG with a function that gives prompts.
    :param sharded: of the DAG with a dataset in shards.
    """

    scheduled: DagRun
    mapped: DagRun
    approved: DagRun
    backfilled: list[DagRun]
    taskflow: DagRun
    sharded: DagRun

    @property
    def runs(self) -> list[DagRun]:
        return [*self.single, *self.datasets]

    @property
    def single(self) -> list[DagRun]:
        """Those that buy a picture in one task, and copy it in another."""
        return [self.scheduled, self.mapped, self.approved]

    @property
    def datasets(self) -> list[DagRun]:
        """Those that buy a dataset in one task, or in one for each shard."""
        return [*self.backfilled, self.taskflow, self.sharded]


@dataclass(frozen=True)
class Waiting:
    """
    What Airflow showed at a moment at which every picture of every run was ordered and waited for.

    :param examples: the runs.
    :param states: of every task instance that generates pictures.
    :param holding_slots: task instances that ran, or were on their way to a worker.
    :param task_ids: the XCom ``task_ids`` of every task instance that generates one picture.
    :param progress: the XCom ``progress`` of every task instance that generates a dataset's.
    :param trigger_kwargs: what the triggers were given, as the database holds it: Airflow 3.3.2 does not encrypt it.
    """

    examples: Examples
    states: list[str]
    holding_slots: list[dict[str, Any]]
    task_ids: list[list[str]]
    progress: list[dict[str, Any]]
    trigger_kwargs: list[str]


def start_examples(airflow: AirflowComponents) -> Examples:
    """Trigger, or backfill, every example."""
    api = airflow.api
    # What an asset starts must be known before the asset is filled.
    for dag_id in (*GENERATING, CATALOGUE):
        api.wait_for_dag(dag_id)
    airflow.backfill("apimart_backfill_dataset", "2025-11-03", "2025-11-05")
    mapped = api.trigger("apimart_mapped_prompts")
    scheduled = api.trigger("apimart_scheduled_picture")
    approved = api.trigger("apimart_approved_pictures")
    taskflow = api.trigger("apimart_taskflow_prompts")
    sharded = api.trigger("apimart_sharded_dataset")
    backfilled = [run for run in api.dag_runs("apimart_backfill_dataset") if run.details()["run_type"] == "backfill"]
    return Examples(scheduled, mapped, approved, backfilled, taskflow, sharded)


def wait_for_deferral(airflow: AirflowComponents, examples: Examples) -> Waiting:
    """Wait until all task instances that generate pictures are deferred at the same time, and their workers gone."""

    def all_deferred() -> bool:
        airflow.require_alive()
        found = [(run, generating(run)) for run in examples.runs]
        return all(
            {instance["state"] for instance in instances} == {"deferred"} and workers_are_gone(airflow, run, instances)
            for run, instances in found
        )

    wait_until(
        all_deferred,
        what="all task instances that generate pictures to be deferred",
        within=PATIENCE,
        pause=1,
        explain=lambda: "\n".join([*(run.explain() for run in examples.runs), airflow.scheduler.log_tail()]),
    )
    instances = [instance for run in examples.runs for instance in run.task_instances()]
    return Waiting(
        examples,
        states=[instance["state"] for run in examples.runs for instance in generating(run)],
        holding_slots=[instance for instance in instances if instance["state"] in {"queued", "running"}],
        task_ids=[xcom for run in examples.single for xcom in xcoms_of_generating(run, "task_ids")],
        progress=[xcom for run in examples.datasets for xcom in xcoms_of_generating(run, "progress")],
        trigger_kwargs=_trigger_kwargs(airflow.home),
    )


def wait_for_question(airflow: AirflowComponents, run: DagRun, task_id: str) -> dict[str, Any]:
    """Wait until a task has asked a person, and its worker is gone, and return what it asks."""

    def asked() -> dict[str, Any] | None:
        airflow.require_alive()
        question = run.question(task_id)
        return question if question and workers_are_gone(airflow, run, run.task_instances(task_id)) else None

    return wait_until(asked, what=f"{task_id} to ask a person", within=PATIENCE, pause=1, explain=run.explain)


def wait_for_run(airflow: AirflowComponents, dag_id: str) -> DagRun:
    """Wait for a run that Airflow starts by itself, and until it has succeeded."""
    run = wait_until(
        lambda: next(iter(airflow.api.dag_runs(dag_id)), None),
        what=f"Airflow to start {dag_id}",
        within=PATIENCE,
        pause=1,
        explain=airflow.scheduler.log_tail,
    )
    run.wait(while_waiting=airflow.require_alive)
    return run


def generating(run: DagRun) -> list[dict[str, Any]]:
    """Return the task instances of an example that generate pictures."""
    return run.task_instances(GENERATING[run.dag_id])


def xcoms_of_generating(run: DagRun, key: str = "return_value") -> list[Any]:
    """Return an XCom of each of the task instances of an example that generate pictures."""
    return [run.xcom(GENERATING[run.dag_id], key, map_index=instance["map_index"]) for instance in generating(run)]


def _trigger_kwargs(home: AirflowHome) -> list[str]:
    # Airflow removes unused ones some time later.
    found = home.query('select kwargs from "trigger" where id in (select trigger_id from task_instance)')
    return [kwargs for (kwargs,) in found]
