"""A manifest: one line for each call of a dataset, in its order, as an object that is named after its content."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.log import parse_entry
from airflow_provider_apimart.dataset.ledger.reading import newest_of, read_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["Manifest", "write_manifest"]

_FOLDER: Final = "manifests/"
_DIGITS: Final = 32
_COMPRESSION: Final = 4


class Manifest(NamedTuple):
    """
    The states of all calls of a dataset.

    :param address: of the object, whose lines have the columns of the ledger.
    :param entries: its entries about the calls that the caller has listed, in the order of the dataset.
    :param pictures: number of pictures in S3, by the DAG run that bought them and by model.
    """

    address: str
    entries: list[Entry]
    pictures: Counter[tuple[str, str]]


def write_manifest(keys: Iterable[bytes], ledger: Ledger, *, listed: Collection[bytes] = ()) -> Manifest:
    """
    Write one line for each call: that of its pictures, or else its newest line.

    Nothing is written where the manifest exists, as after a run that has changed nothing. Memory grows with the number
    of calls, not with their texts.

    :param keys: of the calls of the dataset, in its order; a call that was never about to be made has no line.
    :param listed: keys of the calls whose entries are returned; fast for the first ones of a manifest that exists.
    :raises RecordUnavailableError: when something could not be read or written.
    """
    ledger.flush()
    digest, chosen, pictures = hashlib.sha256(), dict[bytes, int](), Counter[tuple[str, str]]()
    for key in keys:
        state = ledger.index.find(key)
        if state is None or key in chosen:
            continue
        answer = state.answer
        chosen[key] = state.generation if answer is None else answer.generation
        status = "copied" if answer else f"{state.status}/{state.charged}/{state.attempt}/{state.refusals}"
        digest.update(key + f"/{chosen[key]}/{status}\n".encode())
        if answer is not None and answer.n_objects:
            pictures[answer.run_id, state.kind[0]] += answer.n_objects
    name = f"{_FOLDER}{digest.hexdigest()[:_DIGITS]}.jsonl.gz"
    if ledger.store.head(name) is None:
        _write(name, ledger.store, chosen)
    wanted = set(listed) & chosen.keys()
    return Manifest(f"{ledger.store.address}{name}", list(_entries(name, ledger.store, wanted)), pictures)


def _write(name: str, store: LedgerStore, chosen: dict[bytes, int]) -> None:
    with newest_of(read_lines(store), store) as newest, TemporaryFile() as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0) as compressed:
            for key, generation in chosen.items():
                if (line := newest.line(key, generation)) is not None:
                    compressed.write(line + b"\n")
        store.put(name, file)


def _entries(name: str, store: LedgerStore, wanted: set[bytes]) -> Iterator[Entry]:
    lines = enumerate(store.lines(name), 1) if wanted else iter(())
    for number, line in lines:
        entry = parse_entry(store, name, number, line)
        if entry.key in wanted:
            wanted.discard(entry.key)
            yield entry
        if not wanted:
            return
