"""Ledger entries and rules to test with, and a hypothesis strategy for any entry at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airflow_provider_apimart.dataset.entry import Entry, Failure, Status
from airflow_provider_apimart.dataset.plan import Rules

__all__ = ["CHARGED", "FINAL", "FREE", "LOST", "NOW", "UNANSWERED", "entries", "entry", "rules"]

#: Unix seconds.
NOW = 1_750_000_000.0

_USUAL: dict[str, Any] = {
    "row": 1,
    "id": "sku-1",
    "part": 0,
    "status": Status.COPIED,
    "charged": "yes",
    "prompt": "a cat",
    "model": "gpt-image-2",
    "n": 1,
    "generation": 0,
    "attempt": 0,
    "refusals": 0,
    "retries": 0,
    "idempotency_key": "airflow-1",
    "fingerprint": "0" * 32,
    "run_id": "monday",
    "max_tries": 0,
    "intended_at": NOW,
    "updated_at": NOW,
}


FINAL = Failure(None, "not allowed", retryable=False)
#: Of a purchase that ended without a picture and without cost.
FREE: dict[str, Any] = {
    "status": Status.FAILED,
    "charged": "no",
    "cost": 0.0,
    "error": Failure(None, "no capacity", retryable=True),
}
#: Of one that ended without a picture, and was paid for.
CHARGED: dict[str, Any] = {"status": Status.FAILED, "charged": "yes", "error": FINAL}
#: Of one that may have gone out.
UNANSWERED: dict[str, Any] = {"status": Status.INTENDED, "charged": "unknown"}
#: Of one that went out, and whose answer was lost.
LOST: dict[str, Any] = {"status": Status.UNKNOWN, "charged": "unknown", "error": Failure(None, "lost", retryable=True)}


def entry(**changes: Any) -> Entry:
    return Entry(**{**_USUAL, **changes})


def rules(**changes: Any) -> Rules:
    usual: dict[str, Any] = {
        "ledger": "s3://bucket/prefix/ledger/",
        "run_id": "monday",
        "began_at": NOW - 3600,
        "max_tries": 0,
        "on_unknown_submit": "fail",
    }
    return Rules(**{**usual, **changes})


_texts = st.text(max_size=8)
_counts = st.integers(0, 2)
_moments = st.integers(0, 4).map(lambda thousandths: NOW + thousandths / 1000)
_dollars = st.none() | st.floats(0, 10)
_mappings = st.lists(st.dictionaries(_texts, st.none() | _texts | st.integers(), max_size=2), max_size=2).map(tuple)

#: Few enough rows, generations and times that many entries are about the same purchase.
entries = st.builds(
    entry,
    row=_counts,
    id=st.sampled_from(["sku-1", "sku-2"]),
    part=st.integers(0, 1),
    status=st.sampled_from(Status),
    charged=st.sampled_from(["yes", "no", "unknown"]),
    cost=_dollars,
    credits_cost=_dollars,
    reserved=_dollars,
    prompt=st.text(st.characters(), max_size=8),
    size=st.none() | _texts,
    resolution=st.none() | _texts,
    quality=st.none() | _texts,
    n=_counts,
    objects=_mappings,
    error=st.none() | st.builds(Failure, st.none() | _texts, _texts, st.booleans()),
    task_ids=st.lists(_texts, max_size=2).map(tuple),
    delivered=_mappings,
    generation=_counts,
    attempt=_counts,
    refusals=_counts,
    retries=_counts,
    run_id=_texts,
    max_tries=_counts,
    intended_at=_moments,
    updated_at=_moments,
)
