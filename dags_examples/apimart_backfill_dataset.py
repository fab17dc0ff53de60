"""
### A dated prompt dataset, one run for each date

Each run orders the pictures of one date: those in `prompts/campaign/<date>.jsonl`. A date without a file has nothing to
order, and its run is skipped. Old dates are made up for with

    airflow backfill create --dag-id apimart_backfill_dataset --from-date 2025-11-03 --to-date 2025-11-05

and a single one by hand with the parameter `date`. Backfilling the same dates again orders nothing, unless
`--reprocess-behavior` says so.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param, task

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

PROMPTS = Path(__file__).parent / "prompts" / "campaign"

# run_after is the scheduled midnight, in a backfill that of the past date; a run by hand has no logical date, so no ds.
DATE = "{{ params.date or dag_run.run_after | ds }}"

with DAG(
    dag_id="apimart_backfill_dataset",
    schedule="@daily",
    catchup=False,
    params={"date": Param(None, type=["null", "string"], format="date", description="Empty: the run's own date")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):

    @task
    def read_prompts(date: str) -> list[dict[str, str]]:
        prompts = PROMPTS / f"{date}.jsonl"
        return [json.loads(line) for line in prompts.read_text().splitlines()] if prompts.exists() else []

    generate = ApimartImageOperator.partial(
        task_id="generate",
        model="gpt-image-2",
        map_index_template="{{ task.prompt[:40] }}",
    ).expand_kwargs(read_prompts(DATE))

    copy_to_s3 = ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_key="campaign/" + DATE + "/{task_id}-{index}.{ext}",
        # What was paid for is copied, also when one prompt failed for good.
        trigger_rule="all_done_min_one_success",
    )

    @task(trigger_rule="one_failed", retries=0)
    def fail_the_run() -> None:
        raise RuntimeError("Not every picture was made and copied: see the failed tasks.")

    [generate, copy_to_s3] >> fail_the_run()
