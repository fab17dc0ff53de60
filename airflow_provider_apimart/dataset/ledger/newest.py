"""The newest line of each purchase among any number of lines, on disk: memory does not grow with the ledger."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.ledger.entry import STATUSES, EntryStatus, rank
from airflow_provider_apimart.dataset.row import call_key

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NewestLines"]

_REFUSED: Final = STATUSES.index(EntryStatus.REFUSED)
_SCHEMA: Final = """
pragma page_size = 16384;
pragma journal_mode = off;
create table newest (
    key, generation, attempt, refusals, status, sender, row, first, line, primary key (key, generation)
);
begin
"""
#: Where one of two senders was refused, the line of the other one is the newer: a refusal says nothing about it.
_ADD: Final = """
insert into newest values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set
    attempt = excluded.attempt, refusals = excluded.refusals, status = excluded.status, sender = excluded.sender,
    row = excluded.row, first = excluded.first, line = excluded.line
where case
    when (excluded.attempt, excluded.refusals) = (attempt, refusals)
        and excluded.sender <> sender
        and excluded.status <> status
        and max(excluded.status, status) = ?
    then excluded.status < status
    else (excluded.attempt, excluded.refusals, excluded.status) >= (attempt, refusals, status)
end
"""

#: Errors that a line causes which is not an entry: sqlite3 refuses values of other types.
_UNREADABLE: Final = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class NewestLines:
    """A temporary database of the newest line of each purchase. Close it at the end."""

    def __init__(self) -> None:
        # A database without a name is a temporary file.
        self._database = sqlite3.connect("")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Delete the database."""
        self._database.close()

    def add(self, line: bytes) -> None:
        """
        Add a line; of two with the same rank, the one that is added later is the newer.

        :raises ValueError: when the line does not say which purchase it is about.
        """
        try:
            values: dict[str, Any] = json.loads(line)
            first, generation = values.get("first", 0), values.get("generation", 0)
            key = call_key(values["fingerprint"], values["id"], first)
            ranks = rank(generation, values.get("attempt", 0), values.get("refusals", 0), values["status"])
            sender = f"{values.get('buyer')}/{values.get('try_number')}/{values.get('intended_at')}"
            self._database.execute(_ADD, (key, *ranks, sender, values["row"], first, line, _REFUSED))
        except _UNREADABLE as error:
            raise ValueError(f"not a ledger entry ({type(error).__name__}: {error})") from error

    def line(self, key: bytes, generation: int) -> bytes | None:
        """Return the newest line of a purchase, or ``None`` where there is none."""
        found = self._database.execute("select line from newest where key = ? and generation = ?", (key, generation))
        return next((line for (line,) in found), None)

    def lines(self) -> Iterator[bytes]:
        """Yield the newest line of each purchase, in the order of the rows."""
        return self._sorted_by("row, first, key, generation")

    def oldest_first(self) -> Iterator[bytes]:
        """Yield the newest line of each purchase, older generations of all calls first."""
        return self._sorted_by("generation, row, first")

    def _sorted_by(self, columns: str) -> Iterator[bytes]:
        # The columns are those above.
        return (line for (line,) in self._database.execute(f"select line from newest order by {columns}"))  # noqa: S608
