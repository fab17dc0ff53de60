"""A real Airflow that is disturbed: what the gateway is asked to sell, and what Airflow shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from e2e.deferral import wait_until_deferred
from e2e.disturbed import wait_for
from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.examples import Clock
    from services.airflow import AirflowComponents
    from services.dag_run import DagRun

    from airflow_provider_apimart.simulator import Simulator


@pytest.fixture
def start(disturbed: AirflowComponents) -> Callable[[str], DagRun]:
    def trigger(dag_id: str) -> DagRun:
        disturbed.api.wait_for_dag(dag_id)
        return disturbed.api.trigger(dag_id)

    return trigger


def wait_for_line(run: DagRun, line: str, *, try_number: int = 1) -> None:
    """Wait until the log of a try says something: what a worker says may come later than the state that it leaves."""
    wait_until(
        lambda: line in run.log("generate", try_number=try_number),
        what=f"the log line {line!r}",
        within=PATIENCE,
        pause=0.5,
        explain=lambda: run.log("generate", try_number=try_number),
    )


def bought(simulator: Simulator, run: DagRun) -> list[str]:
    """Return the ids of the tasks that the gateway sold to a run."""
    return [task["id"] for task in simulator.tasks() if task["prompt"] == f"{run.dag_id} {run.run_id}"]


def test_a_worker_that_is_killed_between_purchase_and_deferral_buys_once(
    start: Callable[[str], DagRun], instant: Simulator
) -> None:
    run = start("crashes")

    (instance,) = wait_for(run, "success")

    assert instance["try_number"] == 2
    assert bought(instant, run) == run.xcom("generate")["task_ids"]
    wait_for_line(run, "Polling instead of buying again", try_number=2)


def test_pictures_that_are_ready_at_once_burn_no_retry(start: Callable[[str], DagRun], instant: Simulator) -> None:
    run = start("is_ready_at_once")

    instances = wait_for(run, "success")

    assert [instance["try_number"] for instance in instances] == [1] * 12
    sold = [count for prompt, count in instant.stats()["tasks_per_prompt"].items() if prompt.startswith("ready")]
    assert sold == [1] * 12


def test_a_triggerer_that_is_killed_and_started_again_goes_on_waiting(
    start: Callable[[str], DagRun], frozen: Simulator, frozen_clock: Clock, disturbed: AirflowComponents
) -> None:
    run = start("waits")
    wait_until_deferred(disturbed, run)

    disturbed.triggerer.kill()
    disturbed.restart(disturbed.triggerer)
    frozen_clock.advance(600)

    (instance,) = wait_for(run, "success")
    assert instance["try_number"] == 1
    assert len(bought(frozen, run)) == 1


def test_a_person_who_ends_the_wait_reads_what_becomes_of_the_money_and_collects_it_by_a_clear(
    start: Callable[[str], DagRun], frozen: Simulator, frozen_clock: Clock, disturbed: AirflowComponents
) -> None:
    run = start("waits")
    wait_until_deferred(disturbed, run)
    wait_for_line(run, " starting")  # Airflow's own line: a trigger that no triggerer has taken up cannot say anything.
    (task_id,) = bought(frozen, run)

    run.mark_failed("generate")

    wait_for_line(run, "They cannot be cancelled")
    assert task_id in run.log("generate")

    run.clear("generate")
    wait_until_deferred(disturbed, run)
    frozen_clock.advance(600)
    wait_for(run, "success")
    assert bought(frozen, run) == [task_id] == run.xcom("generate")["task_ids"]
    assert run.xcom("generate")["reused"] is True


def test_clearing_a_task_that_reuses_buys_nothing(start: Callable[[str], DagRun], instant: Simulator) -> None:
    run = start("reuses")
    (instance,) = wait_for(run, "success")
    first_try = instance["try_number"]
    first = run.xcom("generate")

    run.clear("generate")

    wait_until(
        lambda: run.task_instances("generate")[0]["try_number"] > first_try,
        what="another try",
        within=PATIENCE,
        pause=0.5,
        explain=run.explain,
    )
    wait_for(run, "success")
    assert run.xcom("generate")["task_ids"] == first["task_ids"] == bought(instant, run)


def test_a_lost_answer_fails_once_and_a_clear_gets_the_lost_picture_by_its_old_key(
    start: Callable[[str], DagRun], instant: Simulator
) -> None:
    instant.add_fault({"fault": "drop_answer", "on": "submit", "match": {"prompt": "^loses_the_answer"}, "times": 1})
    run = start("loses_the_answer")

    (instance,) = wait_for(run, "failed")

    assert instance["try_number"] == 1
    assert len(bought(instant, run)) == 1  # The gateway accepted it, and nobody here knows.
    wait_for_line(run, "SubmitOutcomeUnknownError")
    wait_for_line(run, "Clear the task to go on")

    run.clear("generate")
    wait_for(run, "success")
    assert bought(instant, run) == run.xcom("generate")["task_ids"]
