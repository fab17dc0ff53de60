"""The shipped example DAGs, without a scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator

DAGS_FOLDER = Path(__file__).parents[2] / "dags_examples"
pytestmark = pytest.mark.usefixtures("airflow_database", "apimart_connection", "aws_connection")


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(DAGS_FOLDER)
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture(autouse=True)
def _bucket_variable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_APIMART_BUCKET", bucket)


def test_all_of_them_parse(dags: dict[str, DAG]) -> None:
    assert set(dags) == {"apimart_scheduled_picture", "apimart_mapped_prompts", "apimart_backfill_dataset"}


def test_all_of_them_say_what_they_do_and_what_they_need(dags: dict[str, DAG]) -> None:
    assert all("apimart_default" in dag.doc_md and "apimart_bucket" in dag.doc_md for dag in dags.values())


def test_the_scheduled_picture_runs_with_dag_test(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    run = dags["apimart_scheduled_picture"].test()

    assert run.state == "success"
    assert simulator.stats()["submits"]["accepted"] == 1
    (stored,) = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert stored["Key"] == f"harbour/{run.run_after:%Y-%m-%d}/{simulator.tasks()[0]['id']}-0.png"


def test_a_date_without_prompts_buys_nothing(dags: dict[str, DAG], simulator: Simulator) -> None:
    run = dags["apimart_backfill_dataset"].test(run_conf={"date": "1999-12-31"})

    assert {instance.task_id: instance.state for instance in run.get_task_instances()} == {
        "read_prompts": "success",
        "generate": "skipped",
        "copy_to_s3": "skipped",
        "fail_the_run": "skipped",
    }
    assert simulator.stats()["submits"]["received"] == 0


def test_one_prompt_that_fails_keeps_no_other_picture_from_its_copy_and_still_fails_the_run(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    simulator.add_fault({"fault": "task_moderated", "times": 1})

    run = dags["apimart_backfill_dataset"].test(run_conf={"date": "2025-11-03"})

    assert run.state == "failed"
    assert simulator.stats()["submits"]["accepted"] == 2
    assert len(s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]) == 1
