"""Checkpoints of a ledger: the index through a number of the log, in S3. Table and log replace lost ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.index import Index
from airflow_provider_apimart.dataset.ledger.log import CHECKPOINTS, log_number, parse_entry
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.dataset.ledger.reading import TABLE, identify_line, position_of

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["KEPT_CHECKPOINTS", "Checkpoint", "delete_checkpoint", "load_checkpoint", "save_checkpoint"]

#: The newest, and the one before it for the workers that are about to read it.
KEPT_CHECKPOINTS: Final = 2

_ATTEMPTS: Final = 3


class Checkpoint(NamedTuple):
    """
    The state of a ledger through a number of its log.

    :param verified_at: Unix seconds by the store's clock at which no later number was merged.
    :param is_empty: whether there is neither a checkpoint nor a table.
    """

    calls: Index
    number: int
    verified_at: float
    is_empty: bool = False


def load_checkpoint(store: LedgerStore) -> Checkpoint:
    """
    Return the newest checkpoint that can be read, else the table as an index, else an empty index.

    :raises RecordUnavailableError: when the store fails, which does not prove that nothing was bought.
    """
    for _ in range(_ATTEMPTS):
        names = sorted((found.name for found in store.list(CHECKPOINTS)), key=log_number, reverse=True)
        verified_at = store.now()
        for name in names:
            try:
                return Checkpoint(Index.from_bytes(store.get(name).body), log_number(name), verified_at)
            except FileNotFoundError:
                break  # There is a newer one.
            except ValueError:
                continue  # Of another release.
        else:
            break
    table = store.head(TABLE)
    if table is None:
        return Checkpoint(Index(), 0, verified_at, is_empty=True)
    return Checkpoint(_index_of_table(store), position_of(table), verified_at)


def _index_of_table(store: LedgerStore) -> Index:
    index = Index()
    with NewestLines() as newest:
        for number, line in enumerate(store.lines(TABLE), 1):
            newest.add(line, identify_line(store, TABLE, number, line))
        for line in newest.oldest_first():
            index.apply(parse_entry(store, TABLE, 0, line))
    return index


def save_checkpoint(store: LedgerStore, number: int, content: bytes) -> None:
    """
    Write a checkpoint.

    :param content: of the index through that number of the log.
    :raises RecordUnavailableError: when it is not certain that the store has it. Nothing is lost by that.
    """
    store.put(_name(number), content)


def delete_checkpoint(store: LedgerStore, number: int) -> None:
    """
    Delete a checkpoint, of which there are newer ones.

    :raises RecordUnavailableError: when the store refuses.
    """
    store.delete([_name(number)])


def _name(number: int) -> str:
    return f"{CHECKPOINTS}{number:08}.gz"
