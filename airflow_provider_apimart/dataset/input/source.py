"""
The source of a dataset: a list, or a file wherever it is.

A file that is not on this machine is first copied to a temporary one, so that no connection is held, or lost, while
its rows are read.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

from airflow_provider_apimart.dataset.input.formats import READERS, foreign_format, record_of, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.input.rows import Record, Unreadable

__all__ = ["Source", "open_source"]

_S3: Final = frozenset({"s3", "s3a", "s3n"})
_GZIP_MARK: Final = b"\x1f\x8b"
_START_BYTES: Final = 512
_SUFFIXES: Final = ".jsonl, .ndjson, .csv, .tsv (each also with .gz after it), .parquet"


class Source(NamedTuple):
    """
    A dataset that can be read once.

    :param name: of the dataset in messages.
    :param unit: what the number of a record counts, ``line`` or ``row``.
    """

    name: str
    unit: str
    records: Generator[Record | Unreadable]


def open_source(prompts: Any, *, aws_conn_id: str | None, known: Collection[str]) -> Source:
    """
    Return the records of a dataset, which are read one at a time. A bare text is a prompt.

    :param prompts: texts or mappings from column to value, as a list or from a generator, which is read once; or the
        address of a file: a local path, ``s3://``, or what ``ObjectStoragePath`` opens, with the connection before an
        ``@`` where it needs one (``gs://google_cloud_default@bucket/key.csv``). Its suffix says what it is:
        ``.jsonl``, ``.ndjson``, ``.csv`` or ``.tsv``, in UTF-8, or in UTF-16 with a byte order mark; or ``.parquet``.
        Text files may be compressed with gzip, which is recognised by the content.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param known: columns that a dataset may have; they tell which of several separators a file uses.
    :raises InvalidRequestError: for anything else; while the records are read, for a file that is broken as a whole.
    :raises OSError: while the records are read, for a file that could not be read; the next try may be able to.
    """
    if isinstance(prompts, str | os.PathLike) or hasattr(prompts, "storage_options"):
        address = str(prompts)
        suffix, is_compressed = _suffix(address)
        unit = "row" if suffix == ".parquet" else "line"
        records = _read_file(prompts, suffix, aws_conn_id, known, must_be_gzip=is_compressed)
        return Source(f"{address:.200}", unit, records)
    # A data frame is iterable too: over the names of its columns.
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | Mapping) or hasattr(prompts, "columns"):
        refuse(
            "prompts",
            f"is a {type(prompts).__name__}: must be a list of texts or mappings, or a file's address",
            "Of a data frame pass .to_dict('records')",
        )
    return Source("prompts", "row", (record_of(number, item) for number, item in enumerate(prompts, 1)))


def _suffix(address: str) -> tuple[str, bool]:
    """Return the suffix that says what a file is, and whether ``.gz`` follows it."""
    # What follows a question mark in a web address is not part of the name.
    is_web = address.lower().startswith(("http://", "https://"))
    name = (urlsplit(address).path if is_web else address).lower()
    bare = name.removesuffix(".gz")
    suffix = next((suffix for suffix in READERS if bare.endswith(suffix)), None)
    if suffix is None:
        refuse(
            address,
            f"does not end in one of {_SUFFIXES}",
            "A file needs its suffix; one prompt goes into a list; to a list that another task returned, pass its "
            ".output: a Jinja template gives only its text",
        )
    return suffix, bare != name


def _read_file(
    address: Any, suffix: str, aws_conn_id: str | None, known: Collection[str], *, must_be_gzip: bool
) -> Generator[Record | Unreadable]:
    name = str(address)
    with _opened(address, aws_conn_id) as file:
        content = file
        try:
            start = file.read(_START_BYTES)
            file.seek(0)
            if start.startswith(_GZIP_MARK):
                content = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
                start = content.read(_START_BYTES)
                content.seek(0)
            elif must_be_gzip and start:
                refuse(name, "is not a complete gzip file, although it ends in .gz", "Name it after what it is")
            if found := foreign_format(start, suffix):
                refuse(name, f"is {found.what}", found.advice)
            yield from READERS[suffix](content, name, known)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            refuse(name, f"is not a complete gzip file ({error})", "Write it again")


@contextmanager
def _opened(address: Any, aws_conn_id: str | None) -> Iterator[IO[bytes]]:
    """Open a file for reading; the file can be rewound."""
    name = str(address)
    scheme, is_remote, rest = name.partition("://")
    if not is_remote:
        with _open_local(name) as file:
            yield file
        return
    with TemporaryFile() as copy:
        if scheme.lower() in _S3:
            host, _, key = rest.partition("/")
            conn_id, _, bucket = host.rpartition("@")
            _download(bucket, key, copy, conn_id or _connection_of(address) or aws_conn_id)
        else:
            _copy_with_airflow(address, name, scheme, copy)
        copy.seek(0)
        yield copy


def _open_local(name: str) -> IO[bytes]:
    path = Path(name)
    try:
        if path.is_dir():
            _refuse_folder(name, (item.name for item in path.iterdir()))
        return path.open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(_unread(name, "there is no such file on this worker")) from error
    except OSError as error:
        raise OSError(_unread(name, error)) from error


def _download(bucket: str, key: str, copy: IO[bytes], aws_conn_id: str | None) -> None:
    """Fetch an object with boto3, which everybody has; ``ObjectStoragePath`` would need s3fs."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from boto3.exceptions import Boto3Error
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import BotoCoreError, ClientError

    name = f"s3://{bucket}/{key}"
    try:
        with closing(cast("S3Client", S3Hook(aws_conn_id=aws_conn_id).get_conn())) as client:
            try:
                client.download_fileobj(bucket, key, copy, Config=TransferConfig(use_threads=False))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in {"404", "NoSuchKey"}:
                    raise
                if below := _names_below(client, bucket, f"{key}/"):
                    _refuse_folder(name, below)
                raise
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise OSError(_unread(name, error)) from error


def _names_below(client: S3Client, bucket: str, folder: str) -> list[str]:
    """Return the first names in a folder; none where they may not be listed."""
    from botocore.exceptions import ClientError

    try:
        found = client.list_objects_v2(Bucket=bucket, Prefix=folder, MaxKeys=100).get("Contents", ())
    except ClientError:
        return []
    return [item["Key"].removeprefix(folder) for item in found]


def _copy_with_airflow(address: Any, name: str, scheme: str, copy: IO[bytes]) -> None:
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - most datasets need none

    try:
        path: Any = address if isinstance(address, ObjectStoragePath) else ObjectStoragePath(name)
        if path.is_dir():
            _refuse_folder(name, (item.name for item in path.iterdir()))
        with path.open("rb") as source:
            shutil.copyfileobj(source, copy)
    except ImportError as error:
        _refuse_backend(name, scheme, error)
    except ValueError as error:
        # What Airflow and fsspec raise for a scheme that they do not know.
        if "filesystem" not in str(error):
            raise
        _refuse_backend(name, scheme, error)
    except Exception as error:
        raise OSError(_unread(name, error)) from error


def _refuse_backend(name: str, scheme: str, error: Exception) -> NoReturn:
    refuse(
        name,
        f"needs a backend for {scheme}://, which is not installed on this worker ({error})",
        "Install the Airflow provider of that storage with its fsspec backend (gs:// needs gcsfs, https:// needs "
        "aiohttp, abfs:// needs adlfs), or copy the file to S3",
    )


def _refuse_folder(name: str, names: Iterable[str]) -> NoReturn:
    inside = next((inner for inner in names if inner.lower().endswith(tuple(READERS))), None)
    example = f", such as {inside}" if inside else ""
    refuse(name, "is a directory", f"Name one file in it{example}; several files are several tasks, or one list")


def _unread(name: str, error: object) -> str:
    return f"Could not read the dataset {name}: {error}. Nothing was submitted or charged; a retry reads it again."


def _connection_of(address: Any) -> str | None:
    """Return the connection of an ``ObjectStoragePath``, which Airflow 3.1 keeps among its options."""
    options: Mapping[str, Any] = getattr(address, "storage_options", {})
    conn_id: str | None = getattr(address, "conn_id", None) or options.get("conn_id")
    return conn_id
