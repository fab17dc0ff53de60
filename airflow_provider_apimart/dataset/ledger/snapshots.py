"""
The snapshots of the log: checkpoints for workers, and the table for people, pandas and DuckDB.

A *checkpoint* is the index through a number of the log. It is a cache: table and log replace a lost one. The *table*
has the newest line of each purchase in the order of the rows, and is updated when a task ends that has changed
anything. Objects of the log that both have are deleted after an hour, because a worker that was stopped must not find
their numbers free; of the checkpoints, the two newest are kept.
"""

from __future__ import annotations

import gzip
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.index import Index
from airflow_provider_apimart.dataset.ledger.log import CHECKPOINTS, LOG, has_random_name, log_number, parse_entry
from airflow_provider_apimart.dataset.ledger.reading import (
    POSITION,
    TABLE,
    newest_of,
    position_of,
    read_lines,
    read_table,
)

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["Checkpoint", "delete_merged", "load_checkpoint", "save_checkpoint", "update_table"]

#: The newest checkpoint, and the one before it for workers that are about to read that.
_KEPT: Final = 2
#: Seconds for which an object of the log is kept. One with a random name may appear late and is kept longer.
_RETENTION: Final = 60 * 60.0
_LONG_RETENTION: Final = 24 * 60 * 60.0
#: Seconds after which a table must be read again before it is replaced without a condition.
_FRESH: Final = 10 * 60.0
_ATTEMPTS: Final = 5
_COMPRESSION: Final = 4


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """
    The state of a ledger through a number of its log.

    :param verified_at: Unix seconds by the store's clock at which no later number was merged.
    :param is_empty: whether there is neither a checkpoint nor a table.
    """

    index: Index
    number: int
    verified_at: float
    is_empty: bool = False


def load_checkpoint(store: LedgerStore) -> Checkpoint:
    """
    Return the newest checkpoint that can be read, else the table as an index, else an empty index.

    :raises RecordUnavailableError: when the store fails, which does not prove that nothing was bought.
    """
    for _ in range(_ATTEMPTS):
        names, verified_at = _checkpoints(store), store.now()
        try:
            for name in reversed(names):
                with suppress(ValueError):  # Another release has written it.
                    return Checkpoint(Index.from_bytes(store.get(name).body), log_number(name), verified_at)
        except FileNotFoundError:
            continue  # There are newer ones.
        break
    table = store.head(TABLE)
    if table is None:
        return Checkpoint(Index(), 0, verified_at, is_empty=True)
    index = Index()
    with newest_of(read_table(store), store) as newest:
        for line in newest.oldest_first():
            index.apply(parse_entry(store, TABLE, 0, line))
    return Checkpoint(index, position_of(table), verified_at)


def save_checkpoint(store: LedgerStore, number: int, content: bytes) -> None:
    """
    Write a checkpoint, and delete old ones.

    :param content: the index through that number of the log.
    :raises RecordUnavailableError: when it is not certain that the store has it. Nothing is lost by that.
    """
    store.put(f"{CHECKPOINTS}{number:08}.gz", content)
    store.delete(_checkpoints(store)[:-_KEPT])


def update_table(store: LedgerStore, position: int) -> None:
    """
    Bring the table up to date.

    :param position: number of the log that the table must reach, and through which nothing that counts can appear any
        more. Nothing is done where the table has reached it.
    :raises RecordUnavailableError: when something could not be read or written. Nothing is lost by that.
    """
    ignored_etag = None
    for _ in range(_ATTEMPTS):
        table, read_at = store.head(TABLE), store.now()
        if position_of(table) >= position:
            return
        read: set[str] = set()
        with newest_of(read_lines(store, known=read), store) as newest, TemporaryFile() as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0) as compressed:
                compressed.writelines(line + b"\n" for line in newest.lines())
            has_random_names = any(map(has_random_name, read))
            through = position if has_random_names else max(map(log_number, read), default=0)
            etag = None if table is None else table.etag
            is_conditional = etag is None or etag != ignored_etag
            if _put(store, file, through, etag=etag, is_conditional=is_conditional, read_at=read_at):
                return
        # Some stores never find a condition on an ETag true. If the table has the same one again, it may not have
        # changed: the condition was ignored.
        ignored_etag = etag


def _put(
    store: LedgerStore, file: IO[bytes], through: int, *, etag: str | None, is_conditional: bool, read_at: float
) -> bool:
    metadata = {POSITION: str(through)}
    if is_conditional:
        with suppress(NotImplementedError):
            return store.put(TABLE, file, metadata=metadata, only_if_new=etag is None, only_if_etag=etag)
    # A worker that was stopped in between must not replace a table whose lines are no longer in the log.
    return store.now() - read_at < _FRESH and store.put(TABLE, file, metadata=metadata)


def delete_merged(store: LedgerStore) -> None:
    """
    Delete old objects of the log that both the table and all kept checkpoints have.

    :raises RecordUnavailableError: when the store refuses. The next task tries again.
    """
    checkpoints = _checkpoints(store)[-_KEPT:]
    if not checkpoints:
        return
    through, now = min(position_of(store.head(TABLE)), log_number(checkpoints[0])), store.now()
    store.delete(
        [
            found.name
            for found in store.list(LOG)
            if log_number(found.name) <= through
            and now - found.modified > (_LONG_RETENTION if has_random_name(found.name) else _RETENTION)
        ]
    )


def _checkpoints(store: LedgerStore) -> list[str]:
    """Return the names of all checkpoints, the newest last."""
    return sorted((found.name for found in store.list(CHECKPOINTS)), key=log_number)
