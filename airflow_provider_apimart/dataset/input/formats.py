"""
The formats of a dataset's file: JSON lines, CSV with its separators, and Parquet, each read as a stream of records.

Memory does not grow with the length of the file. A record that cannot be read is reported, and reading continues after
it; a file that is broken as a whole, or is of another kind than its name says, is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUFFIXES", "Record", "read_records", "record_of", "refuse"]

#: Suffixes of the files that can be read. All but the last may also be compressed.
SUFFIXES: Final = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
#: The longer marks first, because the mark of UTF-32 begins with the mark of UTF-16.
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_SEPARATORS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
#: Characters of a cell. Reference images as data URIs are megabytes long.
_MAX_CELL: Final = 32 * 1024 * 1024
#: The first line by which a file tells Excel its separator.
_SEPARATOR_LINE: Final = re.compile(r"\"?sep=(?P<separator>[,;\t])\"?\s*", re.IGNORECASE)
_START_BYTES: Final = 512
_CHUNK: Final = 1024 * 1024
#: Records, and bytes of each column, that are in memory at a time.
_PARQUET_BATCH: Final = 256
_PARQUET_BUFFER: Final = 65_536
#: Columns in which pandas stores an index without a name.
_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__")
#: Kinds of files that are not datasets, by their first bytes (after decompression): name and advice.
_FOREIGN: Final = {
    b"PK\x03\x04": ("an Excel workbook or a zip archive", "Save the sheet as CSV UTF-8, or unpack it"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "Save the sheet as CSV UTF-8"),
    b"PAR1": ("a Parquet file", "Rename it to .parquet"),
    b"\x1f\x8b": ("compressed twice", "Unpack it once"),
    b"\x28\xb5\x2f\xfd": ("compressed with Zstandard", "Compress it with gzip, or not at all"),
    b"BZh": ("compressed with bzip2", "Compress it with gzip, or not at all"),
    b"\xfd7zXZ\x00": ("compressed with xz", "Compress it with gzip, or not at all"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "Unpack it"),
    b"Obj\x01": ("an Avro file", "Convert it to Parquet"),
    b"ORC": ("an ORC file", "Convert it to Parquet"),
    b"SQLite format 3": ("an SQLite database", "Export the table as CSV"),
    b"%PDF-": ("a PDF document", "Export the table as CSV"),
}
_MARKUP: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|head|body)\b", re.IGNORECASE)


class Record(NamedTuple):
    """
    A record of a dataset, not checked.

    :param number: the line on which it begins, header included; of a list or a Parquet file its place, from 1.
    :param fields: values by the names of their columns.
    :param problem: why the record cannot be read; empty if it can.
    """

    number: int
    fields: Mapping[str, Any]
    problem: str = ""


def record_of(number: int, item: Any) -> Record:
    """Return the record for an item of a list or a line of JSON. A bare text is a prompt."""
    if isinstance(item, str):
        return Record(number, {"prompt": item})
    if isinstance(item, Mapping):
        return Record(number, {str(name): value for name, value in item.items()})
    return _unreadable(number, f"is {item!r:.80}: must be a prompt, or an object with the columns' names")


def read_records(file: IO[bytes], suffix: str, name: str, known: Collection[str]) -> Iterator[Record]:
    """
    Yield the records of a file.

    :param suffix: one of :data:`SUFFIXES`.
    :param name: of the dataset in errors.
    :param known: columns that a dataset may have, which tell which separator a CSV file uses.
    :raises InvalidRequestError: for a file that is broken as a whole, or whose first bytes show another format.
    """
    start = file.read(_START_BYTES)
    file.seek(0)
    _require_format(start, suffix, name)
    if suffix == ".parquet":
        return _read_parquet(file, name)
    if suffix in {".csv", ".tsv"}:
        return _read_separated(file, name, known, "\t" if suffix == ".tsv" else ",")
    return _read_json_lines(file, name)


def _require_format(start: bytes, suffix: str, name: str) -> None:
    is_parquet = suffix == ".parquet"
    if is_parquet and start.startswith(b"PAR1"):
        return
    for mark, (kind, advice) in _FOREIGN.items():
        if start.startswith(mark):
            refuse(name, f"is {kind}", advice)
    if _MARKUP.match(start):
        refuse(name, "is an HTML or XML page", "Check the address: this may be a login or an error page")
    if not is_parquet and b"\0" in start[:2] and not _encoding_of(start):
        refuse(name, "is UTF-16 without a byte order mark, or not a text", "Convert it to UTF-8")


def _read_json_lines(file: IO[bytes], name: str) -> Iterator[Record]:
    is_first = True
    # Only "\n" ends a line: a JSON text may contain the other line ends that Python knows.
    for number, line in enumerate(_lines(file, name, newline="\n"), 1):
        text = line.strip()
        if not text:
            continue
        if is_first and text.startswith("["):
            refuse(name, "holds a JSON array, not an object on each line", "Convert it: jq -c '.[]' FILE > FILE.jsonl")
        if is_first and text == "{":
            refuse(name, "holds a JSON object over several lines", "Write each on one line: jq -c . FILE > FILE.jsonl")
        is_first = False
        try:
            item = _decode(text)
        except json.JSONDecodeError as error:
            yield _unreadable(number, f"is not JSON: {error.msg} at character {error.pos + 1}")
        except (ValueError, RecursionError) as error:
            yield _unreadable(number, f"is not JSON: {error}")
        else:
            yield Record(number, item) if type(item) is dict else record_of(number, item)


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it has {constant}; write null for a missing value")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _read_separated(file: IO[bytes], name: str, known: Collection[str], usual: str) -> Iterator[Record]:
    lines = _lines(file, name, newline="")
    offset, header = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    if declared := _SEPARATOR_LINE.fullmatch(header):
        offset, separator = offset + 1, declared["separator"]
    else:
        separator = _separator(header, name, known, usual)
        lines = chain([header], lines)
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    # Strict, because a quote that is not closed would otherwise make one prompt of all rows after it.
    reader = csv.reader(lines, delimiter=separator, strict=True)
    columns: list[str] = []
    while True:
        number = offset + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _csv_problem(name, number, offset + reader.line_num, str(error))
            if not columns:
                refuse(name, problem, "Correct the first line, which names the columns")
            yield _unreadable(number, problem)
            continue
        if not columns:
            columns = [cell.strip() for cell in cells]
            _require_distinct(columns, name)
        elif any(cells) or len(columns) == len(cells) == 1:
            excess = len(cells) - len(columns)
            # Spreadsheets write empty cells at the end of some rows.
            if excess == 0 or (excess > 0 and not any(cells[len(columns) :])):
                yield Record(number, dict(zip(columns, cells, strict=False)))
            else:
                hint = f"; {_SEPARATORS[separator]} within a text needs quotes around the text" if excess > 0 else ""
                yield _unreadable(number, f"has {len(cells)} cell(s) for {len(columns)} column(s){hint}")


def _separator(header: str, name: str, known: Collection[str], usual: str) -> str:
    """Return the only separator that splits the header into several columns, or into known ones."""
    columns: dict[str, list[str]] = {}
    for separator in _SEPARATORS:
        try:
            columns[separator] = [cell.strip() for cell in next(csv.reader([header], delimiter=separator, strict=True))]
        except (csv.Error, StopIteration):
            continue
    several = [separator for separator, names in columns.items() if len(names) > 1] or [usual]
    if len(several) > 1:
        several = [separator for separator in several if set(columns[separator]) <= {*known, ""}] or several
    if len(several) > 1:
        possible = " or ".join(_SEPARATORS[separator] for separator in several)
        advice = "Put quotes around names of columns with such characters"
        refuse(name, f"may have {possible} between its columns", advice)
    return several[0]


def _csv_problem(name: str, first: int, last: int, error: str) -> str:
    """Return what is wrong with the row on these lines. A quote that is never closed is wrong with the whole file."""
    if "unexpected end of data" in error or "field limit" in error:
        within = f" within {_MAX_CELL:,} characters" if "limit" in error else ""
        refuse(
            name,
            f"has a cell that begins on line {first} with a quote and does not end{within}",
            "Close the quote; a quote within a text is written twice, within quotes. Or the file was cut off",
        )
    lines = f" (lines {first} to {last})" if last > first else ""
    return f"is not CSV: {error}{lines}; a quote within a text is written twice, within quotes"


def _read_parquet(file: IO[bytes], name: str) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        refuse(name, "needs pyarrow to be read", "pip install 'airflow-provider-apimart[parquet]'")
    number = 0
    try:
        # With its default, pre_buffer=True, it would hold the whole file.
        table = ParquetFile(file, pre_buffer=False, buffer_size=_PARQUET_BUFFER, page_checksum_verification=True)
        names = [column for column in table.schema_arrow.names if not _PANDAS_INDEX.fullmatch(column)]
        _require_distinct(names, name)
        for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=names, use_threads=False):
            columns = [_without_nanoseconds(column) for column in batch.columns]
            try:
                rows = zip(*(column.to_pylist() for column in columns), strict=True)
                records = [
                    Record(number + place, dict(zip(names, row, strict=True))) for place, row in enumerate(rows, 1)
                ]
            except (ArrowException, ValueError, OverflowError):
                records = [_arrow_record(number + 1 + place, names, columns, place) for place in range(len(batch))]
            for record in records:
                number = record.number
                yield record
    except (ArrowException, OSError) as error:
        after = f", after row {number}" if number else ""
        refuse(name, f"is not a complete Parquet file{after} ({error})", "Write it again")


def _arrow_record(number: int, names: Sequence[str], columns: Sequence[Any], place: int) -> Record:
    """Return one record of a batch in which some value has no form in Python."""
    from pyarrow import ArrowException

    fields = {}
    for name, column in zip(names, columns, strict=True):
        try:
            fields[name] = column[place].as_py()
        except (ArrowException, ValueError, OverflowError) as error:
            problem = f"is not UTF-8 ({error})" if isinstance(error, UnicodeDecodeError) else f"has no value: {error}"
            return _unreadable(number, f"{name} {problem}; must be {column.type} that Python can read")
    return Record(number, fields)


def _without_nanoseconds(values: Any) -> Any:
    """Return timestamps and times in microseconds, or as text where that would change them."""
    from pyarrow import ArrowInvalid, string, time64, timestamp, types

    kind = values.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        target = timestamp("us", kind.tz)
    elif types.is_time64(kind) and kind.unit == "ns":
        target = time64("us")
    else:
        return values
    try:
        return values.cast(target)
    except ArrowInvalid:
        return values.cast(string())


def _lines(file: IO[bytes], name: str, *, newline: str) -> Iterator[str]:
    encoding = _encoding_of(file.read(4)) or "utf-8"
    file.seek(0)
    with io.TextIOWrapper(file, encoding, newline=newline) as text:
        try:
            yield from text
        except UnicodeDecodeError as error:
            # The decoder is ahead of the lines that were read, so they have to be counted again.
            position = file.tell() - len(error.object) + error.start
            file.seek(0)
            chunks = (file.read(min(_CHUNK, position - start)) for start in range(0, position, _CHUNK))
            line = 1 + sum(chunk.count(b"\n") for chunk in chunks)
            reason = f"byte {position}: 0x{error.object[error.start]:02x}, {error.reason}"
            is_utf_8 = encoding.startswith("utf-8")
            refuse(
                name,
                f"is not {encoding.removesuffix('-sig').upper()}, on line {line} ({reason})",
                "Save it as CSV UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE"
                if is_utf_8
                else "Convert it to UTF-8",
            )


def _encoding_of(start: bytes) -> str | None:
    """Return the encoding of a file with a byte order mark."""
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)


def _require_distinct(columns: Sequence[str], name: str) -> None:
    """Refuse columns without a name, or with the name of another one."""
    if "" in columns:
        refuse(
            name,
            f"has no name for its column {columns.index('') + 1}",
            "Name it, or leave it out (pandas writes such a column unless index=False)",
        )
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        advice = "Give each a name of its own"
        refuse(name, f"has several columns called {', '.join(map(repr, repeated))}", advice)


def _unreadable(number: int, problem: str) -> Record:
    return Record(number, {}, problem)


def refuse(name: str, reason: str, advice: str) -> NoReturn:
    """
    Refuse a dataset as a whole.

    :param name: of the dataset.
    :param reason: a verb and what follows, such as ``is a directory``.
    :param advice: what to do next, without the full stop.
    :raises InvalidRequestError: always.
    """
    raise InvalidRequestError(
        f"Cannot read the dataset {name:.200}: it {reason}. Nothing was submitted or charged. {advice}.",
        field="prompts",
        value=name,
    )
