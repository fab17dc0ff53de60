"""
The table of a ledger, for people, pandas and DuckDB: the newest line of each purchase, in the order of the rows.

It is brought up to date when a task ends that has changed anything. What is merged is deleted later: objects of the log
after an hour, because a worker that was stopped must not find their numbers free, and checkpoints except the newest.
"""

from __future__ import annotations

import gzip
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.checkpoints import KEPT_CHECKPOINTS
from airflow_provider_apimart.dataset.ledger.log import CHECKPOINTS, LOG, has_own_name, log_number
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.dataset.ledger.reading import POSITION, TABLE, identify_line, position_of, read_lines

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["delete_merged", "update_table"]

#: Seconds for which an object of the log is kept; where the store ignores conditions, names of their own come later.
_RETENTION: Final = 60 * 60.0
_LONG_RETENTION: Final = 24 * 60 * 60.0
#: Seconds after which a table that was read must be read again before it is replaced without a condition.
_FRESH: Final = 10 * 60.0
_ATTEMPTS: Final = 5
_COMPRESSION: Final = 4


def update_table(store: LedgerStore, position: int) -> None:
    """
    Bring the table up to date. Memory grows with the number of purchases, not with their texts.

    :param position: number of the log that the table must reach, and through which nothing that counts can appear any
        more; nothing is done where it has.
    :raises RecordUnavailableError: when something could not be read or written. Nothing is lost by that.
    """
    ignored_etag = None
    for _ in range(_ATTEMPTS):
        table, read_at = store.head(TABLE), store.now()
        if position_of(table) >= position:
            return
        with NewestLines() as newest, TemporaryFile() as file:
            read: set[str] = set()
            for line in read_lines(store, known=read):
                newest.add(line.content + b"\n", identify_line(store, *line))
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0) as compressed:
                compressed.writelines(newest.lines())
            has_own_names = any(has_own_name(name) for name in read)
            through = position if has_own_names else max(map(log_number, read), default=0)
            etag = None if table is None else table.etag
            is_conditional = etag is None or etag != ignored_etag
            if _put(store, file, through, etag=etag, is_conditional=is_conditional, read_at=read_at):
                return
        # Some stores never find a condition on an ETag true: it was not, and the table may not have changed since.
        ignored_etag = etag


def _put(
    store: LedgerStore, file: IO[bytes], through: int, *, etag: str | None, is_conditional: bool, read_at: float
) -> bool:
    metadata = {POSITION: str(through)}
    if is_conditional:
        with suppress(NotImplementedError):
            return store.put(TABLE, file, metadata=metadata, only_if_new=etag is None, only_if_etag=etag)
    # A worker that was stopped in between must not replace a table whose lines are nowhere else any more.
    return store.now() - read_at < _FRESH and store.put(TABLE, file, metadata=metadata)


def delete_merged(store: LedgerStore) -> None:
    """
    Delete the objects of the log that table and checkpoints hold, and old checkpoints.

    :raises RecordUnavailableError: when the store refuses. The next task tries again.
    """
    checkpoints = sorted(store.list(CHECKPOINTS), key=lambda found: log_number(found.name))
    kept = checkpoints[-KEPT_CHECKPOINTS:]
    if not kept:
        return
    through = min(position_of(store.head(TABLE)), log_number(kept[0].name))
    now = store.now()
    old = [
        found.name
        for found in store.list(LOG)
        if log_number(found.name) <= through
        and now - found.modified > (_LONG_RETENTION if has_own_name(found.name) else _RETENTION)
    ]
    store.delete([*old, *(found.name for found in checkpoints[:-KEPT_CHECKPOINTS])])
