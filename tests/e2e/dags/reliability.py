"""DAGs that are disturbed on purpose; a conftest tells which connections stand behind the ids."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_apimart.operators.image import ApimartImageOperator

RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}


class CrashingOperator(ApimartImageOperator):
    """Its worker is killed in the first try, after the purchase and before the deferral."""

    def execute(self, context: Any) -> Any:
        self.is_first_try = context["ti"].try_number == 1
        return super().execute(context)

    def defer(self, **kwargs: Any) -> Any:
        if self.is_first_try:
            os.kill(os.getpid(), signal.SIGKILL)
        super().defer(**kwargs)


def image(operator: type[ApimartImageOperator] = ApimartImageOperator, **parameters: Any) -> ApimartImageOperator:
    return operator(task_id="generate", prompt="{{ dag.dag_id }} {{ run_id }}", **{**RETRIES, **parameters})


with DAG("crashes", schedule=None):
    image(CrashingOperator, apimart_conn_id="instant", initial_delay=0)

with DAG("waits", schedule=None):
    image(apimart_conn_id="frozen", initial_delay=1, poll_interval=1)

with DAG("reuses", schedule=None):
    image(apimart_conn_id="instant", initial_delay=0, on_clear="reuse")

with DAG("loses_the_answer", schedule=None):
    image(apimart_conn_id="instant", initial_delay=0)

with DAG("is_ready_at_once", schedule=None):
    ApimartImageOperator.partial(
        task_id="generate", apimart_conn_id="instant", initial_delay=0, poll_interval=1, **RETRIES
    ).expand(prompt=[f"ready at once, number {number}" for number in range(12)])
