"""
### A catalogue of all posters

Runs whenever `apimart_taskflow_prompts` has stored posters: it waits for events of their folder, which is an asset. It
writes what the events say about each picture into one file, `catalogue/posters.json`. A manual run writes the file
again.

Needs the connection `aws_default`; the posters need `apimart_default` too. The asset must be known when
the DAG is parsed, and Variables are not read then. So if you have set the Airflow Variable `apimart_bucket`, write its
value here in place of `apimart-pictures`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task

BUCKET = "apimart-pictures"
POSTERS = Asset(f"s3://{BUCKET}/posters")

with DAG(
    dag_id="apimart_poster_catalogue",
    schedule=POSTERS,
    # Two simultaneous runs would overwrite each other's file.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["apimart", "example"],
    doc_md=__doc__,
):

    @task(inlets=[POSTERS])
    def write_catalogue(*, inlet_events: Any) -> str:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        # An event lists the first hundred pictures, and the address of a file with all of them.
        listed = [poster for event in inlet_events[POSTERS] for poster in event.extra.get("images", ())]
        posters = {poster["uri"]: poster for poster in listed}
        address = f"s3://{BUCKET}/catalogue/posters.json"
        content = json.dumps(list(posters.values()), indent=2, ensure_ascii=False)
        S3Hook("aws_default").load_string(content, address, replace=True)
        return address

    write_catalogue()
