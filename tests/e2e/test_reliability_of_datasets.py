"""Prompt datasets in a real Airflow that loses workers, runs out of money, and runs the same dates again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from e2e.deferral import wait_until_deferred
from e2e.disturbed import DATASETS, wait_for
from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from e2e.examples import Clock
    from services.airflow import AirflowComponents
    from services.dag_run import DagRun
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator

ROWS = 4
DATES = ["2025-11-03", "2025-11-04", "2025-11-05"]
SCHEDULES = ["is_dated", "is_partitioned"]
BY_HAND = ["crashes_over_a_dataset", "maps_a_function", "has_a_budget"]


@dataclass(frozen=True)
class Reprocessed:
    """
    Backfills of the same three dates, twice.

    :param sold: by DAG and prompt, what the gateway had sold for these dates after the first backfill.
    """

    dated: list[DagRun]
    partitioned: list[DagRun]
    sold: dict[str, dict[str, int]]


def sold(simulator: Simulator, start: str) -> dict[str, int]:
    """Return how often the gateway has sold each prompt that starts like this."""
    sales = simulator.stats()["tasks_per_prompt"]
    return {prompt: count for prompt, count in sales.items() if prompt.startswith(start)}


def backfilled(airflow: AirflowComponents, dag_id: str) -> list[DagRun]:
    return [run for run in airflow.api.dag_runs(dag_id) if run.details()["run_type"] == "backfill"]


def wait_for_backfills(airflow: AirflowComponents) -> None:
    """Wait until Airflow would take the next one, which it does for half a minute after the runs have ended."""

    def all_completed() -> bool:
        airflow.require_alive()
        return all(backfill["completed_at"] for dag_id in SCHEDULES for backfill in airflow.api.backfills(dag_id))

    wait_until(all_completed, what="the end of the backfills", within=PATIENCE, pause=1)


@pytest.fixture(scope="module")
def started(disturbed: AirflowComponents) -> dict[str, DagRun]:
    """Everything at once, since most of it is waiting."""
    api = disturbed.api
    api.post("/variables", key="dataset_budget", value="0.02")
    for dag_id in (*SCHEDULES, *BY_HAND):
        api.wait_for_dag(dag_id)
    for dag_id in SCHEDULES:
        disturbed.backfill(dag_id, DATES[0], DATES[-1])
    return {dag_id: api.trigger(dag_id) for dag_id in BY_HAND}


@pytest.fixture(scope="module")
def waiting(disturbed: AirflowComponents, started: dict[str, DagRun]) -> dict[str, DagRun]:
    """Those of the gateway that finishes nothing, while they are deferred."""
    runs = {dag_id: started[dag_id] for dag_id in ("crashes_over_a_dataset", "maps_a_function")}
    for run in runs.values():
        wait_until_deferred(disturbed, run)
    return runs


@pytest.fixture(scope="module")
def progress(waiting: dict[str, DagRun]) -> dict[str, Any]:
    """What a dataset shows while it is deferred, after its first worker was killed."""
    return waiting["crashes_over_a_dataset"].xcom("generate", "progress")


@pytest.fixture(scope="module")
def stored_rows(waiting: dict[str, DagRun], s3_server: SeaweedFS) -> list[str]:
    """The objects in which the rows of the mapped function are stored while its tasks are deferred."""
    assert waiting
    listed = s3_server.client().list_objects_v2(
        Bucket=DATASETS, Prefix="apimart/maps_a_function/generate/ledger/inputs/"
    )
    return [found["Key"] for found in listed.get("Contents", ()) if found["Key"].endswith(".jsonl.gz")]


@pytest.fixture(scope="module")
def finished(
    waiting: dict[str, DagRun], progress: dict[str, Any], stored_rows: list[str], frozen_clock: Clock
) -> dict[str, DagRun]:
    """The same, at their end."""
    assert progress
    assert stored_rows
    frozen_clock.advance(600)
    for run in waiting.values():
        wait_for(run, "success")
    return waiting


@pytest.fixture(scope="module")
def reprocessed(disturbed: AirflowComponents, started: dict[str, DagRun], instant: Simulator) -> Reprocessed:
    assert started
    wait_for_backfills(disturbed)
    before = {dag_id: sold(instant, f"{dag_id} 2025-11") for dag_id in SCHEDULES}
    for dag_id in SCHEDULES:
        disturbed.backfill(dag_id, DATES[0], DATES[-1], "--reprocess-behavior", "completed")
    runs = {dag_id: backfilled(disturbed, dag_id) for dag_id in SCHEDULES}
    for run in (*runs["is_dated"], *runs["is_partitioned"]):
        run.wait(while_waiting=disturbed.require_alive)
    return Reprocessed(runs["is_dated"], runs["is_partitioned"], before)


def test_how_far_a_dataset_has_come_is_readable_while_it_is_deferred(progress: dict[str, Any]) -> None:
    assert (progress["total"], progress["in_flight"], progress["done"]) == (ROWS, ROWS, 0)


def test_a_worker_that_is_killed_before_the_deferral_leaves_a_dataset_that_goes_on(
    finished: dict[str, DagRun], frozen: Simulator
) -> None:
    run = finished["crashes_over_a_dataset"]
    (instance,) = run.task_instances("generate")

    assert instance["try_number"] == 2
    assert list(sold(frozen, run.dag_id).values()) == [1] * ROWS
    assert run.xcom("generate")["bought"] == ROWS


def test_a_function_that_is_mapped_gives_each_task_its_own_rows(
    finished: dict[str, DagRun], frozen: Simulator, stored_rows: list[str]
) -> None:
    run = finished["maps_a_function"]

    assert sold(frozen, run.dag_id) == {"maps_a_function grey heron": 1, "maps_a_function grey wagtail": 1}
    assert [run.xcom("generate", map_index=index)["done"] for index in range(2)] == [1, 1]
    assert len(stored_rows) == 2


def test_a_function_is_called_once_though_its_task_deferred(finished: dict[str, DagRun]) -> None:
    logs = [finished["maps_a_function"].log("generate", map_index=index) for index in range(2)]

    assert [log.count("asked for rows") for log in logs] == [1, 1]
    assert all("Pausing task as DEFERRED" in log for log in logs)


def test_a_budget_that_is_raised_is_spent_on_what_is_missing(
    disturbed: AirflowComponents, started: dict[str, DagRun], instant: Simulator
) -> None:
    run = started["has_a_budget"]
    (instance,) = wait_for(run, "failed")
    assert instance["try_number"] == 1
    assert 0 < len(sold(instant, run.dag_id)) < ROWS
    assert sum(task["cost"] for task in instant.tasks() if task["prompt"].startswith(run.dag_id)) <= 0.02
    assert "BudgetExceededError" in run.log("generate")
    assert "Raise max_cost and clear the task to buy the rest" in run.log("generate")

    disturbed.api.patch("/variables/dataset_budget", key="dataset_budget", value="1")
    run.clear("generate")
    wait_for(run, "success")

    assert list(sold(instant, run.dag_id).values()) == [1] * ROWS
    assert (run.xcom("generate")["done"], run.xcom("generate")["bought"]) == (ROWS, ROWS)


@pytest.mark.parametrize("dag_id", SCHEDULES)
def test_a_backfill_buys_each_row_of_each_date(reprocessed: Reprocessed, dag_id: str) -> None:
    expected = {f"{dag_id} {date} row {number}": 1 for date in DATES for number in range(ROWS)}

    assert reprocessed.sold[dag_id] == expected


def test_a_backfill_that_reprocesses_completed_dates_clears_their_runs_and_buys_nothing(
    reprocessed: Reprocessed, instant: Simulator
) -> None:
    instances = [instance for run in reprocessed.dated for instance in run.task_instances()]

    assert [instance["state"] for instance in instances] == ["success"] * len(DATES)
    assert [instance["try_number"] for instance in instances] == [2] * len(DATES)
    assert sold(instant, "is_dated 2025-11") == reprocessed.sold["is_dated"]


def test_a_backfill_that_reprocesses_completed_partitions_makes_new_runs_and_buys_nothing(
    reprocessed: Reprocessed, instant: Simulator
) -> None:
    details = [run.details() for run in reprocessed.partitioned]

    processed = Counter((run["partition_key"], run["logical_date"]) for run in details)
    assert processed == {(date, None): 2 for date in DATES}
    bought = [run.xcom("generate")["bought"] for run in reprocessed.partitioned]
    assert bought == [ROWS] * 3 + [0] * 3
    assert sold(instant, "is_partitioned 2025-11") == reprocessed.sold["is_partitioned"]
