"""The public classes against a gateway that was not written with them in mind, and a real S3 server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from laws.airflow_task import AirflowTask
from services.misbehaving_proxy import MisbehavingProxy
from services.plain_gateway import PlainGateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from services.seaweedfs import SeaweedFS

KEY = "sk-laws-0123456789abcdef"


@pytest.fixture
def gateway() -> Iterator[PlainGateway]:
    with PlainGateway() as gateway:
        yield gateway


@pytest.fixture
def proxy(gateway: PlainGateway) -> Iterator[MisbehavingProxy]:
    """A proxy in front of the gateway, which passes everything on until it has a rule."""
    with MisbehavingProxy(gateway.url) as proxy:
        yield proxy


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Define, or edit, the Airflow connection of a gateway."""

    def define(url: str, *, conn_id: str = "apimart_default", password: str = KEY, **extra: Any) -> str:
        connection = {"conn_type": "apimart", "host": url, "password": password, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return define


@pytest.fixture
def direct(connect: Callable[..., str], gateway: PlainGateway) -> str:
    """The connection to the gateway."""
    return connect(gateway.url)


@pytest.fixture
def behind_proxy(connect: Callable[..., str], proxy: MisbehavingProxy) -> str:
    """The connection that leads through the proxy."""
    return connect(proxy.url)


@pytest.fixture
def airflow_task() -> AirflowTask:
    return AirflowTask()


@pytest.fixture
def image_operator() -> Callable[..., Callable[[], Any]]:
    """
    Describe an image operator, made and rendered again in each worker process.

    ``rendered`` gives what the templates of some parameters render to each time.
    """
    from airflow_provider_apimart.operators.image import ApimartImageOperator

    def describe(
        rendered: Callable[[], Mapping[str, Any]] = dict[str, Any], **parameters: Any
    ) -> Callable[[], ApimartImageOperator]:
        defaults = {"prompt": "a red kite", "initial_delay": 0, "poll_interval": 0.1, "timeout": 10}

        def make() -> ApimartImageOperator:
            values = rendered()
            templates = {name: f"{{{{ {name} }}}}" for name in values}
            operator = ApimartImageOperator(task_id="a_task", **{**defaults, **parameters, **templates})
            for name, value in values.items():
                setattr(operator, name, value)
            return operator

        return make

    return describe


@pytest.fixture
def copy(aws_connection: str, bucket: str) -> Callable[..., dict[str, Any]]:
    """Copy pictures to the bucket, in one try of a transfer."""
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    def run(source: Any, **parameters: Any) -> dict[str, Any]:
        given = {"s3_bucket": bucket, "s3_key": "{task_id}-{index}.{ext}", "aws_conn_id": aws_connection, **parameters}
        task = AirflowTask(task_id="copy")
        result: dict[str, Any] = task.run_until_deferred(
            lambda: ApimartToS3Operator(task_id="copy", source=source, **given)
        )
        return result

    return run


@pytest.fixture
def stored(s3_server: SeaweedFS, bucket: str) -> Callable[[], dict[str, bytes]]:
    """Return what is in the bucket."""
    client = s3_server.client()

    def read() -> dict[str, bytes]:
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    return read
