"""Finished pictures to copy, an operator to copy them with, and certificates for servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


@dataclass(frozen=True)
class Certificates:
    """
    PEM files.

    :param authority: what a client must trust.
    :param server: chain and key of a server on 127.0.0.1, and ``server_elsewhere`` of another.
    """

    authority: Path
    another_authority: Path
    server: Path
    server_elsewhere: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    files = Certificates(*(folder / name for name in ("authority", "another", "server", "elsewhere")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(files.authority))
    trustme.CA().cert_pem.write_to_path(str(files.another_authority))
    for file, names in ((files.server, ("127.0.0.1", "localhost")), (files.server_elsewhere, ("elsewhere.example",))):
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(file))
    return files


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
def pauses() -> list[float]:
    """Seconds between one attempt and the next, which do not pass."""
    return []


@pytest.fixture
def copy(
    apimart_connection: str, aws_connection: str, bucket: str, task_instance: TaskInstance, pauses: list[float]
) -> Callable[..., Result]:
    """Run one try of a transfer."""
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    class Copying(ApimartToS3Operator):
        def _sleep(self, seconds: float) -> None:
            pauses.append(seconds)

    def run(source: Any, **parameters: Any) -> Result:
        defaults = {
            "s3_bucket": bucket,
            "s3_key": "pictures/{task_id}-{index}.{ext}",
            "aws_conn_id": aws_connection,
        }
        operator = Copying(
            task_id="copy",
            source=source,
            apimart_conn_id=apimart_connection,
            **{**defaults, **parameters},
        )
        return task_instance.run_until_deferred(lambda: operator)

    return run
