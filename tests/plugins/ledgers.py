"""Ledgers of datasets, written as the tasks of datasets write them."""

from __future__ import annotations

import gzip
import json
import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, Failure
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.transfers.stored_objects import writer_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["BUYER", "FREE", "INTENDED", "NOW", "RUN", "LedgerWriter", "entry", "line_of_0_1", "manifest_body"]

#: Unix seconds.
NOW = 1_750_000_000.0
RUN = "posters/run"
#: The task ``dataset`` of that run.
BUYER = writer_of("posters", "run", "dataset", -1)
#: Of a call that ended without a picture and without cost.
FREE: dict[str, Any] = {
    "status": EntryStatus.FAILED,
    "charged": "no",
    "cost": 0.0,
    "error": Failure(None, "no capacity", retryable=True),
}
#: Of a call that may have been submitted.
INTENDED: dict[str, Any] = {"status": EntryStatus.INTENDED, "charged": "unknown"}

_USUAL: dict[str, Any] = {
    "row": 1,
    "id": "sku-1",
    "status": EntryStatus.COPIED,
    "charged": "yes",
    "prompt": "a cat",
    "model": "gpt-image-2",
    "idempotency_key": "airflow-1",
    "fingerprint": "0" * 32,
    "writer": BUYER,
    "buyer": BUYER,
    "try_number": 1,
    "run_id": RUN,
    "intended_at": NOW,
    "updated_at": NOW,
}


def entry(**changes: Any) -> Entry:
    """Return the entry of a picture that the task ``dataset`` has copied, unless told otherwise."""
    return Entry(**{**_USUAL, **changes})


def line_of_0_1(**changes: Any) -> bytes:
    """Return such an entry as release 0.1 wrote it."""
    values = json.loads(entry(**changes).to_line())
    values |= {"part": values.pop("first"), "schema_version": 1}
    for name in ("writer", "buyer", "try_number", "answer_by", "accepted_at", "columns"):
        del values[name]
    return json.dumps(values).encode()


def manifest_body(lines: Iterable[dict[str, Any]]) -> bytes:
    """Return the content of a manifest."""
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


class LedgerWriter:
    """The task of a dataset, as far as its ledger is concerned."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self._ledger = Ledger.open(store, writer=BUYER, try_number=1, warn=logging.getLogger("tests").warning, held=0)

    def append(self, *entries: Entry) -> None:
        """Write one object of the log."""
        self._ledger.record(*entries)

    def finish(self) -> None:
        """Merge the log into the table, as a task does at its end."""
        self._ledger.close(is_finished=True)
