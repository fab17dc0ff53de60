"""
The formats of a dataset's file: JSON lines, CSV with its separators, and Parquet, each read as a stream of records.

The memory that a file takes does not grow with its length. A place in it that cannot be read is reported, and reading
continues after it; a file that is broken as a whole, or is of another kind than its name says, is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from airflow_provider_apimart.dataset.input.rows import Record, Unreadable
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["READERS", "ForeignFormat", "foreign_format", "record_of", "refuse"]

#: The longer marks first: that of UTF-16 is how that of UTF-32 begins.
_BYTE_ORDER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
_SEPARATORS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
#: Characters of a cell: reference images as data URIs are megabytes.
_MAX_CELL: Final = 32 * 1024 * 1024
#: The line by which Excel is told the separator.
_SEPARATOR_LINE: Final = re.compile(r"\"?sep=(?P<separator>[,;\t])\"?\s*", re.IGNORECASE)
#: Records, and bytes of each column, that are held at a time.
_PARQUET_BATCH: Final = 256
_PARQUET_BUFFER: Final = 65_536
#: Columns that pandas makes of an index without a name.
_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__")


class ForeignFormat(NamedTuple):
    """A kind of file that is not a dataset, and what to do with it."""

    what: str
    advice: str


_FOREIGN: Final = {
    b"PK\x03\x04": ForeignFormat("an Excel workbook or a zip archive", "Save the sheet as CSV UTF-8, or unpack it"),
    b"\xd0\xcf\x11\xe0": ForeignFormat("an old Excel workbook", "Save the sheet as CSV UTF-8"),
    b"PAR1": ForeignFormat("a Parquet file", "Rename it to .parquet"),
    # After the first layer was taken off.
    b"\x1f\x8b": ForeignFormat("compressed twice", "Unpack it once"),
    b"\x28\xb5\x2f\xfd": ForeignFormat("compressed with Zstandard", "Compress it with gzip, or not at all"),
    b"BZh": ForeignFormat("compressed with bzip2", "Compress it with gzip, or not at all"),
    b"\xfd7zXZ\x00": ForeignFormat("compressed with xz", "Compress it with gzip, or not at all"),
    b"7z\xbc\xaf\x27\x1c": ForeignFormat("a 7z archive", "Unpack it"),
    b"Obj\x01": ForeignFormat("an Avro file", "Convert it to Parquet"),
    b"ORC": ForeignFormat("an ORC file", "Convert it to Parquet"),
    b"SQLite format 3": ForeignFormat("an SQLite database", "Export the table as CSV"),
    b"%PDF-": ForeignFormat("a PDF document", "Export the table as CSV"),
}
_MARKUP: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|\?xml|head|body)\b", re.IGNORECASE)


def foreign_format(start: bytes, suffix: str) -> ForeignFormat | None:
    """
    Return the kind of a file that is not what its name says, ``None`` where its first bytes do not tell.

    :param start: its first bytes.
    :param suffix: that of the format that its name says.
    """
    if suffix == ".parquet" and start.startswith(b"PAR1"):
        return None
    for mark, found in _FOREIGN.items():
        if start.startswith(mark):
            return found
    if _MARKUP.match(start):
        return ForeignFormat("an HTML or XML page", "Check the address: this may be a login or an error page")
    if suffix != ".parquet" and b"\0" in start[:2] and not _mark_of(start):
        return ForeignFormat("UTF-16 without a byte order mark, or not a text", "Convert it to UTF-8")
    return None


def _read_json_lines(file: IO[bytes], name: str, known: Collection[str]) -> Iterator[Record | Unreadable]:
    del known
    is_first = True
    # JSON itself may hold the other ends of a line that Python knows.
    for number, line in enumerate(_lines(file, name, newline="\n"), 1):
        text = line.strip()
        if not text:
            continue
        if is_first and text.startswith("["):
            refuse(name, "holds a JSON array, not an object on each line", "Convert it: jq -c '.[]' FILE > FILE.jsonl")
        if is_first and text == "{":
            refuse(name, "holds a JSON object over several lines", "Write each on one line: jq -c . FILE > FILE.jsonl")
        is_first = False
        yield _json_record(number, text)


def _json_record(number: int, text: str) -> Record | Unreadable:
    try:
        item = _decode(text)
    except json.JSONDecodeError as error:
        return Unreadable(number, f"is not JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return Unreadable(number, f"is not JSON: {error}")
    return record_of(number, item)


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"it has {name}; write null for a missing value")


_decode = json.JSONDecoder(parse_constant=_not_json).decode


def _read_csv(file: IO[bytes], name: str, known: Collection[str]) -> Iterator[Record | Unreadable]:
    return _read_separated(file, name, known, ",")


def _read_tsv(file: IO[bytes], name: str, known: Collection[str]) -> Iterator[Record | Unreadable]:
    return _read_separated(file, name, known, "\t")


def _read_separated(file: IO[bytes], name: str, known: Collection[str], usual: str) -> Iterator[Record | Unreadable]:
    lines = _lines(file, name, newline="")
    before, header = _header(lines)
    if header is None:
        return
    separator = _SEPARATOR_LINE.fullmatch(header)
    if separator:
        usual, offset = separator["separator"], before + 1
    else:
        usual, offset = _separator(header, name, known, usual), before
        lines = chain([header], lines)
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    # Strict: a quote that is not closed would else make one prompt of all rows after it.
    reader = csv.reader(lines, delimiter=usual, strict=True)
    columns: list[str] = []
    while True:
        number = offset + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = _csv_reason(name, number, offset + reader.line_num, error)
            if not columns:
                refuse(name, reason, "Correct the first line, which names the columns")
            yield Unreadable(number, reason)
            continue
        if not columns:
            columns = _distinct([cell.strip() for cell in cells], name) if cells else []
        elif any(cells) or len(columns) == len(cells) == 1:
            yield _separated_record(number, cells, columns, usual)


def _separated_record(number: int, cells: list[str], columns: list[str], separator: str) -> Record | Unreadable:
    excess = len(cells) - len(columns)
    # Spreadsheets write empty cells at the end of some rows.
    if excess == 0 or (excess > 0 and not any(cells[len(columns) :])):
        return Record(number, dict(zip(columns, cells, strict=False)))
    hint = f"; {_SEPARATORS[separator]} within a text needs quotes around the text" if excess > 0 else ""
    return Unreadable(number, f"has {len(cells)} cell(s) for {len(columns)} column(s){hint}")


def _header(lines: Iterator[str]) -> tuple[int, str | None]:
    """Return the number of empty lines at the beginning, and the first line that is not."""
    for before, line in enumerate(lines):
        if line.strip():
            return before, line
    return 0, None


def _separator(header: str, name: str, known: Collection[str], usual: str) -> str:
    """Return the one separator that makes several columns, or known ones, of the first line."""
    columns: dict[str, list[str]] = {}
    for separator in _SEPARATORS:
        try:
            columns[separator] = [cell.strip() for cell in next(csv.reader([header], delimiter=separator, strict=True))]
        except (csv.Error, StopIteration):
            continue
    several = [separator for separator, names in columns.items() if len(names) > 1] or [usual]
    if len(several) > 1:
        several = [separator for separator in several if set(columns[separator]) <= {*known, ""}] or several
    if len(several) == 1:
        return several[0]
    possible = " or ".join(_SEPARATORS[separator] for separator in several)
    return refuse(
        name, f"may have {possible} between its columns", "Put quotes around names of columns with such characters"
    )


def _csv_reason(name: str, first: int, last: int, error: csv.Error) -> str:
    """Return what is wrong with the rows on these lines; a quote that is never closed is wrong with all of them."""
    text = str(error)
    if "unexpected end of data" in text or "field limit" in text:
        refuse(
            name,
            f"has a cell that begins on line {first} with a quote and does not end"
            + (f" within {_MAX_CELL:,} characters" if "limit" in text else ""),
            "Close the quote; a quote within a text is written twice, within quotes. Or the file was cut off",
        )
    lines = f" (lines {first} to {last})" if last > first else ""
    return f"is not CSV: {text}{lines}; a quote within a text is written twice, within quotes"


def _read_parquet(file: IO[bytes], name: str, known: Collection[str]) -> Iterator[Record | Unreadable]:
    del known
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        refuse(name, "needs pyarrow to be read", "pip install 'airflow-provider-apimart[parquet]'")
    number = 0
    try:
        # Buffered ahead, as is its default, it would hold the whole file.
        table = ParquetFile(file, pre_buffer=False, buffer_size=_PARQUET_BUFFER, page_checksum_verification=True)
        names = [column for column in table.schema_arrow.names if not _PANDAS_INDEX.fullmatch(column)]
        _distinct(names, name)
        for batch in table.iter_batches(batch_size=_PARQUET_BATCH, columns=names, use_threads=False):
            for item in _arrow_records(batch, names, number):
                number += 1
                yield item
    except (ArrowException, OSError) as error:
        after = f", after row {number}" if number else ""
        refuse(name, f"is not a complete Parquet file{after} ({error})", "Write it again")


def _arrow_records(batch: Any, names: Sequence[str], before: int) -> Iterator[Record | Unreadable]:
    """Yield the records of a batch; a value that Python cannot hold makes its record unreadable, not the file."""
    columns, wrong = [], dict[int, str]()
    for column, values in zip(names, batch.columns, strict=True):
        columns.append(_arrow_values(column, values, wrong))
    for place, cells in enumerate(zip(*columns, strict=True)):
        number = before + place + 1
        if place in wrong:
            yield Unreadable(number, wrong[place])
        else:
            yield Record(number, dict(zip(names, cells, strict=True)))


def _arrow_values(column: str, values: Any, wrong: dict[int, str]) -> list[Any]:
    """
    Return the values of a column of Arrow as Python has them.

    :param wrong: where to name the values that have no such form, by their places.
    """
    from pyarrow import ArrowException

    try:
        values = _without_nanoseconds(values)
        found: list[Any] = values.to_pylist()
    except (ArrowException, ValueError, OverflowError):
        found = []
        for place, value in enumerate(values):
            try:
                found.append(value.as_py())
            except (ArrowException, ValueError, OverflowError) as error:
                found.append(None)
                reason = (
                    f"is not UTF-8 ({error})" if isinstance(error, UnicodeDecodeError) else f"has no value: {error}"
                )
                wrong.setdefault(place, f"{column} {reason}; must be {values.type} that Python can read")
    return found


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


#: By suffix. Text formats may also be compressed.
READERS: Final[Mapping[str, Callable[[IO[bytes], str, Collection[str]], Iterator[Record | Unreadable]]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
}


def _lines(file: IO[bytes], name: str, *, newline: str) -> Iterator[str]:
    start = file.read(4)
    file.seek(0)
    encoding = _mark_of(start) or "utf-8"
    with io.TextIOWrapper(file, encoding, newline=newline) as text:
        try:
            yield from text
        except UnicodeDecodeError as error:
            position = file.tell() - len(error.object) + error.start
            byte = f"0x{error.object[error.start]:02x}"
            _refuse_encoding(file, name, encoding, position, f"{byte}, {error.reason}")


def _mark_of(start: bytes) -> str | None:
    return next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)


def _refuse_encoding(file: IO[bytes], name: str, encoding: str, position: int, byte: str) -> NoReturn:
    file.seek(0)
    line, left = 1, position
    while left > 0 and (chunk := file.read(min(left, 1024 * 1024))):
        line += chunk.count(b"\n")
        left -= len(chunk)
    hint = (
        "Save it as CSV UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE"
        if encoding.startswith("utf-8")
        else "Convert it to UTF-8"
    )
    refuse(name, f"is not {encoding.removesuffix('-sig').upper()}, on line {line} (byte {position}: {byte})", hint)


def record_of(number: int, item: Any) -> Record | Unreadable:
    """Return the record that one item of a list, or one line of JSON, stands for. A bare text is a prompt."""
    if isinstance(item, str):
        return Record(number, {"prompt": item})
    if type(item) is dict and all(type(name) is str for name in item):
        return Record(number, item)
    if isinstance(item, Mapping):
        return Record(number, {str(name): value for name, value in item.items()})
    return Unreadable(number, f"is {item!r:.80}: must be a prompt, or an object with the columns' names")


def _distinct(columns: Sequence[str], name: str) -> list[str]:
    """Return the columns if each has a name of its own."""
    if "" in columns:
        refuse(
            name,
            f"has no name for its column {columns.index('') + 1}",
            "Name it, or leave it out (pandas writes such a column unless index=False)",
        )
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        refuse(name, f"has several columns called {', '.join(map(repr, twice))}", "Give each a name of its own")
    return list(columns)


def refuse(name: str, reason: str, advice: str) -> NoReturn:
    """
    Refuse a dataset as a whole.

    :param name: of the dataset.
    :param reason: a verb and what follows, such as ``is a directory``.
    :param advice: a sentence without its end: what to do next.
    :raises InvalidRequestError: always.
    """
    raise InvalidRequestError(
        f"Cannot read the dataset {name:.200}: it {reason}. Nothing was submitted or charged. {advice}.",
        field="prompts",
        value=name,
    )
