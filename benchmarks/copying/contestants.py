"""
Ways to copy pictures, each as a function that prepares it and returns what is measured.

All modules are loaded beforehand: importing has a benchmark of its own.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.copying.job import Job

__all__ = ["AT_ONCE", "CONTESTANTS"]

#: Pictures at the same time, for those who copy several.
AT_ONCE: Final = 16


def ours(job: Job) -> Callable[[], object]:
    """Return one run of ``ApimartToS3Operator``."""
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    for module in ("airflow.providers.amazon.aws.hooks.s3", "airflow_provider_apimart.transfers.copier"):
        importlib.import_module(module)
    operator = ApimartToS3Operator(
        task_id="copy",
        source=job.result,
        s3_bucket=job.bucket,
        s3_key="{task_id}-{index}.{ext}",
        max_concurrency=AT_ONCE,
    )
    context: Any = {"ti": SimpleNamespace(dag_id="benchmark", run_id="run", task_id="copy", map_index=-1)}
    return lambda: operator.execute(context)


def http_to_s3_operator(job: Job) -> Callable[[], object]:
    """Return one run of Amazon's ``HttpToS3Operator`` per picture: it copies one URL."""
    from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator

    def copy() -> None:
        for number, name in enumerate(job.names):
            task_id = f"copy_{number}"
            HttpToS3Operator(task_id=task_id, endpoint=name, s3_bucket=job.bucket, s3_key=name).execute({})

    return copy


def threads_and_boto3(job: Job) -> Callable[[], object]:
    """Return what one writes by hand: threads that stream responses into ``upload_fileobj``."""
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    import requests
    from requests.adapters import HTTPAdapter

    def copy() -> None:
        s3, http = boto3.client("s3"), requests.Session()
        http.mount("https://", HTTPAdapter(pool_maxsize=AT_ONCE))

        def copy_one(name: str) -> None:
            with http.get(f"{job.source}/{name}", stream=True) as response:
                response.raise_for_status()
                s3.upload_fileobj(response.raw, job.bucket, name)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(copy_one, job.names))

    return copy


def raw_copy(job: Job) -> Callable[[], object]:
    """Return sockets in a loop, one picture after the other: the floor."""
    import boto3

    from benchmarks.copying import raw_copy

    s3 = boto3.client("s3")
    places = [s3.generate_presigned_url("put_object", {"Bucket": job.bucket, "Key": name}) for name in job.names]
    ways = [(f"{job.source}/{name}", place) for name, place in zip(job.names, places, strict=True)]
    return lambda: raw_copy.copy(ways)


CONTESTANTS: Final[Mapping[str, Callable[[Job], Callable[[], Any]]]] = {
    "ours": ours,
    "HttpToS3Operator": http_to_s3_operator,
    "threads + boto3": threads_and_boto3,
    "raw copy": raw_copy,
}
