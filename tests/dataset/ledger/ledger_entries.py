"""Ledger entries to test with."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

from dataset.ledger.model_store import NOW, ModelClient, ModelServer

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, Failure
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["RUN", "accepted", "copied", "entry", "failed", "ledger_of", "store_of"]

RUN = "dag/monday"
_USUAL: dict[str, Any] = {
    "row": 1,
    "id": "sku-1",
    "status": EntryStatus.INTENDED,
    "charged": "unknown",
    "prompt": "a cat",
    "model": "gpt-image-2",
    "reserved": 0.5,
    "fingerprint": "0" * 32,
    "writer": "alice",
    "buyer": "alice",
    "try_number": 1,
    "run_id": RUN,
    "intended_at": NOW,
    "answer_by": NOW + 400,
    "updated_at": NOW,
}


def entry(row: int = 1, **changes: Any) -> Entry:
    """Return an intent, unless told otherwise."""
    values = {**_USUAL, "row": row, "id": f"sku-{row}", **changes}
    numbers = (values["id"], values.get("first", 0), values.get("generation", 0), values.get("attempt", 0))
    return Entry(**{"idempotency_key": "-".join(map(str, numbers)), **values})


def accepted(intent: Entry, *task_ids: str) -> Entry:
    ids = task_ids or (f"task-{intent.idempotency_key}",)
    return replace(intent, status=EntryStatus.ACCEPTED, task_ids=ids, accepted_at=intent.intended_at + 1)


def copied(intent: Entry, *task_ids: str, cost: float | None = 0.25, **changes: Any) -> Entry:
    objects = ({"uri": f"s3://bucket/{intent.id}.png"},)
    settled = {"status": EntryStatus.COPIED, "charged": "yes", "cost": cost, "credits_cost": cost and 10 * cost}
    settled |= {"objects": objects, "reserved": intent.reserved if cost is None else None}
    return replace(accepted(intent, *task_ids), **{**settled, **changes})


def failed(intent: Entry, **changes: Any) -> Entry:
    free = {"status": EntryStatus.FAILED, "charged": "no", "cost": 0.0, "reserved": None}
    return replace(intent, **{**free, "error": Failure(None, "no capacity", retryable=True), **changes})


def store_of(server: ModelServer, **client: Any) -> LedgerStore:
    return LedgerStore(ModelClient(server, **client), "bucket", "prefix", clock=lambda: server.now)  # type: ignore[arg-type]


def ledger_of(store: LedgerStore, *, writer: str = "alice", try_number: int = 1, held: float = math.inf) -> Ledger:
    log = logging.getLogger("test")
    return Ledger.open(store, writer=writer, try_number=try_number, warn=log.warning, held=held, sleep=lambda _: None)
