"""
The stored rows of a task instance, which are checked once and then only read.

Memory holds the key of each row. The rows are lines of JSON in gzip members of at most 500 rows, in a temporary file or
in S3, from which one member is read by its range of bytes.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.row import KEY_BYTES, call_key, row_of
from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.dataset.row import Row

__all__ = ["Input", "InputWriter", "InvalidRow", "Pictures", "delete_input", "empty_input", "row_line"]

_VERSION: Final = 1
_FOLDER: Final = "inputs/"
#: A member ends with this row, or with this many bytes of text: a row may hold pictures as data URIs.
_MEMBER_ROWS: Final = 500
_MEMBER_BYTES: Final = 1024 * 1024
#: Members that are kept in memory. Rows are read in order, except those of a retry.
_CACHED_MEMBERS: Final = 3
_ROW: Final = struct.Struct(f">{KEY_BYTES}sH")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

#: The number of pictures of a row, and how many the gateway delivers in one task (``None`` if that is not known).
Pictures = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """
    A row that cannot be bought.

    :param where: its place in the dataset, such as ``line 3``.
    :param id: the dataset's own id, or ``None`` if it has none that can be read.
    """

    where: str
    id: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where}{'' if self.id is None else f' ({self.id})'}: {'; '.join(self.reasons)}"


@dataclass
class Input:
    """
    The checked rows of a task's shard, in the order of the dataset. Usable from several threads. Close it after use.

    :func:`~airflow_provider_apimart.dataset.input.read_dataset` or :meth:`load` makes one.

    :param left_out: number of rows of this shard beyond the limit.
    :param invalid: number of rows of all shards that are skipped, because they are invalid or suspicious.
    :param listed: the first invalid rows, at most 50.
    :param notices: complete sentences for the log, each a warning.
    """

    left_out: int
    invalid: int
    listed: Sequence[InvalidRow]
    notices: Sequence[str]
    #: For each row its key, and the place of its ``Pictures`` among all that occur.
    _rows: bytes
    _pictures: list[Pictures]
    #: Rows and bytes of each member.
    _members: list[tuple[int, int]]
    #: Returns the stored rows from one byte to before another.
    _fetch: Callable[[int, int], bytes]
    #: The temporary file with the rows; ``None`` if they are in S3.
    _file: IO[bytes] | None = None

    def __post_init__(self) -> None:
        self._first_rows = [0, *accumulate(rows for rows, _ in self._members)]
        self._first_bytes = [0, *accumulate(size for _, size in self._members)]
        self._lines = functools.lru_cache(_CACHED_MEMBERS)(self._read_member)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def row_keys(self) -> Iterator[bytes]:
        """Yield the key of each row's first call."""
        return (key for key, _ in _ROW.iter_unpack(self._rows))

    def n(self, place: int) -> int:
        """Return the number of pictures of a row."""
        return self._pictures_of(place)[0]

    def images_per_task(self, place: int) -> int | None:
        """Return how many pictures of a row the gateway delivers in one task; ``None`` if that is not known."""
        return self._pictures_of(place)[1]

    def row(self, place: int) -> Row:
        """
        Return a row.

        :param place: among the rows of this input, from 0.
        :raises IndexError: for a place beyond the end.
        :raises RecordUnavailableError: when the stored rows cannot be read, or belong to another input.
        """
        if not 0 <= place < len(self):
            raise IndexError(place)
        member = bisect_right(self._first_rows, place) - 1
        row = _row_of_line(self._lines(member)[place - self._first_rows[member]])
        if call_key(row.fingerprint, row.id, 0) != _ROW.unpack_from(self._rows, place * _ROW.size)[0]:
            raise _unavailable(f"are not its own (row {row.number}): another run of the task has replaced them")
        return row

    def save(self, store: LedgerStore, name: str) -> None:
        """
        Store the input beside the ledger, the rows first, so that there are no keys without their rows.

        :param name: identifies the task instance. A later try replaces the input of a previous one.
        :raises RecordUnavailableError: when the store may not have stored it.
        """
        if self._file is None:
            raise ValueError("The rows of this input are in S3 already.")
        header = {
            "schema_version": _VERSION,
            "left_out": self.left_out,
            "invalid": self.invalid,
            "listed": [[row.where, row.id, row.reasons] for row in self.listed],
            "notices": self.notices,
            "pictures": self._pictures,
            "members": self._members,
        }
        self._file.seek(0)
        store.put(_rows_name(name), self._file)
        # A low level, because keys are digests, which cannot be compressed.
        store.put(_keys_name(name), gzip.compress(json.dumps(header).encode() + b"\n" + self._rows, 1, mtime=0))

    @classmethod
    def load(cls, store: LedgerStore, name: str) -> Input:
        """
        Return the input that :meth:`save` has stored. Its rows are read when they are needed.

        :raises FileNotFoundError: when there is none.
        :raises RecordUnavailableError: when it cannot be read.
        """

        def fetch(start: int, end: int) -> bytes:
            try:
                return store.get(_rows_name(name), start=start, end=end).body
            except FileNotFoundError as error:
                raise _unavailable(f"are gone: {error}") from error

        stored = store.get(_keys_name(name)).body
        try:
            line, _, packed = gzip.decompress(stored).partition(b"\n")
            header: dict[str, Any] = json.loads(line)
            if header["schema_version"] != _VERSION:
                raise ValueError(f"schema_version is {header['schema_version']!r}")  # noqa: TRY301 - one message for all
            rows = Input(
                left_out=header["left_out"],
                invalid=header["invalid"],
                listed=[InvalidRow(where, row_id, tuple(reasons)) for where, row_id, reasons in header["listed"]],
                notices=header["notices"],
                _rows=packed,
                _pictures=[(n, images_per_task) for n, images_per_task in header["pictures"]],
                _members=[(rows, size) for rows, size in header["members"]],
                _fetch=fetch,
            )
            count = sum(rows for rows, _ in header["members"])
            if len(packed) != count * _ROW.size:
                raise ValueError(f"it should hold {count} rows")  # noqa: TRY301
        except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error) as error:
            raise _unavailable(f"cannot be read by this release ({_keys_name(name)}: {error})") from error
        return rows

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()

    def _pictures_of(self, place: int) -> Pictures:
        kind: int = _ROW.unpack_from(self._rows, place * _ROW.size)[1]
        return self._pictures[kind]

    def _read_member(self, member: int) -> list[bytes]:
        data = self._fetch(self._first_bytes[member], self._first_bytes[member + 1])
        try:
            return gzip.decompress(data).split(b"\n")
        except (EOFError, OSError, zlib.error) as error:
            raise _unavailable(f"cannot be read: {error}") from error


