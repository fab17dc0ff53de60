"""A task instance to run operators in, and a gateway that finishes when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from operators.gateway_clock import GatewayClock
from operators.task_instance import TaskInstance

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
    from airflow_provider_apimart.operators.image import ApimartImageOperator


@pytest.fixture
def task_instance() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def clock() -> GatewayClock:
    return GatewayClock()


@pytest.fixture
def unhurried_simulator(clock: GatewayClock) -> Iterator[Simulator]:
    """Finishes nothing before its clock is moved."""
    with Simulator(SimulatorSettings(clock=clock)) as simulator:
        yield simulator


@pytest.fixture
def operator(apimart_connection: str) -> Callable[..., Callable[[], ApimartImageOperator]]:
    """Describe an operator that looks often, to be made anew for each segment."""
    from airflow_provider_apimart.operators.image import ApimartImageOperator

    def describe(**parameters: Any) -> Callable[[], ApimartImageOperator]:
        defaults = {
            "task_id": "a_task",
            "prompt": "a lighthouse at dawn",
            "apimart_conn_id": apimart_connection,
            "initial_delay": 0,
            "poll_interval": 0.2,
        }
        return lambda: ApimartImageOperator(**{**defaults, **parameters})

    return describe


@pytest.fixture
def dataset_operator(
    apimart_connection: str, aws_connection: str, bucket: str
) -> Callable[..., Callable[[], ApimartImageDatasetOperator]]:
    """Describe an operator that looks often, to be made anew for each segment."""
    from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

    def describe(prompts: Any, **parameters: Any) -> Callable[[], ApimartImageDatasetOperator]:
        defaults = {
            "task_id": "a_task",
            "prompts": prompts,
            "s3_bucket": bucket,
            "s3_prefix": "catalogue",
            "apimart_conn_id": apimart_connection,
            "aws_conn_id": aws_connection,
            "initial_delay": 0,
            "poll_interval": 0.2,
        }
        return lambda: ApimartImageDatasetOperator(**{**defaults, **parameters})

    return describe
