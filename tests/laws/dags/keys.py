"""Keys that come from a task and from the argument of a mapped group."""

from __future__ import annotations

from airflow.sdk import DAG, Variable, task, task_group

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

BUCKET = Variable.get("apimart_bucket")
AT_ONCE = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1, "retries": 0}

with DAG("keys", schedule=None):

    @task
    def choose_key() -> str:
        return "chosen/{task_id}-{index}.{ext}"

    picture = ApimartImageOperator(task_id="picture", prompt="a kite", **AT_ONCE)
    ApimartToS3Operator(
        task_id="key_of_a_task", source=picture.output, s3_bucket=BUCKET, s3_key=choose_key(), retries=0
    )

    @task_group
    def one_of_many(prompt: str, key: str) -> None:
        bought = ApimartImageOperator(task_id="buy", prompt=prompt, **AT_ONCE)
        ApimartToS3Operator(task_id="store", source=bought.output, s3_bucket=BUCKET, s3_key=key, retries=0)

    one_of_many.expand_kwargs(
        [{"prompt": f"kite {n}", "key": f"group-{n}/{{task_id}}-{{index}}.{{ext}}"} for n in (1, 2)]
    )
