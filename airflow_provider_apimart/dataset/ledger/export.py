"""
The pictures of a dataset in a local folder, with a table of their metadata, for machine learning.

The folder has the layout of Hugging Face's ``imagefolder``: ``metadata.jsonl`` or ``metadata.parquet``, whose column
``file_name`` names the pictures below ``images/``.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, read_entry
from airflow_provider_apimart.dataset.ledger.log import parse_entry
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.cost import share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["DatasetExport", "ExportFormat", "export_pictures"]

#: ``imagefolder`` writes ``metadata.jsonl``, ``parquet`` writes ``metadata.parquet``.
ExportFormat = Literal["imagefolder", "parquet"]

_IMAGES: Final = "images/"
_CHUNK: Final = 256 * 1024
_AT_ONCE: Final = 16


class DatasetExport(NamedTuple):
    """
    The result of an export.

    :param metadata: the file with the table.
    :param pictures: number of its lines.
    :param problems: the reason for each picture that has no line.
    """

    metadata: Path
    pictures: int
    problems: Sequence[str]


def export_pictures(
    store: LedgerStore,
    directory: Path,
    *,
    manifest: str = "",
    file_format: ExportFormat = "imagefolder",
    with_images: bool = True,
) -> DatasetExport:
    """
    Write a line for each picture of a dataset, and copy the pictures beside it.

    A file that exists with the size of its picture is not copied again. A picture that cannot be copied has no line.
    Columns that the operator's ``columns`` names follow ours and do not replace them, except ``prompt``: the ledger
    itself has only its first 4,000 characters.

    :param store: of the ledger.
    :param directory: created if it does not exist.
    :param manifest: name of a manifest within the ledger, such as ``manifests/5f0c.jsonl.gz``, to export only
        the pictures of its rows. Empty (default) for the newest pictures of every row that the ledger has.
    :param with_images: copy the pictures from S3; otherwise only the table is written.
    :raises InvalidRequestError: for a format that does not exist or needs pyarrow, which is not installed.
    :raises RecordUnavailableError: when the ledger cannot be read.
    :raises FileNotFoundError: when the manifest does not exist.
    """
    write = _writer_of(file_format)
    entries = _entries_of_manifest(store, manifest) if manifest else _newest_entries(store)
    records = [record for entry in entries for record in _records(entry)]
    directory.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    if with_images:
        (directory / _IMAGES).mkdir(exist_ok=True)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            outcomes = list(pool.map(partial(_copy, store, directory), records))
        problems = [problem for problem in outcomes if problem is not None]
        records = [record for record, problem in zip(records, outcomes, strict=True) if problem is None]
    names = dict.fromkeys(name for record in records for name in record.line)
    metadata = write(directory, [{name: record.line.get(name) for name in names} for record in records])
    return DatasetExport(metadata, len(records), problems)


class _Record(NamedTuple):
    """A line of the table, and the picture's object in the ledger."""

    line: dict[str, Any]
    held: Mapping[str, Any]


def _entries_of_manifest(store: LedgerStore, manifest: str) -> Iterator[Entry]:
    for number, line in enumerate(store.lines(manifest), 1):
        yield parse_entry(store, manifest, number, line)


def _newest_entries(store: LedgerStore) -> Iterator[Entry]:
    """Yield the newest purchase with pictures of each call, in the order of the rows."""
    newest: dict[bytes, int] = {}
    with closing(NewestLines()) as lines:
        for entry in read_entries(store):
            if entry.status is EntryStatus.COPIED:
                lines.add(entry.to_line())
                newest[entry.key] = max(entry.generation, newest.get(entry.key, 0))
        for entry in map(read_entry, lines.lines()):
            if entry.generation == newest[entry.key]:
                yield entry


def _records(entry: Entry) -> Iterator[_Record]:
    columns = entry.columns or {}
    for held in entry.objects:
        own = {
            "file_name": _IMAGES + held["uri"].rpartition("/")[2],
            "id": entry.id,
            "prompt": columns.get("prompt") or entry.prompt,
            "model": entry.model,
            "size": entry.size,
            "resolution": entry.resolution,
            "quality": entry.quality,
            "cost": share(entry.cost, len(entry.objects)),
            "width": held.get("width"),
            "height": held.get("height"),
            "uri": held["uri"],
        }
        yield _Record(own | {name: value for name, value in columns.items() if name not in own}, held)


def _copy(store: LedgerStore, directory: Path, record: _Record) -> str | None:
    """Copy a picture from S3 unless its file exists, and return the reason why it cannot be copied."""
    from botocore.exceptions import BotoCoreError, ClientError

    uri, path = record.held["uri"], directory / record.line["file_name"]
    if path.is_file() and path.stat().st_size == record.held.get("bytes"):
        return None
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    part = path.with_name(f"{path.name}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            for chunk in store.client.get_object(Bucket=bucket, Key=key, **store.read_args)["Body"].iter_chunks(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (BotoCoreError, ClientError) as error:
        part.unlink(missing_ok=True)
        return f"Could not copy {uri} of row {record.line['id']}: {error}. The table has no line for it."
    if digest.hexdigest() != record.held.get("sha256", digest.hexdigest()):
        part.unlink()
        return f"Could not copy {uri} of row {record.line['id']}: the content differs from the picture that was bought."
    part.replace(path)
    return None


def _write_lines(directory: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    path = directory / "metadata.jsonl"
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return path


def _write_parquet(directory: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: [line[name] for line in lines] for name in (lines[0] if lines else ())}
    path = directory / "metadata.parquet"
    parquet.write_table(pa.table({name: _arrow_column(values) for name, values in columns.items()}), path)
    return path


def _arrow_column(values: Sequence[Any]) -> Any:
    """Return values as a column of Arrow, in JSON where they are of several types."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([value if isinstance(value, str | None) else json.dumps(value) for value in values])


def _writer_of(file_format: str) -> Any:
    if file_format == "parquet":
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise InvalidRequestError(
                "Cannot export as Parquet: pyarrow is not installed. Nothing was written. Install it with: pip install "
                "'airflow-provider-apimart[parquet]'.",
                field="file_format",
                value=file_format,
            ) from error
        return _write_parquet
    if file_format not in get_args(ExportFormat):
        raise InvalidRequestError(
            f"file_format={file_format!r} does not exist. Nothing was written. Use one of "
            f"{', '.join(get_args(ExportFormat))}.",
            field="file_format",
            value=file_format,
        )
    return _write_lines
