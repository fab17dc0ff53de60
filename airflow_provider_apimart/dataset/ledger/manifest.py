"""A manifest: one line for each call of a dataset, in its order, as an object that is named after its content."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.log import parse_entry
from airflow_provider_apimart.dataset.ledger.newest import NewestLines, purchase_of
from airflow_provider_apimart.dataset.ledger.reading import identify_line, read_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["Manifest", "write_manifest"]

_FOLDER: Final = "manifests/"
_DIGITS: Final = 32
_COMPRESSION: Final = 4


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    A list of what became of each call of a dataset.

    :param address: of the object, whose lines have the columns of the ledger.
    :param entries: those of its entries that were asked for, in the order of the dataset.
    :param pictures: number of pictures in S3, by the DAG run that bought them and by model.
    """

    address: str
    entries: list[Entry] = field(default_factory=list)
    pictures: Counter[tuple[str, str]] = field(default_factory=Counter)


def write_manifest(keys: Iterable[bytes], ledger: Ledger, *, listed: Collection[bytes] = ()) -> Manifest:
    """
    Write the line of the pictures of each call, or else its newest line, and return where they are.

    Nothing is written where there is such a manifest already, as after a run that has changed nothing. Memory grows
    with the number of calls, not with their texts.

    :param keys: of the calls of the dataset, in its order; those that were never about to be made have no line.
    :param listed: the keys of the entries that are returned; fast for the first ones of a manifest that exists.
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
    manifest = Manifest(f"{ledger.store.address}{name}", pictures=pictures)
    if ledger.store.head(name) is None:
        _write(name, ledger.store, chosen)
    manifest.entries.extend(_listed(name, ledger.store, set(listed) & chosen.keys()))
    return manifest


def _write(name: str, store: LedgerStore, chosen: dict[bytes, int]) -> None:
    purchases = {purchase_of(key, generation) for key, generation in chosen.items()}
    with NewestLines() as newest, TemporaryFile() as file:
        for line in read_lines(store):
            identity = identify_line(store, *line)
            if identity.purchase in purchases:
                newest.add(line.content + b"\n", identity)
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0) as compressed:
            for key, generation in chosen.items():
                compressed.write(newest.line(key, generation) or b"")
        store.put(name, file)


def _listed(name: str, store: LedgerStore, wanted: set[bytes]) -> Iterable[Entry]:
    if not wanted:
        return
    for number, line in enumerate(store.lines(name), 1):
        entry = parse_entry(store, name, number, line)
        if entry.key in wanted:
            wanted.discard(entry.key)
            yield entry
        if not wanted:
            return
