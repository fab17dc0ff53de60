"""
Many segments of a journal become one, and the table that people open. I/O.

What is merged is written before anything is deleted, and only what went into it is deleted: a crash in between leaves
lines twice, which changes nothing, and two workers who do this at once lose nothing to each other. A segment with an
intent that is not answered yet stays as it is, since the worker that wrote it may take it back.
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import FOLDER, TABLE, entries_of, segment_name
from airflow_provider_apimart.dataset.ledger import Rank, rank_of
from airflow_provider_apimart.dataset.line import to_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObject, LedgerObjects

__all__ = ["compact"]

_ROUNDS: Final = 5


def compact(
    objects: LedgerObjects, *, at_least: int = 1, at_once: int = 16, clock: Callable[[], float] = time.time
) -> None:
    """
    Merge the journal, and bring the table up to date.

    Memory grows with the number of rows, not with their texts; those pass through a temporary file.

    :param at_least: segments that are worth it.
    :param at_once: objects that are deleted at the same time.
    :param clock: Unix seconds.
    :raises RecordUnavailableError: when something could not be read, written or deleted. Nothing is lost by that.
    """
    known: set[str] = set()
    # Another worker may do the same, and write an older table after ours: whoever looks last sees all segments.
    for _ in range(_ROUNDS):
        listed = objects.listing()
        segments = [found for found in listed if found.name.startswith(FOLDER)]
        tables = [found for found in listed if found.name == TABLE]
        is_merged = len(segments) == 1 and {(it.etag, it.size) for it in tables} == {
            (segments[0].etag, segments[0].size)
        }
        if is_merged or len(segments) < at_least or {found.name for found in segments} <= known:
            return
        # What has vanished was merged by another worker: its segment is in the next listing.
        with suppress(FileNotFoundError):
            known, merged = _merge(objects, tables, segments, clock)
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(objects.delete, merged))


def _merge(
    objects: LedgerObjects, tables: Sequence[LedgerObject], segments: Sequence[LedgerObject], clock: Callable[[], float]
) -> tuple[set[str], list[str]]:
    """Merge what was listed, and return the names of the segments that hold it now, and of those that may go."""
    with TemporaryFile() as spool, TemporaryFile() as merged:
        newest = _Newest(spool)
        for found in (*tables, *segments):
            newest.add(found.name, entries_of(objects, found.name))
        kept = newest.unanswered()
        if not newest.write_to(merged):
            return kept, []
        suffix, last = uuid.uuid4().hex[:12], segments[-1].name
        # After everything that goes into it, even by a clock that is slow: a listing that is under way meets it still.
        name = max(segment_name(clock(), suffix), f"{last.removesuffix('.jsonl')}_{suffix}.jsonl")
        objects.put(name, merged)
        objects.put(TABLE, merged)
    return {name, *kept}, [found.name for found in segments if found.name not in kept]


class _Line(NamedTuple):
    """Where the newest line of a purchase is in the spool."""

    rank: Rank
    row: int
    offset: int
    length: int


@dataclass
class _Newest:
    """
    The newest lines, on disk, and where the line of each purchase is.

    What was bought anew on request keeps its line beside the new one: it was paid for as well.
    """

    spool: IO[bytes]
    _lines: dict[tuple[bytes, int], _Line] = field(default_factory=dict)
    _answers: dict[bytes, Rank] = field(default_factory=dict)
    _intents: list[tuple[bytes, Rank, str]] = field(default_factory=list)

    def add(self, name: str, entries: Iterable[Entry]) -> None:
        for entry in entries:
            key, rank = entry.key, rank_of(entry)
            known = self._lines.get((key, entry.generation))
            if entry.status is Status.INTENDED:
                # It answers no other one: it may be taken back.
                self._intents.append((key, rank, name))
                continue
            self._answers[key] = max(rank, self._answers.get(key, rank))
            if known is None or known.rank < rank:
                line = to_line(entry) + b"\n"
                self._lines[key, entry.generation] = _Line(rank, entry.row, self.spool.tell(), len(line))
                self.spool.write(line)

    def unanswered(self) -> set[str]:
        """Return the names of the segments with an intent that nothing newer is known of."""
        return {name for key, rank, name in self._intents if key not in self._answers or self._answers[key] < rank}

    def write_to(self, merged: IO[bytes]) -> bool:
        """Write the newest lines in the order of the dataset, and return whether there are any."""
        for _, line in sorted(self._lines.items(), key=lambda item: (item[1].row, item[0])):
            self.spool.seek(line.offset)
            merged.write(self.spool.read(line.length))
        return bool(self._lines)
