"""The runs of the shipped examples that the tests of the main job look at."""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.waiting import wait_until

if TYPE_CHECKING:
    from services.airflow import AirflowComponents
    from services.airflow_home import AirflowHome
    from services.dag_run import DagRun

__all__ = ["API_KEY", "BUCKET", "PARALLELISM", "Clock", "Examples", "Waiting", "start_examples", "wait_for_deferral"]

BUCKET = "examples"
PARALLELISM = 4
API_KEY = f"sk-{secrets.token_hex(24)}"
DEFERRAL_SECONDS = 300


@dataclass
class Clock:
    """The gateway's time: it stands still until it is moved, so no picture is finished before we have looked."""

    now: float = field(default_factory=time.time)

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
    :param backfilled: of the DAG with a dated dataset, one for each date.
    :param by_hand: of the same DAG, triggered with a date as parameter and without a logical date.
    """

    scheduled: DagRun
    mapped: DagRun
    backfilled: list[DagRun]
    by_hand: DagRun

    @property
    def runs(self) -> list[DagRun]:
        return [self.scheduled, self.mapped, *self.backfilled, self.by_hand]


@dataclass(frozen=True)
class Waiting:
    """
    What Airflow showed at a moment at which every picture of every run was ordered and waited for.

    :param examples: the runs.
    :param states: of every task instance that generates pictures.
    :param holding_slots: task instances that ran, or were on their way to a worker.
    :param task_ids: the XCom ``task_ids`` of every task instance that generates pictures.
    :param trigger_kwargs: what the triggers were given, as the database holds it: Airflow 3.3.2 does not encrypt it.
    """

    examples: Examples
    states: list[str]
    holding_slots: list[dict[str, Any]]
    task_ids: list[list[str]]
    trigger_kwargs: list[str]


def start_examples(airflow: AirflowComponents) -> Examples:
    """Trigger, or backfill, every example."""
    api = airflow.api
    for dag_id in ("apimart_scheduled_picture", "apimart_mapped_prompts", "apimart_backfill_dataset"):
        api.wait_for_dag(dag_id)
    mapped = api.trigger("apimart_mapped_prompts")
    scheduled = api.trigger("apimart_scheduled_picture")
    by_hand = api.trigger("apimart_backfill_dataset", date="2025-11-04")
    dates = ("--from-date", "2025-11-03", "--to-date", "2025-11-05")
    airflow.home.run("backfill", "create", "--dag-id", "apimart_backfill_dataset", *dates)
    backfilled = [run for run in api.dag_runs("apimart_backfill_dataset") if run.details()["run_type"] == "backfill"]
    return Examples(scheduled, mapped, backfilled, by_hand)


def wait_for_deferral(airflow: AirflowComponents, examples: Examples) -> Waiting:
    """Wait until all task instances that generate pictures are deferred at the same time."""

    def all_deferred() -> bool:
        airflow.require_alive()
        return all({instance["state"] for instance in _generating(run)} == {"deferred"} for run in examples.runs)

    wait_until(
        all_deferred,
        what="all task instances that generate pictures to be deferred",
        within=DEFERRAL_SECONDS,
        pause=1,
        explain=lambda: "\n".join([*(run.explain() for run in examples.runs), airflow.scheduler.log_tail()]),
    )
    generating = [(run, instance) for run in examples.runs for instance in _generating(run)]
    instances = [instance for run in examples.runs for instance in run.task_instances()]
    return Waiting(
        examples,
        states=[instance["state"] for _, instance in generating],
        holding_slots=[instance for instance in instances if instance["state"] in {"queued", "running"}],
        task_ids=[run.xcom("generate", "task_ids", map_index=instance["map_index"]) for run, instance in generating],
        trigger_kwargs=_trigger_kwargs(airflow.home),
    )


def _generating(run: DagRun) -> list[dict[str, Any]]:
    return run.task_instances("generate")


def _trigger_kwargs(home: AirflowHome) -> list[str]:
    with closing(sqlite3.connect(home.database)) as database:
        return [kwargs for (kwargs,) in database.execute('select kwargs from "trigger"')]
