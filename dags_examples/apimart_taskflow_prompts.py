"""
### Prompts made by a function

The function yields a row for each picture: a mapping with request fields, and an `id` that names the picture. It is
called once, before anything is bought; retries use the rows that it gave. The pictures are bought in one task and
copied to S3. What the ledger there holds already is not bought again.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, task

if TYPE_CHECKING:
    from collections.abc import Iterator

STYLES = {"day": "at noon, gouache", "night": "at night, ink and neon light"}

with DAG(
    dag_id="apimart_taskflow_prompts",
    schedule=None,
    params={"cities": Param(["Lisbon", "Osaka", "Tromsø"], type="array", items={"type": "string"})},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):

    @task.apimart_images(
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_prefix="posters",
        size="2:3",
        # US dollars for each run.
        max_cost=5,
    )
    def posters(params: dict[str, Any]) -> Iterator[dict[str, str]]:
        for city in params["cities"]:
            for name, style in STYLES.items():
                yield {"id": f"{city}-{name}", "prompt": f"A travel poster of {city} {style}"}

    posters()
