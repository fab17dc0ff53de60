"""
The ledger in S3, as a journal that several workers write at once. I/O.

``{prefix}/ledger/journal/{time}-{writer}-{sequence}.jsonl``
    What is true. Each write is an object of its own, which is never written again: a crash leaves whole lines only.
``{prefix}/ledger/ledger.jsonl``
    What people and pandas open: the newest line of each row, in the order of the dataset, as of the last compaction. It
    is read as well, so that a ledger that was moved without its journal still counts.
"""

from __future__ import annotations

import io
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.line import read_line, to_line
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObject, LedgerObjects

__all__ = ["FOLDER", "TABLE", "Journal", "entries_of", "segment_name"]

#: Holds the segments, whose names are in the order of their writing.
FOLDER: Final = "journal/"
#: What people open.
TABLE: Final = "ledger.jsonl"
#: How the names of segments end: that which stands before a paid call, and that which follows from one.
_INTENTS: Final = "-intents.jsonl"
_NOTES: Final = "-notes.jsonl"
#: Bytes. What is larger is read as a stream, one object at a time.
_LARGE: Final = 1024 * 1024


@dataclass
class Journal:
    """
    One worker's access to a ledger.

    :param at_once: objects that are read at the same time.
    :param clock: Unix seconds.
    """

    objects: LedgerObjects
    at_once: int = 16
    clock: Callable[[], float] = time.time
    _writer: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    _sequence: int = 0
    _read: set[tuple[str, str]] = field(default_factory=set)

    def read(self, listed: Sequence[LedgerObject] | None = None) -> Iterator[Entry]:
        """
        Yield what is new since the last call; at the first call, everything.

        :param listed: what there is, where that is known.
        :raises RecordUnavailableError: when it cannot be read, which is no proof that nothing was bought.
        """
        # What has vanished meanwhile has gone into an object that the next listing names.
        while unread := self._unread(self.objects.listing() if listed is None else listed):
            listed = None
            yield from self._small([found.name for found in unread if found.size <= _LARGE])
            for found in unread:
                if found.size > _LARGE:
                    with suppress(FileNotFoundError):
                        yield from entries_of(self.objects, found.name)
            self._read.update((found.name, found.etag) for found in unread)

    def append(self, entries: Sequence[Entry]) -> None:
        """
        Write entries down that follow from others.

        :raises RecordUnavailableError: when it is not certain that they are written.
        """
        if entries:
            self._write(self._next_name(_NOTES), entries)

    def intend(self, intents: Sequence[Entry]) -> str:
        """
        Write down what is about to be bought, and return the name of the segment.

        :raises RecordUnavailableError: when it is not certain that they are written. They are taken back then.
        """
        name = self._next_name(_INTENTS)
        try:
            self._write(name, intents)
        except RecordUnavailableError:
            with suppress(RecordUnavailableError):
                self.objects.delete(name)
            raise
        return name

    def has_news(self, listed: Sequence[LedgerObject]) -> bool:
        """Whether anything that was not read yet may be the intents of another worker."""
        return any(not found.name.endswith(_NOTES) for found in self._unread(listed))

    def _next_name(self, kind: str) -> str:
        self._sequence += 1
        return segment_name(self.clock(), f"{self._writer}-{self._sequence:06}", kind)

    def _write(self, name: str, entries: Sequence[Entry]) -> None:
        lines = b"".join(to_line(entry) + b"\n" for entry in entries)
        written = self.objects.put(name, io.BytesIO(lines))
        self._read.add((written.name, written.etag))

    def _unread(self, listed: Sequence[LedgerObject]) -> list[LedgerObject]:
        segments = [found for found in listed if found.name.startswith(FOLDER)]
        # The table is most often a copy of a segment.
        contents = {(found.etag, found.size) for found in segments}
        tables = [found for found in listed if found.name == TABLE and (found.etag, found.size) not in contents]
        return [found for found in (*tables, *segments) if (found.name, found.etag) not in self._read]

    def _small(self, names: Sequence[str]) -> Iterator[Entry]:
        """Yield the entries of many objects, no more of which are held than are read at the same time."""
        with ThreadPoolExecutor(self.at_once) as pool:
            for start in range(0, len(names), self.at_once):
                for entries in pool.map(self._all_of, names[start : start + self.at_once]):
                    yield from entries

    def _all_of(self, name: str) -> list[Entry]:
        with suppress(FileNotFoundError):
            return list(entries_of(self.objects, name))
        return []


def segment_name(moment: float, suffix: str, kind: str = ".jsonl") -> str:
    """Return the name of a segment: those that are written later come later in a listing."""
    return f"{FOLDER}{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S.%fZ}-{suffix}{kind}"


def entries_of(objects: LedgerObjects, name: str) -> Iterator[Entry]:
    """
    Yield the entries of one object.

    :raises FileNotFoundError: when there is no such object.
    :raises RecordUnavailableError: naming object and line, where one cannot be read. It is never passed over: a row
        that is forgotten would be bought twice.
    """
    for number, line in enumerate(objects.lines(name), 1):
        if line:
            yield _entry(line, f"line {number} of {objects.address}{name}")


def _entry(line: bytes, place: str) -> Entry:
    try:
        return read_line(line)
    except ValueError as error:
        raise RecordUnavailableError(
            f"The ledger cannot be read: {place} is {error}. Nothing was sent. Restore the object, or delete the line "
            "if you know that what it stands for was not bought.",
            retryable=False,
        ) from error
