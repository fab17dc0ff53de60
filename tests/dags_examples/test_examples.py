"""The shipped example DAGs, without a scheduler."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pendulum
import pytest
from airflow.sdk import DAG

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.seaweedfs import SeaweedFS

DAGS_FOLDER = Path(__file__).parents[2] / "dags_examples"
pytestmark = pytest.mark.usefixtures("airflow_database", "apimart_connection", "aws_connection")


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(DAGS_FOLDER)
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture(scope="module")
def _simulator_server() -> Iterator[Simulator]:
    """Finishes before anybody looks: a dataset's task then ends without having deferred, which takes ten seconds."""
    with Simulator(SimulatorSettings(speed=10_000)) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _bucket_variable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_APIMART_BUCKET", bucket)


def keys_in(s3_server: SeaweedFS, bucket: str) -> list[str]:
    return [entry["Key"] for entry in s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]]


def test_all_of_them_parse(dags: dict[str, DAG]) -> None:
    assert set(dags) == {
        "apimart_approved_pictures",
        "apimart_backfill_dataset",
        "apimart_mapped_prompts",
        "apimart_poster_catalogue",
        "apimart_scheduled_picture",
        "apimart_sharded_dataset",
        "apimart_taskflow_prompts",
    }


def test_all_of_them_say_what_they_do_and_what_they_need(dags: dict[str, DAG]) -> None:
    assert all("apimart_default" in dag.doc_md and "apimart_bucket" in dag.doc_md for dag in dags.values())


def test_the_scheduled_picture_runs_with_dag_test(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    run = dags["apimart_scheduled_picture"].test()

    assert run.state == "success"
    assert simulator.stats()["submits"]["accepted"] == 1
    assert keys_in(s3_server, bucket) == [f"harbour/{run.run_after:%Y-%m-%d}/{simulator.tasks()[0]['id']}-0.png"]


def test_a_date_without_prompts_buys_nothing(dags: dict[str, DAG], simulator: Simulator) -> None:
    run = dags["apimart_backfill_dataset"].test(run_conf={"date": "1999-12-31"})

    assert {instance.task_id: instance.state for instance in run.get_task_instances()} == {
        "has_prompts": "success",
        "generate": "skipped",
    }
    assert simulator.stats()["submits"]["received"] == 0


def test_a_date_has_its_own_prefix_and_is_bought_once(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    first = dags["apimart_backfill_dataset"].test(run_conf={"date": "2025-11-03"})
    second = dags["apimart_backfill_dataset"].test(run_conf={"date": "2025-11-03"})

    assert (first.state, second.state) == ("success", "success")
    assert simulator.stats()["submits"]["received"] == 2
    assert {key.rpartition("/")[0] for key in keys_in(s3_server, bucket)} >= {
        "campaign/2025-11-03/images",
        "campaign/2025-11-03/ledger",
    }


def test_each_night_has_a_date_of_its_own_when_the_clocks_change(dags: dict[str, DAG]) -> None:
    prefix = dags["apimart_backfill_dataset"].get_task("generate").s3_prefix
    berlin = DAG("nightly", schedule="30 1 * * *", start_date=pendulum.datetime(2025, 10, 1, tz="Europe/Berlin"))
    nights = (pendulum.datetime(2025, 10, day, 1, 30, tz="Europe/Berlin") for day in (25, 26, 27))

    rendered = [
        berlin.get_template_env()
        .from_string(prefix)
        .render(dag=berlin, dag_run=SimpleNamespace(run_after=night.astimezone(UTC)), params={"date": None})
        for night in nights
    ]

    assert rendered == ["campaign/2025-10-25", "campaign/2025-10-26", "campaign/2025-10-27"]


def test_the_prompts_of_a_function_are_bought_under_the_ids_that_it_gave(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    run = dags["apimart_taskflow_prompts"].test(run_conf={"cities": ["Riga"]})

    assert run.state == "success"
    assert simulator.stats()["submits"]["received"] == 2
    pictures = sorted(key for key in keys_in(s3_server, bucket) if "/images/" in key)
    assert [key.partition("-task_")[0] for key in pictures] == ["posters/images/Riga-day", "posters/images/Riga-night"]


def test_the_shards_of_a_dataset_buy_each_row_once(dags: dict[str, DAG], simulator: Simulator) -> None:
    run = dags["apimart_sharded_dataset"].test()

    assert run.state == "success"
    assert simulator.stats()["submits"]["received"] == 12
    assert set(simulator.stats()["tasks_per_prompt"].values()) == {1}


@pytest.fixture
def usual_bucket(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of the name that the examples take by themselves."""
    name, client = "apimart-pictures", s3_server.client()
    client.create_bucket(Bucket=name)
    monkeypatch.delenv("AIRFLOW_VAR_APIMART_BUCKET")
    yield name
    client.delete_bucket(Bucket=name)


def test_the_catalogue_lists_the_posters_of_all_events(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, usual_bucket: str
) -> None:
    for cities in (["Riga"], ["Oslo"]):
        assert dags["apimart_taskflow_prompts"].test(run_conf={"cities": cities}).state == "success"
    run = dags["apimart_poster_catalogue"].test()

    catalogue = s3_server.client().get_object(Bucket=usual_bucket, Key="catalogue/posters.json")["Body"].read()
    assert run.state == "success"
    assert [poster["id"] for poster in json.loads(catalogue)] == ["Riga-day", "Riga-night", "Oslo-day", "Oslo-night"]
    assert {poster["task_id"] for poster in json.loads(catalogue)} == {task["id"] for task in simulator.tasks()}


def test_what_a_person_has_approved_is_published(
    dags: dict[str, DAG], simulator: Simulator, s3_server: SeaweedFS, bucket: str
) -> None:
    run = dags["apimart_approved_pictures"].test(mark_success_pattern="approve")

    drafts, published = (
        {key.rpartition("/")[2] for key in keys_in(s3_server, bucket) if key.startswith(folder)}
        for folder in ("drafts/", "published/")
    )
    assert run.state == "success"
    assert drafts == published == {f"{task['id']}-0.png" for task in simulator.tasks()}
    assert len(published) == 2


def test_a_person_who_does_not_answer_has_not_approved(dags: dict[str, DAG]) -> None:
    approve = dags["apimart_approved_pictures"].get_task("approve")

    assert approve.defaults == ["Reject"]
    assert approve.response_timeout is not None
    assert {task.task_id for task in approve.get_direct_relatives(upstream=False)} == {"publish"}
