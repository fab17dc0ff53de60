"""
Records out of a prompt dataset: a list, or a file wherever it lies.

A file that is not on this machine is first copied to a temporary one, so that no connection is held, or lost, while
its rows are worked on.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, cast

from airflow_provider_apimart.dataset.formats import READERS, record_of, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import ObjectStoragePath
    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.row import Record, Unreadable

__all__ = ["read_records"]

_S3: Final = frozenset({"s3", "s3a", "s3n"})


def read_records(
    prompts: str | os.PathLike[str] | ObjectStoragePath | Iterable[str | Mapping[str, Any]],
    *,
    aws_conn_id: str | None = "aws_default",
) -> Iterator[Record | Unreadable]:
    """
    Read a dataset, one record at a time. A bare text is a prompt.

    :param prompts: texts or mappings from column to value; or the address of a file: a local path, ``s3://``, or what
        ``ObjectStoragePath`` opens, with the connection before an ``@`` where it needs one
        (``gs://google_cloud_default@bucket/key.csv``). Its suffix says what it is: ``.jsonl``, ``.ndjson`` or
        ``.csv`` in UTF-8, or in UTF-16 with a byte order mark, each also with ``.gz`` after it; or ``.parquet``.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :raises InvalidRequestError: for what is no dataset, or is broken as a whole.
    :raises OSError: for a file that could not be read; the next try may be able to.
    """
    # A data frame is iterable too: over the names of its columns.
    if (
        isinstance(prompts, Iterable)
        and not isinstance(prompts, str | bytes | Mapping)
        and not hasattr(prompts, "columns")
    ):
        for number, item in enumerate(prompts, 1):
            yield record_of(number, item)
    elif isinstance(prompts, str | os.PathLike) or hasattr(prompts, "storage_options"):
        yield from _read_file(prompts, aws_conn_id)
    else:
        refuse(
            prompts,
            f"is a {type(prompts).__name__}: must be a list of texts or mappings (of a data frame, its "
            ".to_dict('records')), or a file's address",
        )


def _read_file(address: Any, aws_conn_id: str | None) -> Iterator[Record | Unreadable]:
    name = str(address).lower()
    read = next((read for suffix, read in READERS.items() if name.endswith(suffix)), None)
    if read is None:
        refuse(
            address,
            f"does not end in one of {', '.join(READERS)}. A file needs its suffix; one prompt goes into a list; and "
            "to a list that another task returned, pass its .output: a Jinja template gives only its text",
        )
    with _opened(address, aws_conn_id) as file:
        content = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if name.endswith(".gz") else file
        try:
            yield from read(content, str(address))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            refuse(address, f"is no complete gzip file ({error})")


@contextmanager
def _opened(address: Any, aws_conn_id: str | None) -> Iterator[IO[bytes]]:
    """Open a file for reading; the file can be rewound."""
    scheme, is_remote, rest = str(address).partition("://")
    if not is_remote:
        with Path(str(address)).open("rb") as file:
            yield file
        return
    with TemporaryFile() as copy:
        if scheme in _S3:
            host, _, key = rest.partition("/")
            conn_id, _, bucket = host.rpartition("@")
            _download(bucket, key, copy, conn_id or _connection_of(address) or aws_conn_id)
        else:
            with _object_storage_path(address).open("rb") as source:
                shutil.copyfileobj(source, copy)
        copy.seek(0)
        yield copy


def _download(bucket: str, key: str, copy: IO[bytes], aws_conn_id: str | None) -> None:
    """Fetch an object with boto3, which everybody has; ``ObjectStoragePath`` would need s3fs."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with closing(cast("S3Client", S3Hook(aws_conn_id=aws_conn_id).get_conn())) as client:
            client.download_fileobj(bucket, key, copy, Config=TransferConfig(use_threads=False))
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise OSError(f"could not read the dataset s3://{bucket}/{key}: {error}") from error


def _object_storage_path(address: Any) -> Any:
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - most datasets need none

    return address if isinstance(address, ObjectStoragePath) else ObjectStoragePath(address)


def _connection_of(address: Any) -> str | None:
    """Return the connection of an ``ObjectStoragePath``, which Airflow 3.1 keeps among its options."""
    options: Mapping[str, Any] = getattr(address, "storage_options", {})
    conn_id: str | None = getattr(address, "conn_id", None) or options.get("conn_id")
    return conn_id
