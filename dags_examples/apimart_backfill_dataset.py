"""
### A dated prompt dataset, one run for each date

Each run buys the pictures of one date in one task, one for each row of `prompts/campaign/<date>.jsonl`. The run of a
date without a file is skipped. Buy the pictures of old dates with

    airflow backfill create --dag-id apimart_backfill_dataset --from-date 2025-11-03 --to-date 2025-11-05

and those of a single date with a manual run and the parameter `date`. Pictures and ledger are in S3 under a prefix with
the date, so all runs of a date share them: running a date again, also with `--reprocess-behavior completed`, buys only
rows that are new or changed.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param, task

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

PROMPTS = Path(__file__).parent / "prompts" / "campaign"

# Every run has run_after, in UTC; its date is right only in the DAG's own time zone. A manual run, or that of a
# partition, may have no ds.
DATE = "{{ params.date or dag_run.run_after.astimezone(dag.timezone) | ds }}"

with DAG(
    dag_id="apimart_backfill_dataset",
    schedule="@daily",
    catchup=False,
    params={"date": Param(None, type=["null", "string"], format="date", description="Empty: the run's own date")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):

    @task.short_circuit
    def has_prompts(date: str) -> bool:
        return (PROMPTS / f"{date}.jsonl").exists()

    generate = ApimartImageDatasetOperator(
        task_id="generate",
        prompts=f"{PROMPTS}/{DATE}.jsonl",
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_prefix=f"campaign/{DATE}",
        model="gpt-image-2",
        # US dollars for each date.
        max_cost=5,
    )

    has_prompts(DATE) >> generate
