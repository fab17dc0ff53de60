"""
The fixed input of a task instance: its rows are checked once, stored, and then only read.

Memory holds the key of each row. The rows are lines of JSON in gzip members of at most 500 rows, in a temporary file or
in S3, from which a member is read by its range of bytes.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import accumulate
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Final, Self

from airflow_provider_apimart.dataset.input.rows import InvalidRow, row_from_line
from airflow_provider_apimart.dataset.row import KEY_BYTES, call_key
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_apimart.dataset.input.rows import CheckedRow, RequestTemplate
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.dataset.row import Kind, Row

__all__ = ["Input", "InputWriter", "delete_input", "empty_input"]

_VERSION: Final = 1
_FOLDER: Final = "inputs/"
#: A member ends with this row, or this many bytes of text: a row may hold pictures as data URIs.
_MEMBER_ROWS: Final = 500
_MEMBER_BYTES: Final = 1024 * 1024
#: Members that are held in memory: rows are read in order, except those of a retry.
_CACHED_MEMBERS: Final = 3


@dataclass(frozen=True, slots=True)
class InputFacts:
    """
    The facts about a whole dataset.

    :param total: rows of all shards that may be bought.
    :param left_out: rows of this shard beyond the limit.
    :param invalid: rows of all shards that cannot be bought and are skipped.
    :param suspicious: rows of all shards whose prompt looks like a mistake; they are bought unless skipped.
    :param listed: the first invalid rows.
    :param notices: complete sentences for the log.
    """

    total: int = 0
    left_out: int = 0
    invalid: int = 0
    suspicious: int = 0
    listed: tuple[InvalidRow, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Members:
    """
    The members of the stored rows.

    :param rows: number of rows of each.
    :param sizes: bytes of each.
    """

    rows: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


class Input:
    """
    The rows of a task's shard, checked, in the order of the dataset. Usable from several threads.

    :func:`~airflow_provider_apimart.dataset.input.read_dataset` or :meth:`load` makes one. Close it after use.

    :param facts: about the whole dataset.
    :param keys: of all rows, one after the other.
    :param kinds: the properties that rows share, each a price kind and the number of pictures in one gateway task.
    :param kind_places: of each row, its place in ``kinds``.
    :param fetch: returns the stored rows from one byte to before another.
    :param file: the temporary file with the rows; ``None`` where they are in S3.
    """

    def __init__(
        self,
        facts: InputFacts,
        *,
        keys: bytes,
        kinds: list[tuple[Kind, int | None]],
        kind_places: array[int],
        members: _Members,
        fetch: Callable[[int, int], bytes],
        file: IO[bytes] | None = None,
    ) -> None:
        self.facts = facts
        self._keys = keys
        self._kinds = kinds
        self._kind_places = kind_places
        self._members = members
        self._fetch = fetch
        self._file = file
        self._first_rows = [0, *accumulate(members.rows)]
        self._first_bytes = [0, *accumulate(members.sizes)]
        self._cached: OrderedDict[int, list[bytes]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kind_places)

    @property
    def total(self) -> int:
        """The number of rows of all shards that may be bought."""
        return self.facts.total

    @property
    def left_out(self) -> int:
        """The number of rows of this shard beyond the limit."""
        return self.facts.left_out

    @property
    def invalid(self) -> int:
        """The number of rows of all shards that cannot be bought and are skipped."""
        return self.facts.invalid

    @property
    def suspicious(self) -> int:
        """The number of rows of all shards whose prompt looks like a mistake, whether skipped or not."""
        return self.facts.suspicious

    @property
    def listed(self) -> tuple[InvalidRow, ...]:
        """The first invalid rows, at most 50."""
        return self.facts.listed

    @property
    def notices(self) -> tuple[str, ...]:
        """Complete sentences for the log, each a warning."""
        return self.facts.notices

    def row_keys(self) -> Iterator[bytes]:
        """Yield the key of each row's first call."""
        for start in range(0, len(self._keys), KEY_BYTES):
            yield self._keys[start : start + KEY_BYTES]

    def key(self, place: int) -> bytes:
        """Return the key of a row's first call."""
        return self._keys[place * KEY_BYTES : (place + 1) * KEY_BYTES]

    def n(self, place: int) -> int:
        """Return the number of pictures of a row."""
        return self._kinds[self._kind_places[place]][0][-1]

    def kind(self, place: int) -> Kind:
        """Return the properties of a row that decide its price."""
        return self._kinds[self._kind_places[place]][0]

    def images_per_task(self, place: int) -> int | None:
        """Return the number of pictures that the gateway delivers of a row in one task; ``None`` where not known."""
        return self._kinds[self._kind_places[place]][1]

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
        row = row_from_line(self._lines(member)[place - self._first_rows[member]])
        if call_key(row.fingerprint, row.id, 0) != self.key(place):
            raise RecordUnavailableError(
                f"The stored rows of this task are not those that it began with (row {row.number}): another run of the "
                "task has replaced them. Nothing was submitted for this row. Clear the task to read the dataset again."
            )
        return row

    def save(self, store: LedgerStore, name: str) -> None:
        """
        Store the input beside the ledger, the rows first, so that keys never stand for rows that are not there.

        :param name: stands for the task instance: a later try replaces the input of an earlier one.
        :raises RecordUnavailableError: when it is not certain that the store has them.
        """
        if self._file is None:
            raise ValueError("The rows of this input are in S3 already.")
        self._file.seek(0)
        store.put(_rows_name(name), self._file)
        store.put(_keys_name(name), self._to_bytes())

    @classmethod
    def load(cls, store: LedgerStore, name: str) -> Input:
        """
        Return the input that :meth:`save` has stored. Rows are read when they are needed.

        :raises FileNotFoundError: when there is none.
        :raises RecordUnavailableError: when it cannot be read.
        """
        stored = store.get(_keys_name(name)).body
        try:
            header, _, packed = gzip.decompress(stored).partition(b"\n")
            facts, kinds, members, rows = _parse_header(header)
            keys, places = packed[: rows * KEY_BYTES], _unpack(packed[rows * KEY_BYTES :])
            if len(places) != rows or sum(members.rows) != rows:
                raise ValueError(f"it should hold {rows} rows")  # noqa: TRY301 - one message for all
        except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error) as error:
            raise RecordUnavailableError(
                f"The stored rows of this task, {_keys_name(name)}, cannot be read by this release: {error}. Nothing "
                "was submitted. Clear the task to read the dataset again."
            ) from error

        def fetch(start: int, end: int) -> bytes:
            try:
                return store.get(_rows_name(name), start=start, end=end).body
            except FileNotFoundError as error:
                raise RecordUnavailableError(
                    f"The stored rows of this task are gone: {error}. Nothing was submitted for them. Clear the task "
                    "to read the dataset again."
                ) from error

        return cls(facts, keys=keys, kinds=kinds, kind_places=places, members=members, fetch=fetch)

    def close(self) -> None:
        """Remove the temporary file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _lines(self, member: int) -> list[bytes]:
        with self._lock:
            lines = self._cached.get(member)
            if lines is None:
                data = self._fetch(self._first_bytes[member], self._first_bytes[member + 1])
                try:
                    lines = gzip.decompress(data).split(b"\n")
                except (EOFError, OSError, zlib.error) as error:
                    raise RecordUnavailableError(
                        f"The stored rows of this task cannot be read: {error}. Nothing was submitted for them. Retry "
                        "the task; clear it to read the dataset again."
                    ) from error
                self._cached[member] = lines
                if len(self._cached) > _CACHED_MEMBERS:
                    self._cached.popitem(last=False)
            self._cached.move_to_end(member)
            return lines

    def _to_bytes(self) -> bytes:
        facts = {name: getattr(self.facts, name) for name in InputFacts.__slots__}
        header = {
            **facts,
            "listed": [[row.where, row.id, row.reasons] for row in self.facts.listed],
            "schema_version": _VERSION,
            "rows": len(self),
            "kinds": self._kinds,
            "members": [self._members.rows, self._members.sizes],
        }
        # Keys are digests, which do not compress.
        packed = json.dumps(header).encode() + b"\n" + self._keys + _pack(self._kind_places)
        return gzip.compress(packed, compresslevel=1, mtime=0)


class InputWriter:
    """Makes an :class:`Input` of checked rows, one at a time. Call :meth:`finish`, or :meth:`close` to give up."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - the input keeps it
        self._keys = bytearray()
        self._kinds: dict[tuple[Kind, int | None], int] = {}
        self._kind_places = array("I")
        self._members = _Members()
        self._lines: list[bytes] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._kind_places)

    def add(self, row: CheckedRow) -> None:
        """Add one more row, with a key that no other has."""
        line = row.to_line()
        self._lines.append(line)
        self._size += len(line)
        self._keys += call_key(row.fingerprint, row.id, 0)
        self._kind_places.append(self._kind_place(row.template))
        if len(self._lines) == _MEMBER_ROWS or self._size >= _MEMBER_BYTES:
            self._end_member()

    def finish(self, facts: InputFacts) -> Input:
        """Return the input; it owns the temporary file from then on."""
        self._end_member()
        self._file.flush()
        descriptor = self._file.fileno()

        def fetch(start: int, end: int) -> bytes:
            return os.pread(descriptor, end - start, start)

        return Input(
            facts,
            keys=bytes(self._keys),
            kinds=list(self._kinds),
            kind_places=self._kind_places,
            members=self._members,
            fetch=fetch,
            file=self._file,
        )

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _kind_place(self, template: RequestTemplate) -> int:
        return self._kinds.setdefault((template.kind, template.images_per_task), len(self._kinds))

    def _end_member(self) -> None:
        if self._lines:
            data = gzip.compress(b"\n".join(self._lines), compresslevel=6, mtime=0)
            self._file.write(data)
            self._members.rows.append(len(self._lines))
            self._members.sizes.append(len(data))
            self._lines, self._size = [], 0


