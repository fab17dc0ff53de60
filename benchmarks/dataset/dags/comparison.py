"""
The contestants as DAGs.

A run's ``conf`` says what they work on: ``rows``, the path of a JSONL file; ``name``, which is the id of the gateway's
connection and the folder in the bucket; and ``notes``, the path of a file for what is observed.
"""

from __future__ import annotations

import json
from pathlib import Path

from airflow.sdk import DAG, task

from benchmarks.dataset.contestants import IN_FLIGHT, MAPPING
from benchmarks.dataset.operators import ObservedDataset, ObservedImage, ObservedTransfer

ROWS, NAME = "{{ dag_run.conf['rows'] }}", "{{ dag_run.conf['name'] }}"
BUCKET = "pictures"
#: Small: neither making pictures nor moving bytes is what is compared.
SIZE = "256x256"

with DAG(MAPPING, schedule=None):

    @task
    def read_prompts(path: str) -> list[str]:
        """Return a prompt for each mapped task."""
        return [json.loads(line)["prompt"] for line in Path(path).read_text(encoding="utf-8").splitlines()]

    generate = ObservedImage.partial(task_id="generate", size=SIZE, apimart_conn_id=NAME).expand(
        prompt=read_prompts(ROWS)
    )
    ObservedTransfer(
        task_id="copy",
        source=generate.output,
        s3_bucket=BUCKET,
        s3_key=f"{NAME}/{{task_id}}.{{ext}}",
        apimart_conn_id=NAME,
    )

for dag_id, in_flight in IN_FLIGHT.items():
    with DAG(dag_id, schedule=None):
        ObservedDataset(
            task_id="pictures",
            prompts=ROWS,
            size=SIZE,
            s3_bucket=BUCKET,
            s3_prefix=NAME,
            max_in_flight=in_flight,
            apimart_conn_id=NAME,
        )
