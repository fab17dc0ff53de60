"""
Decisions of a person about single rows, which are recorded in the ledger as entries.

===============  =================================================  ==================================================
Verdict          Calls that it applies to                           Effect
===============  =================================================  ==================================================
``accept-loss``  calls without a picture that are not being         the row counts as done without a picture
                 submitted
``buy-again``    calls without a picture that are not being         the next run buys: with the old key if the outcome
                 submitted                                          is unknown and the gateway still knows the key,
                                                                    else with a new key
``not-bought``   calls of unknown outcome                           the next run buys; nothing was charged
``bought``       one call of unknown outcome                        the next run collects the given gateway task
``regenerate``   calls with a picture                               the next run buys again; the old picture is kept
===============  =================================================  ==================================================
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from airflow_provider_apimart.dataset.ledger.entry import ABANDONED_AFTER, UNSETTLED, Entry, EntryStatus, purchase_key
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import KEY_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["Verdict", "decide_rows", "undecided_calls"]

Verdict = Literal["accept-loss", "buy-again", "not-bought", "bought", "regenerate"]

_log: Final = logging.getLogger(__name__)
_FREE: Final[dict[str, Any]] = {"charged": "no", "cost": 0.0, "credits_cost": 0.0, "reserved": None}


def decide_rows(
    store: LedgerStore,
    ids: Collection[str],
    verdict: Verdict,
    *,
    task_id: str | None = None,
    first: int | None = None,
) -> list[Entry]:
    """
    Record a verdict about all calls of some rows that it applies to, and return the new entries.

    :param ids: of the rows.
    :param verdict: see the table of the module.
    :param task_id: of the gateway task, for ``"bought"`` alone, which takes one call.
    :param first: of a row that takes several calls, the one that begins with this picture, from 0; ``None`` for all.
    :raises InvalidRequestError: when it does not apply to any call of one of the rows. Nothing was recorded.
    :raises RecordUnavailableError: when it is not certain that the verdict is recorded.
    """
    if isinstance(ids, str):
        raise _refused("ids", ids, "is a text: pass a list of ids", verdict)
    is_one = verdict != "bought" or len(ids) == 1
    if verdict not in get_args(Verdict) or (verdict == "bought") != (task_id is not None) or not is_one:
        raise _refused(
            "verdict",
            verdict,
            "does not exist, or takes a single id, or a task id is missing or not allowed",
            verdict,
        )
    ledger = Ledger.open(store, writer=f"person-{uuid.uuid4().hex[:12]}", try_number=0, warn=_log.warning)
    entries = _newest(store, ledger.index, lambda entry: entry.id in ids and first in {None, entry.first})

    def decide(index: Index) -> list[Entry]:
        now = store.now()
        decided: dict[str, list[Entry]] = {row_id: [] for row_id in ids}
        for entry in entries:
            if index.is_newest(entry) and _applies(verdict, entry, now):
                decided[entry.id].append(_decided(store.address, entry, verdict, task_id=task_id, now=now))
        for row_id, new in decided.items():
            if not new or (task_id and len(new) > 1):
                states = ", ".join(entry.status for entry in entries if entry.id == row_id) or "not in the ledger"
                problem = (
                    f"has {len(new)} calls of unknown outcome, and a gateway task is one of them: name the call by "
                    "its first picture"
                    if new
                    else f"is {states}, to which {verdict!r} does not apply"
                )
                raise _refused("ids", row_id, problem, verdict)
        return [replace(entry, writer=ledger.writer) for new in decided.values() for entry in new]

    appended = ledger.claim(decide)
    ledger.close(is_finished=False)
    return appended


def undecided_calls(store: LedgerStore) -> list[Entry]:
    """
    Return the newest entry of each call that has no picture and is not written off, in the order of the rows.

    :raises RecordUnavailableError: when the ledger cannot be read.
    """
    index = Ledger.open(store, writer="", try_number=0, warn=_log.warning).index
    settled = {EntryStatus.COPIED, EntryStatus.WRITTEN_OFF}
    entries = _newest(store, index, lambda entry: entry.status not in settled)
    return sorted(entries, key=lambda entry: (entry.row, entry.first))


def _newest(store: LedgerStore, index: Index, is_wanted: Callable[[Entry], bool]) -> Sequence[Entry]:
    newest = {entry.key: entry for entry in read_entries(store) if is_wanted(entry) and index.is_newest(entry)}
    return [entry for entry in newest.values() if index.is_newest(entry)]


def _applies(verdict: Verdict, entry: Entry, now: float) -> bool:
    if verdict == "regenerate":
        return entry.status is EntryStatus.COPIED
    is_being_submitted = entry.status is EntryStatus.INTENDED and now < entry.answer_by
    if entry.status is EntryStatus.COPIED or is_being_submitted:
        return False
    is_unknown = entry.status in UNSETTLED and entry.status is not EntryStatus.ACCEPTED
    return is_unknown or verdict in {"accept-loss", "buy-again"}


def _decided(ledger: str, entry: Entry, verdict: Verdict, *, task_id: str | None, now: float) -> Entry:
    if verdict == "accept-loss":
        return replace(entry, status=EntryStatus.WRITTEN_OFF, updated_at=now)
    if verdict == "bought":
        # So old that any task of the shard collects it, and not only its buyer.
        return replace(
            entry,
            status=EntryStatus.ACCEPTED,
            charged="unknown",
            task_ids=(str(task_id),),
            error=None,
            accepted_at=min(entry.intended_at, now - ABANDONED_AFTER),
            updated_at=now,
        )
    released = replace(entry, status=EntryStatus.RELEASED, error=None, objects=(), delivered=(), updated_at=now)
    if verdict == "not-bought":
        return replace(released, refusals=entry.refusals + 1, **_FREE)
    is_unknown = entry.status in UNSETTLED and entry.status is not EntryStatus.ACCEPTED
    if is_unknown and now < entry.intended_at + KEY_LIFETIME:
        return replace(released, refusals=entry.refusals + 1)
    generation = entry.generation + 1
    key = purchase_key(ledger, entry.fingerprint, entry.id, entry.first, generation=generation, attempt=0)
    new: dict[str, Any] = {"generation": generation, "attempt": 0, "refusals": 0, "retries": 0, "intended_at": now}
    return replace(released, **new, **_FREE, task_ids=(), idempotency_key=key, accepted_at=0.0)


def _refused(field: str, value: object, problem: str, verdict: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The verdict {verdict!r} was not recorded: {field}={value!r} {problem}. Nothing was submitted or charged. "
        "List the rows that have no picture with: python -m airflow_provider_apimart.dataset ADDRESS list",
        field=field,
        value=value,
    )
