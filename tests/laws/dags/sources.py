"""Sources of a transfer in all the forms that people write."""

from __future__ import annotations

from airflow.sdk import DAG, Variable

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

BUCKET = Variable.get("apimart_bucket")
AT_ONCE = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1, "retries": 0}
KEY = "{{ dag.dag_id }}/{{ task.task_id }}/{task_id}-{index}.{ext}"

with DAG("sources", schedule=None):
    one = ApimartImageOperator(task_id="one", prompt="a kite", **AT_ONCE)
    two = ApimartImageOperator(task_id="two", prompt="two kites", n=2, **AT_ONCE)
    for name, source in {
        "a_list": [one.output, two.output],
        "a_tuple": (one.output, two.output),
        "nested": [[one.output], [two.output, []]],
        "ids": two.output["task_ids"],
        "ids_and_results": [two.output["task_ids"], one.output],
    }.items():
        ApimartToS3Operator(task_id=name, source=source, s3_bucket=BUCKET, s3_key=KEY, retries=0)
