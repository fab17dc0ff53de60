"""What the transfer says of the pictures that it has put into S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.task_instance import TaskInstance
    from transfers.conftest import Store

    from airflow_provider_apimart.simulator import Simulator

    Generate = Callable[..., dict[str, Any]]
    Copy = Callable[..., dict[str, Any]]


def told(task_instance: TaskInstance) -> list[dict[str, Any]]:
    assert {event.name for event in task_instance.events} <= {"apimart-images"}
    return [event.extra for event in task_instance.events]


def test_it_is_one_event_in_the_documented_shape(
    generate: Generate, copy: Copy, store: Store, task_instance: TaskInstance
) -> None:
    source = generate(n=2, size="16:9")
    result = copy(source)

    (extra,) = told(task_instance)
    assert extra == {
        "schema_version": 1,
        "kind": "images",
        "prefix": f"s3://{store.name}/pictures",
        "connection": "apimart_default",
        "aws_connection": "aws_default",
        "count": 2,
        "task_ids": source["task_ids"],
        "models": ["gpt-image-2"],
        "cost": source["cost"],
        "credits_cost": source["credits_cost"],
        "currency": "USD",
        "images": [
            {
                "uri": held["uri"],
                "task_id": held["task_id"],
                "index": 0,
                "prompt": "a lighthouse at dawn",
                "model": "gpt-image-2",
                "size": "16:9",
                "cost": source["cost"] / 2,
                "seconds": task["actual_time"],
                "width": held["width"],
                "height": held["height"],
                "bytes": held["bytes"],
            }
            for held, task in zip(result["objects"], source["tasks"], strict=True)
        ],
    }
    assert json.loads(json.dumps(extra)) == extra


def test_pictures_that_were_there_already_are_said_again(
    generate: Generate, copy: Copy, task_instance: TaskInstance
) -> None:
    source = generate()
    copy(source)
    copy(source)

    first, second = told(task_instance)
    assert first == second


def test_one_that_fails_says_nothing_and_its_retry_says_all(
    generate: Generate, copy: Copy, simulator: Simulator, task_instance: TaskInstance
) -> None:
    sources = [generate(), generate()]
    simulator.add_fault({"fault": "image_truncated", "skip": 1, "times": 10})
    with pytest.raises(TransferError):
        copy(sources, max_concurrency=1)
    assert task_instance.events == []

    simulator.clear_faults()
    copy(sources)

    (extra,) = told(task_instance)
    assert (extra["count"], extra["cost"]) == (2, 0.017)


def test_of_task_ids_it_knows_the_costs_and_no_prompts(
    generate: Generate, copy: Copy, task_instance: TaskInstance
) -> None:
    source = generate()
    copy(source["task_ids"])

    (extra,) = told(task_instance)
    (image,) = extra["images"]
    assert (extra["models"], extra["cost"], image["cost"]) == ([], 0.0085, 0.0085)
    assert {"prompt", "model", "size"}.isdisjoint(image)


def test_a_source_without_pictures_is_nothing_to_speak_of(copy: Copy, task_instance: TaskInstance) -> None:
    copy([None, None])

    assert task_instance.events == []


def test_pictures_right_in_the_bucket_are_at_its_address(
    generate: Generate, copy: Copy, store: Store, task_instance: TaskInstance
) -> None:
    copy(generate(), s3_key="{task_id}-{index}.{ext}")

    assert told(task_instance)[0]["prefix"] == f"s3://{store.name}"


def test_the_folder_is_rendered_with_the_key(generate: Generate, store: Store, aws_connection: str) -> None:
    from airflow.sdk import DAG
    from operators.task_instance import TaskInstance

    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    task_instance = TaskInstance()
    with DAG("shots", schedule=None) as dag:
        operator = ApimartToS3Operator(
            task_id="copy", source=generate(), s3_bucket=store.name, aws_conn_id=aws_connection
        )

    def rendered() -> ApimartToS3Operator:
        operator.render_template_fields({"dag": dag, "run_id": "monday"})
        return operator

    task_instance.run_until_deferred(rendered)

    assert "s3_prefix" in operator.template_fields
    assert told(task_instance)[0]["prefix"] == f"s3://{store.name}/apimart/shots"
    assert all(key.startswith("apimart/shots/monday/") for key in store.keys())  # noqa: SIM118 - no mapping