def empty_input() -> Input:
    """Return an input without rows."""
    return InputWriter().finish(InputFacts())


def delete_input(store: LedgerStore, name: str) -> None:
    """
    Delete a stored input.

    :raises RecordUnavailableError: when the store refuses.
    """
    store.delete([_keys_name(name), _rows_name(name)])


def _keys_name(name: str) -> str:
    return f"{_FOLDER}{name}.keys.gz"


def _rows_name(name: str) -> str:
    return f"{_FOLDER}{name}.jsonl.gz"


def _parse_header(line: bytes) -> tuple[InputFacts, list[tuple[Kind, int | None]], _Members, int]:
    header: dict[str, Any] = json.loads(line)
    if header["schema_version"] != _VERSION:
        raise ValueError(f"schema_version is {header['schema_version']!r}")
    listed = tuple(InvalidRow(where, row_id, tuple(reasons)) for where, row_id, reasons in header["listed"])
    counts = {name: header[name] for name in ("total", "left_out", "invalid", "suspicious")}
    facts = InputFacts(**counts, listed=listed, notices=tuple(header["notices"]))
    kinds: list[tuple[Kind, int | None]] = [
        ((model, size, resolution, quality, n), per_task)
        for (model, size, resolution, quality, n), per_task in header["kinds"]
    ]
    return facts, kinds, _Members(*header["members"]), header["rows"]


def _pack(numbers: array[int]) -> bytes:
    swapped = array("I", numbers)
    if sys.byteorder == "big":
        swapped.byteswap()
    return swapped.tobytes()


def _unpack(data: bytes) -> array[int]:
    numbers = array("I", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
