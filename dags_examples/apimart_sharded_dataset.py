"""
### One large dataset, shared out to several tasks

Three mapped tasks, which may run on three workers, buy a third of the rows each; a row belongs to exactly one of them.
They share one ledger, one budget and one limit on paid calls: `max_cost` and `max_in_flight` are for all of them
together. For datasets that keep one worker busy for too long, which takes tens of thousands of rows; fewer need no
shards.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

PROMPTS = Path(__file__).parent / "prompts" / "products.jsonl"
SHARDS = 3

with DAG(
    dag_id="apimart_sharded_dataset",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):
    ApimartImageDatasetOperator.partial(
        task_id="generate",
        prompts=str(PROMPTS),
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_prefix="catalogue",
        # US dollars, and calls at the gateway at once, for all shards together.
        max_cost=5,
        max_in_flight=300,
    ).expand(shard=[(index, SHARDS) for index in range(SHARDS)])
