"""The shipped examples in a real Airflow: scheduler, DAG processor, triggerer and API server."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from e2e.examples import BUCKET, PARALLELISM

if TYPE_CHECKING:
    from e2e.examples import Examples, Waiting
    from services.dag_run import DagRun
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator


def _generated(run: DagRun) -> list[dict[str, Any]]:
    """What the tasks that generate pictures have returned."""
    return [run.xcom("generate", map_index=instance["map_index"]) for instance in run.task_instances("generate")]


def _objects(run: DagRun) -> list[dict[str, Any]]:
    """The objects that the transfer says it has put into S3."""
    return run.xcom("copy_to_s3")["objects"]


def test_more_tasks_wait_than_there_are_worker_slots_and_none_holds_a_slot(waiting: Waiting) -> None:
    assert waiting.states == ["deferred"] * 21
    assert len(waiting.states) > PARALLELISM
    assert waiting.holding_slots == []


def test_gateway_task_ids_are_readable_while_the_tasks_wait(waiting: Waiting, gateway: Simulator) -> None:
    shown = [task_id for task_ids in waiting.task_ids for task_id in task_ids]

    assert len(shown) == 21
    assert sorted(shown) == sorted(task["id"] for task in gateway.tasks())


def test_each_example_has_made_a_picture_for_each_of_its_prompts(examples: Examples) -> None:
    assert len(_objects(examples.scheduled)) == 1
    assert len(_objects(examples.mapped)) == 12
    assert [len(_objects(run)) for run in examples.backfilled] == [2, 2, 2]
    assert len(_objects(examples.by_hand)) == 2


def test_each_picture_was_submitted_exactly_once(examples: Examples, gateway: Simulator) -> None:
    pictures = sum(len(_objects(run)) for run in examples.runs)

    assert gateway.stats()["submits"] == {
        "received": pictures,
        "accepted": pictures,
        "replayed": 0,
        "refused": 0,
        "dropped": 0,
    }
    assert set(gateway.stats()["tasks_per_idempotency_key"].values()) == {1}


def test_no_task_needed_a_second_try(examples: Examples) -> None:
    instances = [instance for run in examples.runs for instance in run.task_instances()]

    assert {(instance["state"], instance["try_number"]) for instance in instances} == {("success", 1), ("skipped", 0)}


def test_s3_holds_what_the_transfers_say_and_nothing_else(examples: Examples, s3_server: SeaweedFS) -> None:
    listed = s3_server.client().list_objects_v2(Bucket=BUCKET)["Contents"]
    said = [item for run in examples.runs for item in _objects(run)]

    assert {f"s3://{BUCKET}/{entry['Key']}": entry["Size"] for entry in listed} == {
        item["uri"]: item["bytes"] for item in said
    }


def test_every_object_has_the_bytes_that_the_gateway_serves(examples: Examples, s3_server: SeaweedFS) -> None:
    urls = {
        image["task_id"]: image["url"]
        for run in examples.runs
        for generated in _generated(run)
        for image in generated["images"]
    }
    for run in examples.runs:
        for item in _objects(run):
            stored = _get(s3_server, item["uri"])
            body = stored["Body"].read()
            assert body == httpx.get(urls[item["task_id"]], trust_env=False).content
            assert hashlib.sha256(body).hexdigest() == item["sha256"]
            assert stored["ContentType"] == item["content_type"] == "image/png"
            assert item["task_id"] in stored["Metadata"].values()


def test_pictures_have_the_shape_that_was_asked_for(examples: Examples) -> None:
    assert Counter((item["width"], item["height"]) for item in _objects(examples.mapped)) == {
        (1024, 1024): 5,
        (1024, 1536): 4,
        (1536, 1024): 3,
    }


def test_costs_in_xcom_add_up_to_what_the_gateway_has_charged(examples: Examples, gateway: Simulator) -> None:
    generated = [result for run in examples.runs for result in _generated(run)]

    assert sum(result["cost"] for result in generated) == pytest.approx(gateway.stats()["cost"])
    assert sum(result["credits_cost"] for result in generated) == pytest.approx(gateway.stats()["credits_cost"])
    assert sum(run.xcom("copy_to_s3")["cost"] for run in examples.runs) == pytest.approx(gateway.stats()["cost"])


def test_a_backfill_makes_one_run_for_each_date(examples: Examples) -> None:
    folders = [{urlsplit(item["uri"]).path.rpartition("/")[0] for item in _objects(run)} for run in examples.backfilled]

    assert folders == [{"/campaign/2025-11-03"}, {"/campaign/2025-11-04"}, {"/campaign/2025-11-05"}]


def test_a_run_by_hand_takes_its_date_from_the_parameter(examples: Examples) -> None:
    assert examples.by_hand.details()["logical_date"] is None
    assert {urlsplit(item["uri"]).path.rpartition("/")[0] for item in _objects(examples.by_hand)} == {
        "/campaign/2025-11-04"
    }


def _get(s3_server: SeaweedFS, uri: str) -> Any:
    address = urlsplit(uri)
    return s3_server.client().get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))
