"""
### Pictures that a person approves

Buys two pictures and copies them to S3 as drafts. Then the run waits, without a worker, until somebody decides on
Airflow's page *Required Actions*, which shows the pictures with their costs. Approved pictures are copied to the folder
`published/`. Pictures that are rejected, or not decided on within three days, stay drafts.

Needs Airflow 3.1 or newer, which has human-in-the-loop operators, and the connections `apimart_default` and
`aws_default`. The bucket is the Airflow Variable `apimart_bucket`, or `apimart-pictures` where that is not set; it must
exist.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task

from airflow_provider_apimart.markdown import pictures_as_markdown
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

with DAG(
    dag_id="apimart_approved_pictures",
    schedule=None,
    params={"prompt": Param("A poster of a summer night's concert in a park", type="string")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    user_defined_macros={"pictures_as_markdown": pictures_as_markdown},
    tags=["apimart", "example"],
    doc_md=__doc__,
):
    generate = ApimartImageOperator(
        task_id="generate",
        model="gpt-image-2",
        prompt="{{ params.prompt }}",
        size="2:3",
        n=2,
    )

    copy_to_s3 = ApimartToS3Operator(
        task_id="copy_to_s3",
        source=generate.output,
        s3_bucket="{{ var.value.get('apimart_bucket', 'apimart-pictures') }}",
        s3_key="drafts/{{ run_id }}/{task_id}-{index}.{ext}",
    )

    approve = ApprovalOperator(
        task_id="approve",
        subject="Publish these pictures?",
        body="{{ pictures_as_markdown(ti, task_id='copy_to_s3') }}",
        defaults="Reject",
        response_timeout=timedelta(days=3),
    )

    @task
    def publish(copied: dict[str, Any]) -> list[str]:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        store = S3Hook("aws_default")
        drafts = [held["uri"] for held in copied["objects"]]
        published = [draft.replace("/drafts/", "/published/", 1) for draft in drafts]
        for draft, address in zip(drafts, published, strict=True):
            store.copy_object(draft, address, acl_policy="no-acl")
        return published

    copy_to_s3 >> approve >> publish(copy_to_s3.output)
