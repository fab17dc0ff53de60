"""
The tasks that are observed, as DAGs.

A run's ``conf`` says what they work on: ``rows``, the path of a JSONL file; ``name``, which is the id of the gateway's
connection and the folder in the bucket; ``in_flight``, calls at the gateway at once; and ``notes``, the path of a file
for what is observed.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from benchmarks.dataset.operators import ObservedDataset, ObservedImage, ObservedTransfer

ROWS, NAME = "{{ dag_run.conf['rows'] }}", "{{ dag_run.conf['name'] }}"
BUCKET = "pictures"
#: As a user would have them: a request that an overloaded machine fails to answer must not end hours of measuring.
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=5)}

with DAG("mapping", schedule=None, default_args=RETRIES):

    @task
    def read_prompts(path: str) -> list[str]:
        """Return a prompt for each mapped task."""
        return [json.loads(line)["prompt"] for line in Path(path).read_text(encoding="utf-8").splitlines()]

    generate = ObservedImage.partial(task_id="generate", apimart_conn_id=NAME).expand(prompt=read_prompts(ROWS))
    ObservedTransfer(
        task_id="copy",
        source=generate.output,
        s3_bucket=BUCKET,
        s3_key=f"{NAME}/{{task_id}}.{{ext}}",
        apimart_conn_id=NAME,
    )

with DAG("dataset", schedule=None, default_args=RETRIES):
    # A log-normal duration may be three times its mean, and such a picture is not what is measured.
    ObservedDataset(
        task_id="pictures", prompts=ROWS, s3_bucket=BUCKET, s3_prefix=NAME, apimart_conn_id=NAME, timeout=3600
    )
