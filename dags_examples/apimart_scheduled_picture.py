"""
### One scheduled picture

Every morning at a quarter past six, one picture: ordered from APIMart, awaited in the triggerer, and copied to S3
before its address expires.

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

with DAG(
    dag_id="apimart_scheduled_picture",
    # Unpausing the DAG at seven buys nothing: the picture of this morning is not made up for.
    schedule=CronTriggerTimetable("15 6 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):
    generate = ApimartImageOperator(
        task_id="generate",
        model="gpt-image-2",
        # run_after is there in every run; ds is not in one that was triggered by hand or by an asset.
        prompt="A quiet harbour at sunrise, gouache, with the date {{ dag_run.run_after | ds }} on a harbour sign",
        size="3:2",
    )

    ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_key="harbour/{{ dag_run.run_after | ds }}/{task_id}-{index}.{ext}",
    )
