"""
The source of a dataset: a list, or a file on this machine, in S3 or elsewhere.

A remote file is first copied to a temporary one, so that no connection is held, or lost, while its rows are read.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from airflow_provider_apimart.dataset.input.formats import SUFFIXES, read_records, record_of, refuse
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.response import redact

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.dataset.input.formats import Record

__all__ = ["Source", "open_source"]

_S3: Final = frozenset({"s3", "s3a", "s3n"})
_GZIP_MARK: Final = b"\x1f\x8b"


class Source(NamedTuple):
    """
    A dataset that can be read once.

    :param name: of the dataset in messages.
    :param unit: what the number of a record counts, ``line`` or ``row``.
    """

    name: str
    unit: str
    records: Generator[Record]


def open_source(prompts: Any, *, aws_conn_id: str | None, known: Collection[str]) -> Source:
    """
    Return the records of a dataset, which are read one at a time.

    :param prompts: a list or a generator of texts (prompts) and of mappings from column to value; or the address of a
        file: a local path, ``s3://``, or an address that ``ObjectStoragePath`` opens, with the connection before an
        ``@`` if it needs one (``gs://google_cloud_default@bucket/key.csv``). The suffix names the format: ``.jsonl``,
        ``.ndjson``, ``.csv`` or ``.tsv``, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; or ``.parquet``.
        Text files may be compressed with gzip, which is recognised by the content.
    :param aws_conn_id: connection for ``s3://`` addresses that name none themselves.
    :param known: columns that a dataset may have.
    :raises InvalidRequestError: for anything else; while the records are read, for a file that is broken as a whole.
    :raises OSError: while the records are read, for a file that cannot be read now; a retry may be able to.
    """
    if isinstance(prompts, str | os.PathLike) or hasattr(prompts, "storage_options"):
        name = _shown(str(prompts))
        suffix, is_compressed = _suffix(str(prompts))
        records = _read_file(prompts, suffix, aws_conn_id, known, must_be_gzip=is_compressed)
        return Source(f"{name:.200}", "row" if suffix == ".parquet" else "line", records)
    # A data frame is iterable too, but over the names of its columns.
    if not isinstance(prompts, Iterable) or isinstance(prompts, bytes | Mapping) or hasattr(prompts, "columns"):
        refuse(
            "prompts",
            f"is a {type(prompts).__name__}: must be a list of texts or mappings, or a file's address",
            "Of a data frame pass .to_dict('records')",
        )
    return Source("prompts", "row", (record_of(number, item) for number, item in enumerate(prompts, 1)))


def _shown(address: str) -> str:
    """Return an address for messages, without its password and the values of its query."""
    try:
        parts = urlsplit(address) if "://" in address else None
    except ValueError:  # Not an address that anything could open.
        return address
    if parts is None or not (parts.password or parts.query):
        return address
    host = parts.netloc.replace(f":{parts.password}@", ":***@") if parts.password else parts.netloc
    query = "&".join(f"{name}=***" if value else name for name, value in _pairs(parts.query))
    return urlunsplit(parts._replace(netloc=host, query=query))


def _without_secrets(text: str, address: str) -> str:
    """Return a text of a library, which may repeat an address in several forms, for messages."""
    if (shown := _shown(address)) == address:
        return text
    parts = urlsplit(address)
    text = text.replace(address, shown)
    if parts.password:
        text = redact(text.replace(f":{parts.password}@", ":***@"), parts.password)
    for name, value in (*_pairs(parts.query), *parse_qsl(parts.query)):
        text = redact(text.replace(f"{name}={value}", f"{name}=***") if value else text, value)
    return text


def _pairs(query: str) -> list[tuple[str, str]]:
    """Return names and values of a query as they are written."""
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]


def _suffix(address: str) -> tuple[str, bool]:
    """Return the suffix that names the format of a file, and whether ``.gz`` follows it."""
    # The query of a web address is not part of the name.
    is_web = address.lower().startswith(("http://", "https://"))
    name = (re.split("[?#]", address)[0] if is_web else address).lower()
    bare = name.removesuffix(".gz")
    suffix = next((suffix for suffix in SUFFIXES if bare.endswith(suffix)), None)
    if suffix is None:
        *text_suffixes, parquet = SUFFIXES
        refuse(
            _shown(address),
            f"does not end in one of {', '.join(text_suffixes)} (each also with .gz after it), {parquet}",
            "A file needs its suffix; one prompt goes into a list; to a list that another task returned, pass its "
            ".output: a Jinja template gives only its text",
        )
    return suffix, bare != name


def _read_file(
    address: Any, suffix: str, aws_conn_id: str | None, known: Collection[str], *, must_be_gzip: bool
) -> Generator[Record]:
    name = _shown(str(address))
    with _opened(address, aws_conn_id) as file:
        start = file.read(len(_GZIP_MARK))
        file.seek(0)
        is_gzip = start == _GZIP_MARK
        if must_be_gzip and start and not is_gzip:
            refuse(name, "is not a complete gzip file, although it ends in .gz", "Name it after what it is")
        content = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzip else file
        try:
            yield from read_records(content, suffix, name, known)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            refuse(name, f"is not a complete gzip file ({error})", "Write it again")


@contextmanager
def _opened(address: Any, aws_conn_id: str | None) -> Iterator[IO[bytes]]:
    """Open a file, or a copy of a remote one, for reading; it can be rewound."""
    name = str(address)
    scheme, is_remote, _ = name.partition("://")
    with ExitStack() as files:
        try:
            if is_remote:
                file: IO[bytes] = files.enter_context(TemporaryFile())
                if scheme.lower() in _S3:
                    _download(name, file, _connection_of(address) or aws_conn_id)
                else:
                    with _open_path(_airflow_path(address)) as source:
                        shutil.copyfileobj(source, file)
                file.seek(0)
            else:
                file = files.enter_context(_open_path(Path(name)))
        except InvalidRequestError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the file system's library raises
            explained = _explained(error, name)
            # The library's error may repeat the secrets of the address.
            raise explained from (error if _without_secrets(str(error), name) == str(error) else None)
        yield file


def _explained(error: Exception, name: str) -> Exception:
    """Return the error of a file that could not be opened, without the secrets of its address."""
    scheme, is_remote, _ = name.partition("://")
    # ValueError: Airflow and fsspec do not know the scheme. ImportError: what they need for it is missing.
    if isinstance(error, ImportError) or (isinstance(error, ValueError) and "filesystem" in str(error)):
        text = (
            f"Cannot read {name:.200}: it needs a backend for {scheme}://, which is not installed on this worker "
            f"({error}). Nothing was submitted. Install the Airflow provider of that storage with its fsspec backend "
            "(gs:// needs gcsfs, https:// needs aiohttp, abfs:// needs adlfs), or copy the file to S3."
        )
        return InvalidRequestError(_without_secrets(text, name), field="prompts")
    is_missing = isinstance(error, FileNotFoundError) and not is_remote
    reason = "no such file on this worker" if is_missing else str(error)
    text = f"Could not read the dataset {name}: {reason}. Nothing was submitted or charged; a retry reads it again."
    return OSError(_without_secrets(text, name))


def _download(address: str, file: IO[bytes], aws_conn_id: str | None) -> None:
    """Copy an object with boto3, which is always installed; ``ObjectStoragePath`` would need s3fs."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from boto3.s3.transfer import TransferConfig
    from botocore.exceptions import ClientError

    host, _, key = address.partition("://")[2].partition("/")
    conn_id, _, bucket = host.rpartition("@")
    with closing(cast("S3Client", S3Hook(aws_conn_id=conn_id or aws_conn_id).get_conn())) as client:
        try:
            client.download_fileobj(bucket, key, file, Config=TransferConfig(use_threads=False))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey"}:
                with suppress(ClientError):  # The connection may not be allowed to list.
                    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{key}/", MaxKeys=100)
                    if below := listed.get("Contents"):
                        _refuse_folder(address, (item["Key"].removeprefix(f"{key}/") for item in below))
            raise


def _airflow_path(address: Any) -> Any:
    from airflow.sdk import ObjectStoragePath  # noqa: PLC0415 - most datasets do not need it

    return address if isinstance(address, ObjectStoragePath) else ObjectStoragePath(address)


def _open_path(path: Any) -> IO[bytes]:
    if path.is_dir():
        _refuse_folder(str(path), (item.name for item in path.iterdir()))
    file: IO[bytes] = path.open("rb")
    return file


def _refuse_folder(name: str, names: Iterable[str]) -> NoReturn:
    inside = next((inner for inner in names if inner.lower().endswith(SUFFIXES)), None)
    example = f", such as {inside}" if inside else ""
    refuse(
        _shown(name), "is a directory", f"Name one file in it{example}; several files are several tasks, or one list"
    )


def _connection_of(address: Any) -> str | None:
    """Return the connection of an ``ObjectStoragePath``, which Airflow 3.1 keeps among its options."""
    options: Mapping[str, Any] = getattr(address, "storage_options", {})
    conn_id: str | None = getattr(address, "conn_id", None) or options.get("conn_id")
    return conn_id
