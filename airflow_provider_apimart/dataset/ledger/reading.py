"""All lines of a ledger, for its pages, its manifests and people: the table, and the log behind it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.legacy import read_legacy
from airflow_provider_apimart.dataset.ledger.log import (
    LOG,
    LogObject,
    has_own_name,
    log_number,
    parse_entry,
    read_log_object,
    unreadable,
)
from airflow_provider_apimart.dataset.ledger.newest import LineIdentity, identify
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore, StoredObject

__all__ = ["POSITION", "TABLE", "LedgerLine", "identify_line", "position_of", "read_entries", "read_lines"]

#: The newest line of each purchase, as people open it.
TABLE: Final = "ledger.jsonl.gz"
#: Metadata of the table: the number of the log that it was made through.
POSITION: Final = "apimart-log"
_ATTEMPTS: Final = 5
#: Objects of the log that are read, and held, at the same time.
_AT_ONCE: Final = 16


class LedgerLine(NamedTuple):
    """
    A line of the ledger.

    :param name: of the object that it is in.
    :param number: of the line there, counted from 1.
    """

    name: str
    number: int
    content: bytes


def position_of(table: StoredObject | None) -> int:
    """Return the number of the log that a table was made through; 0 without a table."""
    return 0 if table is None else int(table.metadata.get(POSITION, "0"))


def read_entries(store: LedgerStore, *, known: set[str] | None = None) -> Iterator[Entry]:
    """
    Yield all entries of a ledger, in an order in which the later of two with the same rank is the newer.

    An entry may come more than once. A ledger of 0.1 that no worker has continued yet is read as well.

    :param known: names of objects that were read before, and need not be read again; those that are read are added.
    :raises RecordUnavailableError: when it cannot be read.
    """
    names = set() if known is None else known
    for line in read_lines(store, known=names):
        yield parse_entry(store, line.name, line.number, line.content)
    if not names:
        yield from read_legacy(store)


def read_lines(store: LedgerStore, *, known: set[str] | None = None) -> Iterator[LedgerLine]:
    """
    Yield all lines of table and log, see :func:`read_entries`.

    :raises RecordUnavailableError: when they cannot be read.
    """
    read = set() if known is None else known
    for _ in range(_ATTEMPTS):
        table = store.head(TABLE)
        position, through = position_of(table), max(map(log_number, read), default=0)
        # Where objects have names of their own, another one of the same number may have come since.
        lowest = through if read else 1
        has_news = position > through and not (read and _is_kept(store, through + 1))
        # A table that was copied without its metadata does not say what it holds.
        if table is not None and (has_news or not (position or f"{LOG}{0:08}" in read)):
            for number, content in enumerate(store.lines(TABLE), 1):
                yield LedgerLine(TABLE, number, content)
            read.add(f"{LOG}{position:08}")
            through, lowest = max(through, position), max(lowest, position + 1)
        listed = store.list(LOG, after=f"{LOG}{lowest - 1:08}.jsonl.gz")
        has_gap = bool(listed) and log_number(listed[0].name) > through + 1
        if has_gap and not (has_own_name(listed[0].name) and position == position_of(store.head(TABLE))):
            continue  # Merged meanwhile, and deleted.
        try:
            new = [found.name for found in listed if has_own_name(found.name) or log_number(found.name) > through]
            for found in _read_objects(store, [name for name in new if name not in read]):
                yield from _lines_of(found)
                read.add(found.name)
        except FileNotFoundError:
            continue
        return
    raise RecordUnavailableError(
        f"The ledger could not be read: objects of {store.address}{LOG} are missing. Nothing was submitted. Restore "
        "them."
    )


def identify_line(store: LedgerStore, name: str, number: int, line: bytes) -> LineIdentity:
    """
    Return the purchase that a line is about.

    :param name: of the object that holds the line.
    :param number: of the line there, counted from 1.
    :raises RecordUnavailableError: naming object and line, where it does not say.
    """
    try:
        return identify(line)
    except ValueError as error:
        raise unreadable(store, f"{name}, line {number}", error) from error


def _read_objects(store: LedgerStore, names: list[str]) -> Iterator[LogObject]:
    """Yield objects in their order; a few are read at a time, because a run may have appended a thousand."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(names), _AT_ONCE):
            yield from pool.map(partial(read_log_object, store), names[start : start + _AT_ONCE])


def _is_kept(store: LedgerStore, number: int) -> bool:
    listed = store.list(LOG, after=f"{LOG}{number - 1:08}.jsonl.gz")
    return bool(listed) and log_number(listed[0].name) == number


def _lines_of(found: LogObject) -> Iterator[LedgerLine]:
    # The first line is the header.
    yield from (LedgerLine(found.name, number, content) for number, content in enumerate(found.lines, 2))
