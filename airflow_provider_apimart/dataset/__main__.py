"""
Verdicts about rows of a dataset from the command line: ``python -m airflow_provider_apimart.dataset``.

::

    python -m airflow_provider_apimart.dataset s3://bucket/prefix list
    python -m airflow_provider_apimart.dataset s3://bucket/prefix accept-loss sku-1 sku-2
    python -m airflow_provider_apimart.dataset s3://bucket/prefix bought sku-1 --task-id task_01
    python -m airflow_provider_apimart.dataset s3://bucket/prefix bought sku-2 --first 1 --task-id task_02
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast, get_args

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.ledger.verdicts import Verdict, decide_rows, undecided_calls
from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_apimart.dataset.ledger.entry import Entry

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command, and return its exit status: 1 when the verdict was not recorded.

    :param arguments: instead of those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_apimart.dataset",
        description="List the rows of a dataset that have no picture, or record a verdict about rows. Nothing is "
        "bought: the next run of the task does that.",
    )
    parser.add_argument("address", help="of the dataset, s3://bucket/prefix")
    parser.add_argument("verdict", choices=["list", *get_args(Verdict)])
    parser.add_argument("ids", nargs="*", help="of the rows; none for list")
    parser.add_argument("--task-id", help="of the gateway task, for bought")
    parser.add_argument(
        "--first", type=int, help="of a row that takes several calls, the one that begins with this picture, from 0"
    )
    parser.add_argument("--aws-conn-id", default="aws_default", help="Airflow connection that reaches the bucket")
    parser.add_argument("--extra-args", type=json.loads, default={}, help="extra_args of the operator, as JSON")
    options = parser.parse_args(arguments)
    if (options.verdict == "list") == bool(options.ids):
        parser.error("list takes no ids, and each verdict takes at least one")
    try:
        store = _open_store(options.address, options.aws_conn_id, options.extra_args)
        if options.verdict == "list":
            _show(undecided_calls(store))
        else:
            _show(decide_rows(store, options.ids, options.verdict, task_id=options.task_id, first=options.first))
    except ApimartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _open_store(address: str, aws_conn_id: str, extra_args: dict[str, object]) -> LedgerStore:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    if TYPE_CHECKING:
        from mypy_boto3_s3 import S3Client  # noqa: PLC0415

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    client = cast("S3Client", S3Hook(aws_conn_id=aws_conn_id).get_conn())
    return LedgerStore(client, bucket, prefix.rstrip("/").removesuffix("ledger").rstrip("/"), extra_args)


def _show(entries: Iterable[Entry]) -> None:
    for entry in entries:
        since = datetime.fromtimestamp(entry.intended_at, UTC).isoformat(timespec="seconds")
        reason = "" if entry.error is None else entry.error.message
        pictures = (
            f"picture {entry.first}" if entry.n == 1 else f"pictures {entry.first} to {entry.first + entry.n - 1}"
        )
        values = (
            entry.id,
            pictures,
            entry.status,
            f"charged: {entry.charged}",
            since,
            ",".join(entry.task_ids),
            reason,
        )
        sys.stdout.write("\t".join(value for value in values if value) + "\n")


if __name__ == "__main__":
    sys.exit(main())
