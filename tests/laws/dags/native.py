"""Values as native rendering, templates and lazy XComs give them."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.image import ApimartImageOperator

AT_ONCE = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1, "retries": 0}

with DAG(
    "native",
    schedule=None,
    render_template_as_native_obj=True,
    params={"year": "1984", "budget": "0.05", "seconds": 20, "on_clear": "reuse"},
):

    @task
    def reference(number: int) -> str:
        return f"https://pictures.example/{number}.png"

    ApimartImageOperator(
        task_id="native",
        prompt="{{ params.year }}",
        max_cost="{{ params.budget }}",
        on_clear="{{ params.on_clear }}",
        extra_body='{"seed": 7}',
        **{**AT_ONCE, "timeout": timedelta(seconds=20), "poll_interval": timedelta(seconds=0.1)},
    )
    ApimartImageOperator(
        task_id="lazy",
        prompt="a collage",
        image_urls=reference.expand(number=[1, 2]),
        timeout="{{ params.seconds }}",
        **AT_ONCE,
    )
