"""
Records out of an open file of JSON lines, CSV or Parquet, as a stream.

What a file costs in memory does not grow with its length. A place in it that cannot be read is reported, and reading
goes on after it; a file that is broken as a whole is an error.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from airflow_provider_apimart.dataset.row import Record, Unreadable
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["READERS", "record_of", "refuse"]

#: Records, and bytes of each column, that are held at a time.
_PARQUET_BATCH: Final = 256
_PARQUET_BUFFER: Final = 65_536
#: The longer marks first: that of UTF-16 is how that of UTF-32 begins.
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def _read_json_lines(file: IO[bytes], address: str) -> Iterator[Record | Unreadable]:
    # JSON itself may hold the other ends of a line that Python knows.
    for number, line in enumerate(_lines(file, address, newline="\n"), 1):
        if line.strip():
            yield _json_record(number, line)


def _json_record(number: int, line: str) -> Record | Unreadable:
    try:
        item = json.loads(line.rstrip(), parse_constant=_no_json)
    except json.JSONDecodeError as error:
        return Unreadable(number, f"is no JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return Unreadable(number, f"is no JSON: {error}")
    return record_of(number, item)


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"it has no {name}")


def _read_csv(file: IO[bytes], address: str) -> Iterator[Record | Unreadable]:
    # Strict: a quote that is not closed would else make one prompt of all rows after it.
    reader = csv.reader(_lines(file, address, newline=""), strict=True)
    columns: list[str] = []
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"is no CSV: {error}; a quote within a text is written twice, within quotes"
            if not columns:
                refuse(address, reason)
            yield Unreadable(number, reason)
            continue
        if not cells:
            continue
        if not columns:
            columns = _distinct([cell.strip() for cell in cells], address)
        elif len(cells) == len(columns):
            yield Record(number, dict(zip(columns, cells, strict=True)))
        else:
            hint = "; a comma within a text needs quotes around the text" if len(cells) > len(columns) else ""
            yield Unreadable(number, f"has {len(cells)} cells for {len(columns)} columns{hint}")


def _read_parquet(file: IO[bytes], address: str) -> Iterator[Record | Unreadable]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        refuse(address, "needs pyarrow to be read: pip install 'airflow-provider-apimart[parquet]'")
    try:
        # Buffered ahead, as is its default, it would hold the whole file.
        table = ParquetFile(file, pre_buffer=False, buffer_size=_PARQUET_BUFFER)
    except ArrowInvalid as error:
        refuse(address, f"is no Parquet file ({error})")
    _distinct(table.schema_arrow.names, address)
    number = 0
    for batch in table.iter_batches(batch_size=_PARQUET_BATCH, use_threads=False):
        for fields in batch.to_pylist():
            number += 1
            yield Record(number, fields)


#: By suffix.
READERS: Final[dict[str, Callable[[IO[bytes], str], Iterator[Record | Unreadable]]]] = {
    ".jsonl": _read_json_lines,
    ".jsonl.gz": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".ndjson.gz": _read_json_lines,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".parquet": _read_parquet,
}


def _lines(file: IO[bytes], address: str, *, newline: str) -> Iterator[str]:
    start = file.read(4)
    file.seek(0)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
    with io.TextIOWrapper(file, encoding, newline=newline) as text:
        try:
            yield from text
        except UnicodeDecodeError as error:
            position = file.tell() - len(error.object) + error.start
            found = f"0x{error.object[error.start]:02x} at byte {position}"
            refuse(address, f"is not {encoding.upper()}: {found} ({error.reason}). Convert it to UTF-8")


def record_of(number: int, item: Any) -> Record | Unreadable:
    """Return the record that one item of a list, or one line of JSON, stands for. A bare text is a prompt."""
    if isinstance(item, str):
        return Record(number, {"prompt": item})
    if isinstance(item, Mapping):
        return Record(number, {str(name): value for name, value in item.items()})
    return Unreadable(number, f"is {item!r:.80}: must be a prompt, or an object with the columns' names")


def _distinct(columns: Sequence[str], address: str) -> list[str]:
    """Return the columns if each has a name of its own."""
    if "" in columns:
        refuse(address, f"has no name for its column {columns.index('') + 1} (pandas writes such without index=False)")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        refuse(address, f"has several columns called {', '.join(map(repr, twice))}")
    return list(columns)


def refuse(prompts: Any, reason: str) -> NoReturn:
    """
    Refuse a dataset as a whole.

    :raises InvalidRequestError: always.
    """
    raise InvalidRequestError(
        f"prompts={str(prompts)!r:.200} {reason}. Nothing was sent.", field="prompts", value=prompts
    )
