"""The shipped examples in a real Airflow: scheduler, DAG processor, triggerer and API server."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import httpx
import pytest
from e2e.examples import BUCKET, PARALLELISM, generating, xcoms_of_generating

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.examples import Examples, Waiting
    from services.airflow import AirflowComponents
    from services.dag_run import DagRun
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator


PICTURES = 1 + 12 + 2 + 3 * 2 + 6 + 12


def _copied(run: DagRun) -> list[dict[str, Any]]:
    """The objects that a run says it has put into S3."""
    if "copy_to_s3" in {instance["task_id"] for instance in run.task_instances()}:
        return run.xcom("copy_to_s3")["objects"]
    return [item for result in xcoms_of_generating(run) for item in result["objects"]]


def _addresses(runs: Iterable[DagRun]) -> set[str]:
    return {item["uri"] for run in runs for item in _copied(run)}


def test_more_tasks_wait_than_there_are_worker_slots_and_none_holds_a_slot(waiting: Waiting) -> None:
    assert waiting.states == ["deferred"] * 21
    assert len(waiting.states) > PARALLELISM
    assert waiting.holding_slots == []


def test_gateway_task_ids_are_readable_while_the_tasks_wait(waiting: Waiting, gateway: Simulator) -> None:
    shown = [task_id for task_ids in waiting.task_ids for task_id in task_ids]

    assert len(set(shown)) == len(shown) == 15
    assert set(shown) <= {task["id"] for task in gateway.tasks()}


def test_how_far_a_dataset_has_come_is_readable_while_it_waits(waiting: Waiting) -> None:
    shown = [(progress["total"], progress["in_flight"], progress["done"]) for progress in waiting.progress]

    assert shown[:4] == [(2, 2, 0)] * 3 + [(6, 6, 0)]
    # With max_cost, the shards of a run buy eight together before the first cost is settled.
    assert sum(in_flight for _, in_flight, _ in shown[4:]) == 8


def test_each_example_has_made_a_picture_for_each_of_its_prompts(examples: Examples) -> None:
    assert [len(_copied(run)) for run in examples.runs] == [1, 12, 2, 2, 2, 2, 6, 12]


def test_each_picture_was_submitted_exactly_once(examples: Examples, gateway: Simulator) -> None:
    assert len(_addresses(examples.runs)) == PICTURES
    assert gateway.stats()["submits"] == {
        "received": PICTURES,
        "accepted": PICTURES,
        "replayed": 0,
        "refused": 0,
        "dropped": 0,
    }
    assert set(gateway.stats()["tasks_per_idempotency_key"].values()) == {1}


def test_no_task_needed_a_second_try(examples: Examples) -> None:
    instances = [instance for run in examples.runs for instance in run.task_instances()]

    assert {(instance["state"], instance["try_number"]) for instance in instances} == {("success", 1), ("skipped", 0)}


def test_s3_holds_what_the_tasks_say_and_nothing_else_but_ledgers(
    examples: Examples, catalogue: DagRun, s3_server: SeaweedFS
) -> None:
    keys = [entry["Key"] for entry in s3_server.client().list_objects_v2(Bucket=BUCKET)["Contents"]]

    assert {f"s3://{BUCKET}/{key}" for key in keys if "/ledger/" not in key} == {
        *_addresses(examples.runs),
        *examples.approved.xcom("publish"),
        catalogue.xcom("write_catalogue"),
    }
    assert {key.partition("/ledger/")[0] for key in keys if key.endswith("/ledger/ledger.jsonl.gz")} == {
        "campaign/2025-11-03",
        "campaign/2025-11-04",
        "campaign/2025-11-05",
        "catalogue",
        "posters",
    }


def test_every_object_has_the_bytes_that_the_gateway_serves(examples: Examples, s3_server: SeaweedFS) -> None:
    urls = {
        image["task_id"]: image["url"]
        for run in examples.single
        for result in xcoms_of_generating(run)
        for image in result["images"]
    }
    for run in examples.single:
        for item in _copied(run):
            stored = _get(s3_server, item["uri"])
            body = stored["Body"].read()
            assert body == httpx.get(urls[item["task_id"]], trust_env=False).content
            assert hashlib.sha256(body).hexdigest() == item["sha256"]
            assert stored["ContentLength"] == item["bytes"]
            assert stored["ContentType"] == item["content_type"] == "image/png"
            assert item["task_id"] in stored["Metadata"].values()


def test_every_object_of_a_dataset_has_the_bytes_that_were_checked(
    examples: Examples, gateway: Simulator, s3_server: SeaweedFS
) -> None:
    sold = {task["id"] for task in gateway.tasks()}
    for uri in _addresses(examples.datasets):
        stored = _get(s3_server, uri)
        assert hashlib.sha256(stored["Body"].read()).hexdigest() == stored["Metadata"]["sha256"]
        assert stored["ContentType"] == "image/png"
        assert stored["Metadata"]["apimart-task-id"] in sold


def test_pictures_have_the_shape_that_was_asked_for(examples: Examples) -> None:
    asked_for = {(1024, 1024): 5, (1024, 1536): 4, (1536, 1024): 3}

    for run in (examples.mapped, examples.sharded):
        assert Counter((item["width"], item["height"]) for item in _copied(run)) == asked_for


def test_costs_in_xcom_add_up_to_what_the_gateway_has_charged(examples: Examples, gateway: Simulator) -> None:
    results = [result for run in examples.runs for result in xcoms_of_generating(run)]

    assert sum(result["cost"] for result in results) == pytest.approx(gateway.stats()["cost"])
    assert sum(result["credits_cost"] for result in results) == pytest.approx(gateway.stats()["credits_cost"])


def test_the_transfer_repeats_what_the_pictures_have_cost(examples: Examples) -> None:
    for run in examples.single:
        assert run.xcom("copy_to_s3")["cost"] == pytest.approx(sum(it["cost"] for it in xcoms_of_generating(run)))


def test_purchase_events_add_up_to_what_the_gateway_has_charged(
    examples: Examples, by_hand: DagRun, airflow: AirflowComponents, gateway: Simulator
) -> None:
    events = airflow.api.get("/assets/events", name_pattern="apimart-purchases", limit=100)["asset_events"]

    told = [event["extra"] for event in events]
    assert Counter(event["source_run_id"] for event in events) == {
        run.run_id: len(generating(run)) for run in examples.runs
    }
    assert by_hand.run_id not in {event["source_run_id"] for event in events}
    assert len({extra["purchase"] for extra in told}) == len(told)
    assert sum(extra["cost"] for extra in told) == pytest.approx(gateway.stats()["cost"])
    assert sum(extra["delivered"] for extra in told) == PICTURES
    assert Counter(task_id for extra in told for task_id in extra["task_ids"]) == dict.fromkeys(
        (task["id"] for task in gateway.tasks()), 1
    )


def test_image_events_name_each_picture_in_s3(examples: Examples, by_hand: DagRun, airflow: AirflowComponents) -> None:
    events = airflow.api.get("/assets/events", name_pattern="apimart-images", limit=100)["asset_events"]

    of_run = {event["source_run_id"]: event["extra"] for event in events}
    assert of_run[by_hand.run_id]["images"] == of_run[examples.backfilled[1].run_id]["images"]
    named = [image["uri"] for event in events for image in event["extra"]["images"]]
    assert set(named) == _addresses(examples.runs)


def test_a_dag_that_waits_for_a_folder_is_started_and_reads_what_the_event_says(
    examples: Examples, catalogue: DagRun, s3_server: SeaweedFS
) -> None:
    listed = json.loads(_get(s3_server, catalogue.xcom("write_catalogue"))["Body"].read())

    assert catalogue.details()["run_type"] == "asset_triggered"
    assert {poster["uri"] for poster in listed} == _addresses([examples.taskflow])
    assert {poster["prompt"].partition(" of ")[0] for poster in listed} == {"A travel poster"}
    assert sum(poster["cost"] for poster in listed) == pytest.approx(examples.taskflow.xcom("posters")["cost"])


def test_a_person_is_shown_each_picture_and_the_cost_before_they_are_published(
    examples: Examples, question: dict[str, Any], s3_server: SeaweedFS
) -> None:
    drafts = _copied(examples.approved)

    assert question["body"].startswith("2 pictures, 0.0170 USD")
    assert all(f"uri={quote_plus(draft['uri'])}&size=thumbnail" in question["body"] for draft in drafts)
    assert question["options"] == ["Approve", "Reject"]
    for draft, published in zip(drafts, examples.approved.xcom("publish"), strict=True):
        assert published == draft["uri"].replace("/drafts/", "/published/")
        assert _get(s3_server, published)["Body"].read() == _get(s3_server, draft["uri"])["Body"].read()


def test_a_backfill_makes_one_run_for_each_date(examples: Examples) -> None:
    assert [_folders(run) for run in examples.backfilled] == [
        {"/campaign/2025-11-03/images"},
        {"/campaign/2025-11-04/images"},
        {"/campaign/2025-11-05/images"},
    ]


def test_a_run_by_hand_takes_its_date_from_the_parameter_and_buys_what_that_date_lacks(
    examples: Examples, by_hand: DagRun
) -> None:
    assert by_hand.details()["logical_date"] is None
    assert _addresses([by_hand]) == _addresses([examples.backfilled[1]])
    assert by_hand.xcom("generate")["bought"] == 0


def test_no_row_of_a_dataset_belongs_to_two_shards(examples: Examples) -> None:
    rows = [item["row"] for result in xcoms_of_generating(examples.sharded) for item in result["objects"]]

    assert sorted(rows) == list(range(1, 13))


def _folders(run: DagRun) -> set[str]:
    return {urlsplit(item["uri"]).path.rpartition("/")[0] for item in _copied(run)}


def _get(s3_server: SeaweedFS, uri: str) -> Any:
    address = urlsplit(uri)
    return s3_server.client().get_object(Bucket=address.netloc, Key=address.path.lstrip("/"))
