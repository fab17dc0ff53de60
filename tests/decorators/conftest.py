"""A gateway that finishes when it is told to, and operators that are made of functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from decorators.tried_instance import TriedInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator
    from services.gateway_clock import GatewayClock

    from airflow_provider_apimart.simulator import Simulator


@pytest.fixture
def simulator(unhurried_simulator: Simulator) -> Simulator:
    return unhurried_simulator


@pytest.fixture
def task_instance() -> TriedInstance:
    return TriedInstance(task_id="rows")


@pytest.fixture
def decorated(apimart_connection: str, aws_connection: str, bucket: str) -> Callable[..., Callable[[], BaseOperator]]:
    """Decorate a function, and describe the operator that this makes, to be made anew for each segment."""
    from airflow.sdk import task

    def describe(function: Callable[..., Any], *op_args: Any, **parameters: Any) -> Callable[[], BaseOperator]:
        defaults = {
            "task_id": "rows",
            "s3_bucket": bucket,
            "s3_prefix": "catalogue",
            "apimart_conn_id": apimart_connection,
            "aws_conn_id": aws_connection,
            "initial_delay": 0,
            "poll_interval": 0.2,
        }
        return lambda: task.apimart_images(**{**defaults, **parameters})(function)(*op_args).operator

    return describe


@pytest.fixture
def finish(gateway_clock: GatewayClock, task_instance: TriedInstance) -> Callable[..., dict[str, Any]]:
    """Let the gateway finish everything, and run a deferred task to its end."""

    def run(make_operator: Callable[[], BaseOperator], trigger: Any) -> dict[str, Any]:
        gateway_clock.finish_everything()
        return task_instance.resume(make_operator, task_instance.event_of(trigger))

    return run


@pytest.fixture
def lines(s3_server: Any, bucket: str) -> Callable[[str], list[Any]]:
    """Read JSON lines from an ``s3://`` address."""

    def read(address: str) -> list[Any]:
        key = address.removeprefix(f"s3://{bucket}/")
        content = s3_server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
        return [json.loads(line) for line in content.splitlines()]

    return read
