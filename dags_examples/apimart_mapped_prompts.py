"""
### A prompt dataset, one mapped task for each picture

Reads `prompts/products.jsonl`, buys one picture for each line, and copies all of them to S3 in one task. The mapped
tasks wait in the triggerer at the same time and occupy no worker. One that fails is retried alone.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

PROMPTS = Path(__file__).parent / "prompts" / "products.jsonl"

with DAG(
    dag_id="apimart_mapped_prompts",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):

    @task
    def read_prompts() -> list[dict[str, str]]:
        return [json.loads(line) for line in PROMPTS.read_text().splitlines()]

    generate = ApimartImageOperator.partial(
        task_id="generate",
        model="gpt-image-2",
        map_index_template="{{ task.prompt[:40] }}",
    ).expand_kwargs(read_prompts())

    copy_to_s3 = ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_key="products/{{ dag_run.run_after | ds }}/{task_id}-{index}.{ext}",
        # Copies what was paid for even if one prompt failed permanently.
        trigger_rule="all_done_min_one_success",
    )

    @task(trigger_rule="one_failed", retries=0)
    def fail_the_run() -> None:
        raise RuntimeError("Not every picture was made and copied: see the failed tasks.")

    [generate, copy_to_s3] >> fail_the_run()
