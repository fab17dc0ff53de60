"""A task instance, and operators to run in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
    from airflow_provider_apimart.operators.image import ApimartImageOperator


@pytest.fixture
def task_instance() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def operator(apimart_connection: str) -> Callable[..., Callable[[], ApimartImageOperator]]:
    """Describe an operator that looks often, to be made anew for each segment."""
    from airflow_provider_apimart.operators.image import ApimartImageOperator

    def describe(**parameters: Any) -> Callable[[], ApimartImageOperator]:
        defaults = {
            "task_id": "a_task",
            "prompt": "a lighthouse at dawn",
            "retries": 2,
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