class InputWriter:
    """
    A writer that makes an :class:`Input` of checked rows.

    :param file: a temporary file, which the input owns after :meth:`finish`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = bytearray()
        self._pictures: dict[Pictures, int] = {}
        self._members: list[tuple[int, int]] = []
        self._lines: list[bytes] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def add(self, key: bytes, line: bytes, pictures: Pictures) -> None:
        """
        Add a row.

        :param key: of its first call, which no other row has.
        :param line: of :func:`row_line`.
        """
        self._lines.append(line)
        self._size += len(line)
        self._rows += _ROW.pack(key, self._pictures.setdefault(pictures, len(self._pictures)))
        if len(self._lines) == _MEMBER_ROWS or self._size >= _MEMBER_BYTES:
            self._end_member()

    def finish(
        self, left_out: int = 0, invalid: int = 0, listed: Sequence[InvalidRow] = (), notices: Sequence[str] = ()
    ) -> Input:
        """Return the input; the parameters are those of :class:`Input`."""
        self._end_member()
        self._file.flush()
        descriptor = self._file.fileno()
        return Input(
            left_out,
            invalid,
            listed,
            notices,
            bytes(self._rows),
            list(self._pictures),
            self._members,
            lambda start, end: os.pread(descriptor, end - start, start),
            self._file,
        )

    def _end_member(self) -> None:
        if self._lines:
            data = gzip.compress(b"\n".join(self._lines), compresslevel=6, mtime=0)
            self._file.write(data)
            self._members.append((len(self._lines), len(data)))
            self._lines, self._size = [], 0


def row_line(number: int, own_id: str | None, prompt: str, fields: str, columns: Mapping[str, Any]) -> bytes:
    """
    Return a row as a line of JSON, without its end.

    :param fields: JSON of the other fields of the request.
    """
    named = "null" if own_id is None else _encode(own_id)
    more = _encode(columns) if columns else "{}"
    # A column may hold half of a surrogate pair.
    return f"[{number},{named},{_encode(prompt)},{fields},{more}]".encode(errors="surrogatepass")


def _row_of_line(line: bytes) -> Row:
    """Return the row of a line. Its fingerprint is computed again."""
    number, own_id, prompt, fields, columns = json.loads(line)
    return row_of(number, own_id, ImageRequest.from_json({**fields, "prompt": prompt}), columns)


def empty_input() -> Input:
    """Return an input without rows."""
    return InputWriter(TemporaryFile()).finish()


def delete_input(store: LedgerStore, name: str) -> None:
    """
    Delete a stored input.

    :raises RecordUnavailableError: when the store refuses.
    """
    store.delete([_keys_name(name), _rows_name(name)])


def _unavailable(reason: str) -> RecordUnavailableError:
    return RecordUnavailableError(
        f"The stored rows of this task {reason}. Nothing was submitted for them. Retry the task, or clear it to read "
        "the dataset again."
    )


def _keys_name(name: str) -> str:
    return f"{_FOLDER}{name}.keys.gz"


def _rows_name(name: str) -> str:
    return f"{_FOLDER}{name}.jsonl.gz"
