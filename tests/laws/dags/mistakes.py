"""Mistakes that only a worker can see."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.image import ApimartImageOperator

KNOBS = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1}

with DAG("mistakes", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(0)}):

    @task
    def nothing() -> None:
        return None

    ApimartImageOperator.partial(task_id="mapped_size", prompt="a kite", **KNOBS).expand(size=["17:1"])
    ApimartImageOperator.partial(task_id="mapped_number", prompt="a kite", **KNOBS).expand(n=[-1])
    ApimartImageOperator.partial(task_id="mapped_prompt", **KNOBS).expand(prompt=[None])
    ApimartImageOperator(task_id="no_prompt", prompt=nothing(), **KNOBS)
    ApimartImageOperator(task_id="no_number", prompt="a kite", n="{{ none }}", **KNOBS)
