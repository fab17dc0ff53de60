"""Sources of a transfer that are mapped, zipped and not."""

from __future__ import annotations

from airflow.sdk import DAG, Variable

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

BUCKET = Variable.get("apimart_bucket")
AT_ONCE = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1, "retries": 0}
KEY = "{{ dag.dag_id }}/{{ task.task_id }}/{task_id}-{index}.{ext}"

with DAG("zips", schedule=None):
    first = ApimartImageOperator.partial(task_id="first", **AT_ONCE).expand(prompt=["a kite", "a boat"])
    second = ApimartImageOperator.partial(task_id="second", **AT_ONCE).expand(prompt=["a hare", "a heron"])
    ApimartToS3Operator.partial(task_id="zipped", s3_bucket=BUCKET, s3_key=KEY, retries=0).expand(
        source=first.output.zip(second.output)
    )
    ApimartToS3Operator(task_id="mapped", source=first.output, s3_bucket=BUCKET, s3_key=KEY, retries=0)
