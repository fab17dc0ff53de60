"""DAGs with prompt datasets that lose a worker, run out of money, or are run again."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, CronPartitionTimetable, task

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

DATE = "{{ dag_run.run_after | ds }}"
PARTITION = "{{ partition_key }}"


class CrashingOperator(ApimartImageDatasetOperator):
    """Its worker is killed in the first try, after the purchase and before the deferral."""

    def execute(self, context: Any) -> Any:
        self.is_first_try = context["ti"].try_number == 1
        return super().execute(context)

    def defer(self, **kwargs: Any) -> Any:
        if self.is_first_try:
            os.kill(os.getpid(), signal.SIGKILL)
        super().defer(**kwargs)


BRISK = {"initial_delay": 0, "poll_interval": 1, "retries": 2, "retry_delay": timedelta(seconds=1)}


def dataset(
    *of: str, operator: type[ApimartImageDatasetOperator] = ApimartImageDatasetOperator, **parameters: Any
) -> ApimartImageDatasetOperator:
    defaults = {
        "task_id": "generate",
        "prompts": [" ".join(["{{ dag.dag_id }}", *of, f"row {number}"]) for number in range(4)],
        "s3_bucket": "datasets",
        "s3_prefix": "/".join(["{{ dag.dag_id }}", *of]),
        "apimart_conn_id": "instant",
        **BRISK,
    }
    return operator(**{**defaults, **parameters})


with DAG("crashes_over_a_dataset", schedule=None):
    dataset(operator=CrashingOperator, apimart_conn_id="frozen")

with DAG("maps_a_function", schedule=None):

    @task.apimart_images(s3_bucket="datasets", apimart_conn_id="frozen", **BRISK)
    def generate(bird: str, colour: str) -> Iterator[str]:
        print("asked for rows")  # noqa: T201 - in the log of the task
        yield f"maps_a_function {colour} {bird}"

    generate.partial(colour="{{ 'gr' ~ 'ey' }}").expand(bird=["heron", "wagtail"])

with DAG("has_a_budget", schedule=None):
    dataset(max_cost="{{ var.value.dataset_budget }}")

with DAG("is_dated", schedule="@daily", catchup=False):
    dataset(DATE)

by_date = CronPartitionTimetable("0 0 * * *", timezone="UTC", key_format="%Y-%m-%d")
with DAG("is_partitioned", schedule=by_date, catchup=False):
    dataset(PARTITION)
