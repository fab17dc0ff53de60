"""A gateway that finishes when it is told to, and operators that are made of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

from airflow_provider_apimart.dataset.input import Input
from airflow_provider_apimart.dataset.ledger.store import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator
    from services.gateway_clock import GatewayClock
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.row import Row
    from airflow_provider_apimart.simulator import Simulator


@pytest.fixture
def simulator(unhurried_simulator: Simulator) -> Simulator:
    return unhurried_simulator


@pytest.fixture
def task_instance() -> TaskInstance:
    return TaskInstance(task_id="rows")


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
def finish(gateway_clock: GatewayClock, task_instance: TaskInstance) -> Callable[..., dict[str, Any]]:
    """Let the gateway finish everything, and run a deferred task to its end."""

    def run(make_operator: Callable[[], BaseOperator], trigger: Any) -> dict[str, Any]:
        gateway_clock.finish_everything()
        return task_instance.resume(make_operator, task_instance.event_of(trigger))

    return run


@pytest.fixture
def stored_rows(s3_server: SeaweedFS, bucket: str) -> Callable[[], dict[str, list[Row]]]:
    """Read the rows that are stored beside the ledger, by the names of their inputs."""

    def read() -> dict[str, list[Row]]:
        store = LedgerStore(s3_server.client(), bucket, "catalogue")
        listed = [found.name.removeprefix("inputs/") for found in store.list("inputs/")]
        names = [name.removesuffix(".keys.gz") for name in listed if name.endswith(".keys.gz")]
        inputs = {name: Input.load(store, name) for name in names}
        return {name: [rows.row(place) for place in range(len(rows))] for name, rows in inputs.items()}

    return read
