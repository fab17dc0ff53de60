"""Rows that a function gave, kept as JSON lines beside the ledger, where every worker of the task finds them. I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_boto3_s3 import S3Client

__all__ = ["save_rows", "to_json_line"]

_FOLDER: Final = "inputs/"


def save_rows(
    rows: Iterable[Any],
    *,
    bucket: str,
    prefix: str,
    aws_conn_id: str | None,
    extra_args: Mapping[str, Any],
    writer: str,
) -> str:
    """
    Write rows to ``{prefix}/ledger/inputs/``, and return the address of the file.

    They are taken one at a time, and held on disk until all are there: a function that fails half-way leaves nothing.

    :param rows: as a function gave them.
    :param prefix: of the dataset, without slashes at its ends.
    :param extra_args: further arguments of ``PutObject``.
    :param writer: stands for the task instance. All its tries write the same object.
    :raises InvalidRequestError: naming the first row that JSON has no form for.
    :raises RecordUnavailableError: when it is not certain that the store has them.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    name = f"{_FOLDER}{writer}.jsonl"
    with TemporaryFile() as file:
        for number, row in enumerate(rows, 1):
            file.write(to_json_line(number, row))
        with closing(cast("S3Client", S3Hook(aws_conn_id=aws_conn_id).get_conn())) as client:
            objects = LedgerObjects(client, bucket, prefix, extra_args)
            objects.put(name, file)
            return f"{objects.address}{name}"


def to_json_line(number: int, row: Any) -> bytes:
    """
    Return one row as a line of JSON, with its end.

    :param number: of the row, counted from 1.
    :raises InvalidRequestError: for a row that JSON has no form for, naming it and what is wrong with it.
    """
    item = {name: None if _is_nan(value) else value for name, value in row.items()} if isinstance(row, Mapping) else row
    try:
        # Half a character, which UTF-8 has no form for, becomes the escape that JSON has for it.
        return _dumps(item).encode(errors="backslashreplace") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"Row {number} of what the function gave has no form in JSON: {_culprit(item)} ({error}). A row is a text, "
            "or a mapping from columns to texts, numbers, booleans and lists: convert other values first. Nothing was "
            "sent.",
            field="prompts",
            value=row,
        ) from error


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _is_nan(value: Any) -> bool:
    """Whether pandas has left a cell empty."""
    return isinstance(value, float) and math.isnan(value)


def _culprit(item: Any) -> str:
    """Return the first column whose value has no form in JSON, or the whole item where there is none, in words."""
    for name, value in item.items() if isinstance(item, dict) else ():
        try:
            _dumps(value)
        except (TypeError, ValueError, RecursionError):
            return f"{name}={value!r:.80}"
    return repr(item)[:80]
