"""
Ledgers of release 0.1: a journal of many small objects, and a table. They are imported once, and never changed.

``journal/*.jsonl`` has the entries of all workers, ``ledger.jsonl`` the merged ones. Their lines have schema version 1:
a call is identified by its ``part`` and not by its first picture, the status ``unknown`` is now ``unanswered``, and
there is neither a writer nor a buyer.
"""

from __future__ import annotations

import json
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, read_entry
from airflow_provider_apimart.dataset.ledger.log import AppendUncertainError, LogGapError, unreadable
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.dataset.row import call_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_apimart.dataset.ledger.log import LedgerLog
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["import_ledger", "read_legacy"]

_JOURNAL: Final = "journal/"
_TABLE: Final = "ledger.jsonl"
_ATTEMPTS: Final = 5


def import_ledger(store: LedgerStore, log: LedgerLog) -> bool:
    """
    Append the entries of a ledger of 0.1 to an empty log, and return whether the log has to be read again.

    :return: ``False`` when no ledger of 0.1 exists.
    :raises RecordUnavailableError: when it cannot be read, or when it is not certain that the entries are written.
    """
    entries = read_legacy(store)
    first = next(entries, None)
    if first is None:
        return False
    # Another worker may import it at the same time.
    with log.turn(), suppress(AppendUncertainError, LogGapError):
        log.append(entry.to_line() for entry in chain([first], entries))
    return True


def read_legacy(store: LedgerStore) -> Iterator[Entry]:
    """
    Yield the newest entry of each purchase of a ledger of 0.1, or nothing where there is none.

    :raises RecordUnavailableError: when it cannot be read.
    """
    with closing(NewestLines()) as newest:
        widths = _collect(store, newest)
        for entry in map(read_entry, newest.oldest_first()):
            # All parts of a row but its last one have as many pictures as the largest part.
            width = widths.get(call_key(entry.fingerprint, entry.id, 0), 1)
            yield replace(entry, first=entry.first * width)


def _collect(store: LedgerStore, newest: NewestLines) -> dict[bytes, int]:
    """Collect the newest lines, and return the largest number of pictures in a part of a row, where it is above 1."""
    widths: dict[bytes, int] = {}
    for _ in range(_ATTEMPTS):
        names = [_TABLE, *(found.name for found in store.list(_JOURNAL))]
        with suppress(FileNotFoundError):
            for name in names:
                # The table may be missing. A segment of the journal is missing only if a worker has just merged it.
                with suppress(*((FileNotFoundError,) if name == _TABLE else ())):
                    _collect_object(store, name, newest, widths)
            break
    return widths


def _collect_object(store: LedgerStore, name: str, newest: NewestLines, widths: dict[bytes, int]) -> None:
    for number, line in enumerate(store.lines(name), 1):
        if not line:
            continue
        try:
            entry = read_entry(json.dumps(_converted(json.loads(line))).encode())
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise unreadable(store, f"{name}, line {number}", error) from error
        if entry.n > 1:
            row = call_key(entry.fingerprint, entry.id, 0)
            widths[row] = max(entry.n, widths.get(row, 1))
        newest.add(entry.to_line())


def _converted(values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of this release, with the number of the part as the first picture."""
    if values["schema_version"] != 1:
        raise ValueError(f"schema_version is {values['schema_version']!r}")
    status = EntryStatus.UNANSWERED if values["status"] == "unknown" else values["status"]
    accepted = {"accepted_at": values["updated_at"]} if status == EntryStatus.ACCEPTED else {}
    return {**values, **accepted, "schema_version": 2, "status": status, "first": values["part"]}
