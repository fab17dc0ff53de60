"""DAGs that buy and store pictures, and others that wait for them."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

BUCKET = "asset-events"
AT_ONCE = {"deferrable": False, "initial_delay": 0, "poll_interval": 0.1}

with DAG("mapped", schedule=None):
    generate = ApimartImageOperator.partial(task_id="generate", **AT_ONCE).expand(prompt=["a cat", "a dog", "a hare"])
    ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket=BUCKET,
        s3_key="{{ dag.dag_id }}/{{ run_id }}/{task_id}-{index}.{ext}",
    )

with DAG("dataset", schedule=None):
    ApimartImageDatasetOperator.partial(
        task_id="generate",
        prompts=["a cat", "a dog", "a hare", "a heron"],
        s3_bucket=BUCKET,
        s3_prefix="catalogue",
        **AT_ONCE,
    ).expand(shard=[(0, 2), (1, 2)])

with DAG("decorated", schedule=None):

    @task.apimart_images(s3_bucket=BUCKET, s3_prefix="{{ dag.dag_id }}", **AT_ONCE)
    def rows(animal: str) -> list[str]:
        return [f"a {animal}"]

    rows.expand(animal=["cat", "dog"])

for dag_id, asset in {
    "waits_for_purchases": Asset("apimart-purchases"),
    "waits_for_images": Asset("apimart-images"),
    "waits_for_a_folder": Asset(f"s3://{BUCKET}/mapped"),
    "waits_for_a_named_folder": Asset("catalogue", uri=f"s3://{BUCKET}/catalogue"),
    "waits_for_another_folder": Asset(f"s3://{BUCKET}/elsewhere"),
}.items():
    with DAG(dag_id, schedule=asset):
        pass
