"""What a real Airflow shows of a mapped task: while it waits, and when it is done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from e2e.deferral import wait_until_deferred
from e2e.disturbed import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.examples import Clock
    from services.airflow import AirflowComponents
    from services.dag_run import DagRun

LONG = "{kite} [" + "x" * 51 + "…"
LABELS = {
    "is_looked_at": ["A red kite over is_looked_at", LONG],
    "is_looked_at_natively": ["“A red kite over is_looked_at_natively”", f"“{LONG}”"],
}


class Seen:
    """
    What was there to see at a moment.

    :param runs: each of another DAG.
    :param wait: until what is to be seen is there; returns the task instances in the order of their map indexes.
    :param instances: the task instances by DAG.
    :param links: by DAG and map index.
    """

    def __init__(self, runs: list[DagRun], wait: Callable[[DagRun], list[dict[str, Any]]]) -> None:
        self.instances = {run.dag_id: wait(run) for run in runs}
        self.links = {(run.dag_id, index): run.links("generate", map_index=index) for run in runs for index in (0, 1)}


@pytest.fixture(scope="module")
def runs(disturbed: AirflowComponents) -> list[DagRun]:
    for dag_id in LABELS:
        disturbed.api.wait_for_dag(dag_id)
    return [disturbed.api.trigger(dag_id) for dag_id in LABELS]


@pytest.fixture(scope="module")
def waiting(disturbed: AirflowComponents, runs: list[DagRun]) -> Seen:
    return Seen(runs, partial(wait_until_deferred, disturbed))


@pytest.fixture(scope="module")
def done(runs: list[DagRun], waiting: Seen, frozen_clock: Clock) -> Seen:
    assert waiting.instances
    frozen_clock.advance(600)
    return Seen(runs, partial(wait_for, state="success"))


@pytest.fixture(params=["waiting", "done"])
def seen(request: pytest.FixtureRequest) -> Seen:
    return request.getfixturevalue(request.param)


def test_each_instance_is_called_by_the_beginning_of_its_rendered_prompt(seen: Seen) -> None:
    shown = {
        dag_id: [instance["rendered_map_index"] for instance in instances]
        for dag_id, instances in seen.instances.items()
    }

    assert shown == LABELS


def test_each_instance_leads_to_its_own_pictures_and_to_the_console(seen: Seen, runs: list[DagRun]) -> None:
    assert set(seen.links) == {(run.dag_id, index) for run in runs for index in (0, 1)}
    for run in runs:
        for index in (0, 1):
            instance = f"/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/generate/mapped/{index}"
            assert seen.links[run.dag_id, index] == {
                "Pictures": f"{instance}/plugin/apimart-images",
                "Vendor's console": "https://apimart.ai",
            }


def test_the_operator_and_the_rendered_prompt_can_be_read(done: Seen) -> None:
    first, second = done.instances["is_looked_at"]

    assert first["operator_name"] == "APIMart image"
    assert first["rendered_fields"]["prompt"] == "A red kite\n\tover is_looked_at"
    assert "{kite} [xxx" in second["rendered_fields"]["prompt"]


def test_no_instance_needed_a_second_try(done: Seen) -> None:
    assert {instance["try_number"] for instances in done.instances.values() for instance in instances} == {1}
