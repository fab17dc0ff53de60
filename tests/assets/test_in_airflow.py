"""What becomes of our events in a real Airflow: it keeps them, and starts the DAGs that wait for them."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import DAG
    from services.seaweedfs import SeaweedFS

DAGS_FOLDER = Path(__file__).parent / "dags"
BUNDLE = "dags-folder"
BUCKET = "asset-events"

pytestmark = pytest.mark.usefixtures("apimart_connection", "aws_connection")


@pytest.fixture(scope="module")
def _simulator_server() -> Iterator[Simulator]:
    """Finishes before anybody looks."""
    with Simulator(SimulatorSettings(speed=10_000)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def dags(airflow_database: None, s3_server: SeaweedFS) -> dict[str, DAG]:  # noqa: ARG001 - it must be there
    """As Airflow's DAG processor has read them."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    s3_server.client().create_bucket(Bucket=BUCKET)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=DAGS_FOLDER, bundle_path=DAGS_FOLDER, bundle_name=BUNDLE)
    assert bag.import_errors == {}
    sync_bag_to_db(bag, BUNDLE, None)
    return bag.dags


def run(dag: DAG) -> list[Any]:
    """Run a DAG, and return its events as Airflow's database has them."""
    from airflow.models.asset import AssetDagRunQueue, AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select
    from sqlalchemy.orm import joinedload

    with create_session() as session:
        session.execute(delete(AssetDagRunQueue))
    finished = dag.test()
    assert finished.state == "success"
    with create_session() as session:
        own = select(AssetEvent).where(AssetEvent.source_run_id == finished.run_id)
        return list(session.scalars(own.options(joinedload(AssetEvent.asset)).order_by(AssetEvent.id)))


def waiting() -> set[str]:
    """The DAGs that Airflow will start for the events of the last run."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return set(session.scalars(select(AssetDagRunQueue.target_dag_id)))


def assets() -> list[str]:
    from airflow.models.asset import AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return sorted(session.scalars(select(AssetModel.name)))


def test_each_mapped_task_is_an_event_of_its_own_and_the_transfer_another(
    dags: dict[str, DAG], simulator: Simulator
) -> None:
    events = run(dags["mapped"])

    sources = [(event.asset.name, event.source_task_id, event.source_map_index) for event in events]
    assert Counter(sources) == dict.fromkeys(
        [
            *(("apimart-purchases", "generate", map_index) for map_index in range(3)),
            ("apimart-images", "copy_to_s3", -1),
            (f"s3://{BUCKET}/mapped", "copy_to_s3", -1),
        ],
        1,
    )
    bought = [event.extra for event in events if event.extra["kind"] == "purchase"]
    assert sum(extra["cost"] for extra in bought) == pytest.approx(simulator.stats()["cost"])
    assert sorted(task_id for extra in bought for task_id in extra["task_ids"]) == sorted(
        task["id"] for task in simulator.tasks()
    )
    assert {extra["count"] for extra in (event.extra for event in events) if extra["kind"] == "images"} == {3}


def test_those_that_wait_for_it_are_started(dags: dict[str, DAG]) -> None:
    run(dags["mapped"])

    assert waiting() == {"waits_for_purchases", "waits_for_images", "waits_for_a_folder"}


def test_each_shard_of_a_dataset_is_an_event_of_its_own(dags: dict[str, DAG], simulator: Simulator) -> None:
    events = run(dags["dataset"])

    bought = [event.extra for event in events if event.asset.name == "apimart-purchases"]
    stored = [event.extra for event in events if event.asset.name == "apimart-images"]
    assert sum(extra["delivered"] for extra in bought) == sum(extra["count"] for extra in stored) == 4
    assert sum(extra["cost"] for extra in bought) == pytest.approx(simulator.stats()["cost"])
    assert len({extra["purchase"] for extra in bought}) == len(bought)
    assert waiting() == {"waits_for_purchases", "waits_for_images", "waits_for_a_named_folder"}


def test_mapped_functions_are_events_too(dags: dict[str, DAG]) -> None:
    events = run(dags["decorated"])

    assert Counter((event.asset.name, event.source_map_index) for event in events) == dict.fromkeys(
        [(name, map_index) for name in ("apimart-purchases", "apimart-images") for map_index in (0, 1)], 1
    )
    assert waiting() == {"waits_for_purchases", "waits_for_images"}


def test_no_run_makes_an_asset_since_two_that_make_the_same_one_would_fail(dags: dict[str, DAG]) -> None:
    before = assets()
    run(dags["mapped"])
    run(dags["decorated"])

    assert assets() == before
    assert f"s3://{BUCKET}/decorated" not in before


def test_nothing_of_the_key_or_of_an_address_at_the_gateway_is_in_an_event(
    dags: dict[str, DAG], simulator: Simulator
) -> None:
    told = json.dumps([event.extra for name in ("mapped", "decorated") for event in run(dags[name])])

    key = json.loads(os.environ["AIRFLOW_CONN_APIMART_DEFAULT"])["password"]
    assert key.removeprefix("sk-") not in told
    assert "http" not in told
    assert simulator.url.removeprefix("http://") not in told
