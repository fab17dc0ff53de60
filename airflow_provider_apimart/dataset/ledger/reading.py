"""
All lines of a ledger: the table, and the log behind it.

Manifests, tables, exports and pages read a ledger like this. A worker that buys follows the log, see :mod:`.ledger`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.legacy import read_legacy
from airflow_provider_apimart.dataset.ledger.log import (
    LOG,
    has_random_name,
    log_number,
    parse_entry,
    read_log_object,
    unreadable,
)
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.store import LedgerObject, LedgerStore

__all__ = ["POSITION", "TABLE", "LedgerLine", "newest_of", "position_of", "read_entries", "read_lines", "read_table"]

#: The newest line of each purchase, as people open it.
TABLE: Final = "ledger.jsonl.gz"
#: Metadata of the table: the last number of the log that is merged into it.
POSITION: Final = "apimart-log"
_ATTEMPTS: Final = 5
#: Objects of the log that are read, and held in memory, at the same time.
_AT_ONCE: Final = 16


class LedgerLine(NamedTuple):
    """
    A line of the ledger.

    :param name: of the object that holds the line.
    :param number: of the line in the object, counted from 1.
    """

    name: str
    number: int
    content: bytes


def position_of(table: LedgerObject | None) -> int:
    """Return the last number of the log that is merged into a table; 0 without a table."""
    return 0 if table is None else int(table.metadata.get(POSITION, "0"))


def read_entries(store: LedgerStore, *, known: set[str] | None = None) -> Iterator[Entry]:
    """
    Yield all entries of a ledger, in an order in which the later of two with the same rank is the newer.

    An entry may come more than once. A ledger of 0.1 that no worker has continued yet is read as well.

    :param known: names of objects that were read before and are not read again; names of further objects are added.
    :raises RecordUnavailableError: when an object cannot be read.
    """
    names = set() if known is None else known
    for line in read_lines(store, known=names):
        yield parse_entry(store, line.name, line.number, line.content)
    if not names:
        yield from read_legacy(store)


def read_lines(store: LedgerStore, *, known: set[str] | None = None) -> Iterator[LedgerLine]:
    """
    Yield all lines of table and log, see :func:`read_entries`.

    :raises RecordUnavailableError: when an object cannot be read.
    """
    names = set() if known is None else known
    for _ in range(_ATTEMPTS):
        table = store.head(TABLE)
        position, through = position_of(table), max(map(log_number, names), default=0)
        # An object with a random name may appear after another one with the same number.
        listed = [found.name for found in store.list(LOG, after=f"{LOG}{max(0, through - 1):08}.jsonl.gz")]
        new = [name for name in listed if name not in names and (has_random_name(name) or log_number(name) > through)]
        has_gap = not new or log_number(new[0]) > through + 1
        # A table that was copied without its metadata does not say which numbers it holds.
        is_undated = table is not None and not position and _name_of_table(0) not in names
        if is_undated or (position > through and (has_gap or not names)):
            yield from read_table(store)
            names.add(_name_of_table(position))
            continue
        if new and has_gap and not (has_random_name(new[0]) and position == position_of(store.head(TABLE))):
            continue  # The missing objects have just been merged into the table.
        try:
            yield from _read_log(store, new, names)
        except FileNotFoundError:
            continue
        return
    raise RecordUnavailableError(
        f"The ledger could not be read: objects of {store.address}{LOG} are missing. Nothing was submitted. Restore "
        "them."
    )


def read_table(store: LedgerStore) -> Iterator[LedgerLine]:
    """
    Yield the lines of the table.

    :raises FileNotFoundError: when the table does not exist.
    :raises RecordUnavailableError: when it cannot be read.
    """
    return (LedgerLine(TABLE, number, content) for number, content in enumerate(store.lines(TABLE), 1))


def newest_of(lines: Iterable[LedgerLine], store: LedgerStore) -> closing[NewestLines]:
    """
    Return the newest line of each purchase, for a ``with`` statement.

    :raises RecordUnavailableError: for a line that does not say which purchase it is about.
    """
    newest = NewestLines()
    for line in lines:
        try:
            newest.add(line.content)
        except ValueError as error:
            raise unreadable(store, f"{line.name}, line {line.number}", error) from error
    return closing(newest)


def _read_log(store: LedgerStore, new: list[str], names: set[str]) -> Iterator[LedgerLine]:
    """Yield the lines of objects in their order; a few are read at a time, because a run may append a thousand."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(new), _AT_ONCE):
            for found in pool.map(partial(read_log_object, store), new[start : start + _AT_ONCE]):
                # The first line is the header.
                yield from (LedgerLine(found.name, number, content) for number, content in enumerate(found.lines, 2))
                names.add(found.name)


def _name_of_table(position: int) -> str:
    """Return the name under which a table that was read is known."""
    return f"{LOG}{position:08}"
