"""
### One scheduled picture

Every morning at a quarter past six, one picture: bought from APIMart, awaited in the triggerer, and copied to S3
before its URL expires.

A run that is cleared uses the picture that it has bought, as long as its URL lives. The parameter `on_clear` asks for
a new one instead:

    airflow backfill create --dag-id apimart_scheduled_picture --from-date 2025-11-03 --to-date 2025-11-05 \\
        --reprocess-behavior completed --dag-run-conf '{"on_clear": "regenerate"}'

Needs the connections `apimart_default` and `aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or
`apimart-pictures` where that is not set; it must exist.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

with DAG(
    dag_id="apimart_scheduled_picture",
    # Unpausing the DAG at seven buys nothing: this morning's picture is not caught up on.
    schedule=CronTriggerTimetable("15 6 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    params={"on_clear": Param("reuse", enum=["reuse", "regenerate"])},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):
    generate = ApimartImageOperator(
        task_id="generate",
        model="gpt-image-2",
        # Every run has run_after; one that was triggered by hand or by an asset may have no ds.
        prompt="A quiet harbour at sunrise, gouache, with the date {{ dag_run.run_after | ds }} on a harbour sign",
        size="3:2",
        on_clear="{{ params.on_clear }}",
    )

    ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_key="harbour/{{ dag_run.run_after | ds }}/{task_id}-{index}.{ext}",
    )
