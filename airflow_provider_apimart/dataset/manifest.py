"""What a task has made of its dataset: a line for each of its rows, and for no others, as a file. I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.line import to_line

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

__all__ = ["Manifest", "manifest_name", "write_manifest"]

_FOLDER: Final = "manifests/"


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    A list of what a dataset has become.

    :param address: of the file, which has the ledger's columns.
    :param entries: those of its lines that were asked for.
    :param pictures: how many there are, by the DAG run that bought them and by model.
    """

    address: str
    entries: list[Entry] = field(default_factory=list)
    pictures: Counter[tuple[str, str]] = field(default_factory=Counter)


def manifest_name(writer: str) -> str:
    """
    Return the file name of the manifest that a task instance leaves when it has come to its end.

    :param writer: stands for it, see :func:`~airflow_provider_apimart.transfers.stored_objects.writer_id`.
    """
    return f"{writer}.jsonl"


def write_manifest(
    keys: Iterable[bytes],
    ledger: Ledger,
    objects: LedgerObjects,
    *,
    writer: str,
    listed: Container[bytes],
) -> Manifest:
    """
    Write the newest line of each paid call of a dataset, in its order, and return where they are.

    The ledger itself holds the rows of earlier versions of the dataset too. Memory grows with the number of rows, not
    with their texts; those pass through temporary files.

    :param keys: of the calls, in the order of the dataset.
    :param ledger: what this worker knows; everything is in S3 as well.
    :param writer: stands for the task instance. All its tries write the same object.
    :param listed: the keys of the entries that are returned.
    :raises RecordUnavailableError: when something could not be read or written.
    """
    places: dict[bytes, tuple[int, int, int]] = dict.fromkeys(keys, (0, 0, 0))
    manifest = Manifest(f"{objects.address}{_FOLDER}{manifest_name(writer)}")
    held: dict[bytes, Entry] = {}
    with TemporaryFile() as spool, TemporaryFile() as file:
        for entry in Journal(objects).read():
            if entry.key in places and ledger.is_newest(entry):
                line = to_line(entry) + b"\n"
                places[entry.key] = (spool.tell(), len(line), len(entry.objects))
                spool.write(line)
                if entry.key in listed:
                    held[entry.key] = entry
        for key, (offset, length, pictures) in places.items():
            spool.seek(offset)
            file.write(spool.read(length))
            if pictures and (state := ledger.find(key)):
                manifest.pictures[state.run_id, state.model] += pictures
        objects.put(manifest.address.removeprefix(objects.address), file)
    manifest.entries.extend(held[key] for key in places if key in held)
    return manifest
