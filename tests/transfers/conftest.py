"""Finished pictures to copy, and an operator to copy them with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator

    Result = dict[str, Any]


class Store:
    """One bucket, as somebody sees who looks into it from outside."""

    def __init__(self, server: SeaweedFS, name: str) -> None:
        self.client = server.client()
        self.name = name

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(entry["Key"] for entry in listed)

    def head(self, key: str) -> dict[str, Any]:
        return dict(self.client.head_object(Bucket=self.name, Key=key))

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


@pytest.fixture
def store(s3_server: SeaweedFS, bucket: str) -> Store:
    return Store(s3_server, bucket)


@pytest.fixture
def task_instance() -> TaskInstance:
    return TaskInstance(task_id="copy")


@pytest.fixture
def generate(simulator: Simulator, apimart_connection: str) -> Callable[..., Result]:
    """Buy pictures and return what the image operator returns for them."""
    from airflow_provider_apimart.operators.image import ApimartImageOperator

    def buy(**parameters: Any) -> Result:
        defaults = {"prompt": "a lighthouse at dawn", "initial_delay": 0, "poll_interval": 0.1, "deferrable": False}
        operator = ApimartImageOperator(
            task_id="generate", apimart_conn_id=apimart_connection, durable=False, **{**defaults, **parameters}
        )
        return operator.execute(TaskInstance(run_id=f"run {len(simulator.tasks())}").context)

    return buy


@pytest.fixture
def copy(
    apimart_connection: str, aws_connection: str, bucket: str, task_instance: TaskInstance
) -> Callable[..., Result]:
    """Run one try of a transfer."""
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    def run(source: Any, **parameters: Any) -> Result:
        defaults = {"s3_bucket": bucket, "s3_key": "pictures/{task_id}-{index}.{ext}"}
        operator = ApimartToS3Operator(
            task_id="copy",
            source=source,
            apimart_conn_id=apimart_connection,
            aws_conn_id=aws_connection,
            **{**defaults, **parameters},
        )
        return operator.execute(task_instance.context)

    return run
