"""
Verdicts about rows of a dataset, and its export, from the command line: ``python -m airflow_provider_apimart.dataset``.

::

    python -m airflow_provider_apimart.dataset s3://bucket/prefix list
    python -m airflow_provider_apimart.dataset s3://bucket/prefix accept-loss sku-1 sku-2
    python -m airflow_provider_apimart.dataset s3://bucket/prefix bought sku-1 --task-id task_01
    python -m airflow_provider_apimart.dataset s3://bucket/prefix bought sku-2 --first 1 --task-id task_02
    python -m airflow_provider_apimart.dataset s3://bucket/prefix export DIRECTORY --format imagefolder
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast, get_args

from airflow_provider_apimart.dataset.ledger.export import ExportFormat, export_pictures
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.ledger.verdicts import Verdict, decide_rows, undecided_calls
from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_apimart.dataset.ledger.entry import Entry

__all__ = ["main"]

_MANIFESTS: Final = "/ledger/manifests/"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command, and return its exit status: 1 when the verdict was not recorded, or a picture was not exported.

    :param arguments: instead of those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_apimart.dataset",
        description="List the rows of a dataset that have no picture, record a verdict about rows, or export the "
        "pictures. Nothing is bought: the next run of the task does that.",
    )
    parser.add_argument("address", help="of the dataset, s3://bucket/prefix; for export also of a manifest")
    parser.add_argument("command", choices=["list", "export", *get_args(Verdict)])
    parser.add_argument("names", nargs="*", help="ids of the rows for a verdict, the directory for export")
    parser.add_argument("--task-id", help="of the gateway task, for bought")
    parser.add_argument(
        "--first", type=int, help="of a row that takes several calls, the one that begins with this picture, from 0"
    )
    parser.add_argument("--format", choices=get_args(ExportFormat), default="imagefolder", help="of the export")
    parser.add_argument("--no-images", action="store_true", help="export the table alone")
    parser.add_argument("--aws-conn-id", default="aws_default", help="Airflow connection that reaches the bucket")
    parser.add_argument("--extra-args", type=json.loads, default={}, help="extra_args of the operator, as JSON")
    options = parser.parse_args(arguments)
    if (options.command == "list") == bool(options.names):
        parser.error("list takes no ids, and each verdict takes at least one")
    if options.command == "export" and len(options.names) != 1:
        parser.error("export takes one directory")
    # Airflow logs to the standard output, which is that of the list.
    output = sys.stdout
    with redirect_stdout(sys.stderr):
        return _run(options, output)


def _run(options: argparse.Namespace, output: IO[str]) -> int:
    address, _, manifest = options.address.partition(_MANIFESTS)
    try:
        store = open_store(address, options.aws_conn_id, options.extra_args)
        if not store.list(""):
            sys.stderr.write(f"No ledger found at {store.address}: check the address and the connection.\n")
            return 1
        if options.command == "list":
            _show(undecided_calls(store), output)
        elif options.command == "export":
            return _export(store, manifest, options, output)
        else:
            decided = decide_rows(store, options.names, options.command, task_id=options.task_id, first=options.first)
            _show(decided, output)
    except (ApimartError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def open_store(address: str, aws_conn_id: str, extra_args: dict[str, object]) -> LedgerStore:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    if TYPE_CHECKING:
        from mypy_boto3_s3 import S3Client  # noqa: PLC0415

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    client = cast("S3Client", S3Hook(aws_conn_id=aws_conn_id).get_conn())
    return LedgerStore(client, bucket, f"/{prefix}".rstrip("/").removesuffix("/ledger").strip("/"), extra_args)


def _export(store: LedgerStore, manifest: str, options: argparse.Namespace, output: IO[str]) -> int:
    exported = export_pictures(
        store,
        Path(options.names[0]),
        manifest=f"manifests/{manifest}" if manifest else "",
        file_format=options.format,
        with_images=not options.no_images,
    )
    output.write(f"Exported {exported.pictures:,} pictures: {exported.metadata}\n")
    sys.stderr.writelines(f"{problem}\n" for problem in exported.problems)
    return 1 if exported.problems else 0


def _show(entries: Iterable[Entry], output: IO[str]) -> None:
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
        output.write("\t".join(value for value in values if value) + "\n")


if __name__ == "__main__":
    sys.exit(main())
