"""
The next step of one paid call, decided from its state in the ledger.

====================================================  ================================================================
The ledger says                                       The call needs
====================================================  ================================================================
nothing, ``released``                                 BUY
``intended``, its sender may still be submitting      WAIT
``intended`` otherwise, ``presumed_lost``,            RESUBMIT while its key lives, where that is wanted; else GIVE_UP
``unanswered``
``accepted``, bought by this task instance            COLLECT; LATE once its time is over
``accepted``, bought by another one                   WAIT for a quarter of an hour, then COLLECT; LATE as above
``refused`` for a cause other than the row            BUY
``refused``, or ``failed`` and not charged            BUY while retries are left, or where a run or a clear began since
``failed`` otherwise                                  GIVE_UP
``copied``                                            DONE
``written_off``                                       WRITTEN_OFF
====================================================  ================================================================

A picture that an earlier purchase of the call has paid for makes it DONE wherever the table says BUY, RESUBMIT or
GIVE_UP, unless pictures are regenerated: then it is bought once more in each run.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, purchase_key
from airflow_provider_apimart.dataset.row import kind_of
from airflow_provider_apimart.gateway.request import KEY_LIFETIME

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.entry import CallState
    from airflow_provider_apimart.dataset.row import Call
    from airflow_provider_apimart.dataset.run.settings import Rules

__all__ = [
    "CallNeed",
    "CallStep",
    "decide_call",
    "intent_of",
    "is_unknown_key",
    "resubmitted",
    "was_resubmitted",
]

#: Seconds after which an accepted call of another task instance is collected by others: its buyer seems to be gone.
_ADOPTED_AFTER: Final = 15 * 60.0
#: Seconds until the ledger is read again for the outcome of another task's call. Most outcomes arrive at once.
_NEXT_READING: Final = 30.0
_PROMPT_LENGTH: Final = 4000


class CallStep(StrEnum):
    """The next step of one call; see the table of the module."""

    BUY = "buy"
    RESUBMIT = "resubmit"
    WAIT = "wait"
    COLLECT = "collect"
    LATE = "late"
    DONE = "done"
    WRITTEN_OFF = "written off"
    GIVE_UP = "give up"


class CallNeed(NamedTuple):
    """
    The next step of one call.

    :param reason: why it is given up.
    :param until: Unix seconds until which it waits.
    """

    step: CallStep
    reason: str = ""
    until: float = 0.0


_BUY: Final = CallNeed(CallStep.BUY)
_DONE: Final = CallNeed(CallStep.DONE)
_COLLECT: Final = CallNeed(CallStep.COLLECT)
_LATE: Final = CallNeed(CallStep.LATE, "it has not ended at the gateway within the timeout; a later run collects it")


def decide_call(state: CallState | None, rules: Rules, *, now: float) -> CallNeed:  # noqa: PLR0911 - a row of the table each
    """
    Return the next step of a call.

    :param state: its state in the ledger; ``None`` where it has none.
    :param now: Unix seconds by the store's clock.
    """
    if state is None:
        return _BUY
    if state.status is EntryStatus.INTENDED and now < state.answer_by:
        # An earlier try of this task instance has most likely died: no outcome will be recorded before `answer_by`.
        is_own = state.buyer == rules.writer
        return CallNeed(CallStep.WAIT, until=state.answer_by if is_own else min(state.answer_by, now + _NEXT_READING))
    if state.status is EntryStatus.ACCEPTED:
        return _accepted(state, rules, now)
    if state.status is EntryStatus.RELEASED or _is_to_be_regenerated(state, rules):
        return _BUY
    if state.status is EntryStatus.COPIED or (state.answer is not None and rules.on_existing == "reuse"):
        return _DONE
    if state.status is EntryStatus.WRITTEN_OFF:
        return CallNeed(CallStep.WRITTEN_OFF)
    if state.status in {EntryStatus.REFUSED, EntryStatus.FAILED}:
        return _ended(state, rules)
    return _unanswered(state, rules, now)


def intent_of(
    call: Call, state: CallState | None, rules: Rules, *, reserved: float | None, now: float, answer_by: float
) -> Entry:
    """
    Return the entry that must be in the ledger before a paid call is made.

    :param state: its state in the ledger so far; ``None`` where it has none.
    :param reserved: US dollars that are held for it.
    :param answer_by: Unix seconds after which this worker neither makes the call nor waits for its response.
    """
    generation, attempt, refusals, retries = _next_numbers(state, rules, now)
    row, request = call.row, call.request
    model, size, resolution, quality, n = kind_of(request)
    return Entry(
        row=row.number,
        id=row.id,
        first=call.first,
        n=n,
        fingerprint=row.fingerprint,
        status=EntryStatus.INTENDED,
        charged="unknown",
        generation=generation,
        attempt=attempt,
        refusals=refusals,
        retries=retries,
        idempotency_key=purchase_key(
            rules.ledger, row.fingerprint, row.id, call.first, generation=generation, attempt=attempt
        ),
        model=model,
        size=size,
        resolution=resolution,
        quality=quality,
        prompt=request.prompt[:_PROMPT_LENGTH],
        gateway=rules.gateway,
        reserved=reserved,
        writer=rules.writer,
        buyer=rules.writer,
        try_number=rules.try_number,
        run_id=rules.run_id,
        max_tries=rules.max_tries,
        intended_at=_first_intended_at(state, generation, attempt, now),
        answer_by=answer_by,
        updated_at=now,
        columns=dict(row.columns) or None,
    )


def is_unknown_key(state: CallState | None, intent: Entry) -> bool:
    """Return whether the key of an intent was submitted before, with an outcome that is not known."""
    return state is not None and state.charged == "unknown" and _has_key(state, intent.generation, intent.attempt)


def resubmitted(entry: Entry, rules: Rules, *, now: float, answer_by: float) -> Entry:
    """Return the entry of a call that is about to be submitted again with its key."""
    return replace(
        entry,
        status=EntryStatus.INTENDED,
        error=None,
        refusals=entry.refusals + 1,
        gateway=rules.gateway,
        writer=rules.writer,
        buyer=rules.writer,
        try_number=rules.try_number,
        run_id=rules.run_id,
        max_tries=rules.max_tries,
        answer_by=answer_by,
        updated_at=now,
    )


def was_resubmitted(entry: Entry, rules: Rules) -> bool:
    """Return whether this try has submitted a key again, and has got no usable response either."""
    is_own = entry.writer == rules.writer and entry.updated_at >= rules.try_began_at
    return entry.status is EntryStatus.UNANSWERED and entry.refusals > 0 and is_own


def _has_key(state: CallState, generation: int, attempt: int) -> bool:
    return (state.generation, state.attempt) == (generation, attempt)


def _first_intended_at(state: CallState | None, generation: int, attempt: int, now: float) -> float:
    """Return when a key was first intended, within the time for which the gateway remembers it."""
    if state is None or not _has_key(state, generation, attempt):
        return now
    # Nothing was bought with it, and the gateway has forgotten it: its life begins again.
    has_expired = state.charged == "no" and now >= state.intended_at + KEY_LIFETIME
    return now if has_expired else state.intended_at


def _accepted(state: CallState, rules: Rules, now: float) -> CallNeed:
    if now >= rules.deadline(state):
        return _LATE
    is_own = state.buyer == rules.writer or (not state.buyer and state.run_id == rules.run_id)
    adopted_at = state.accepted_at + _ADOPTED_AFTER
    if not is_own and now < adopted_at:
        return CallNeed(CallStep.WAIT, until=min(adopted_at, rules.deadline(state), now + _NEXT_READING))
    return _COLLECT


def _unanswered(state: CallState, rules: Rules, now: float) -> CallNeed:
    if rules.on_unknown_submit == "fail":
        return _given_up(
            "the outcome of its paid call is not known; "
            "on_unknown_submit='resubmit' submits the same idempotency key again"
        )
    if now >= state.intended_at + KEY_LIFETIME:
        return _given_up("the outcome of its paid call is not known, and the gateway no longer knows a key of that age")
    if state.status is EntryStatus.UNANSWERED and not state.retryable and not _is_earlier(state, rules):
        return _given_up("the outcome of its paid call is not known, and the gateway has refused its key")
    return CallNeed(CallStep.RESUBMIT)


def _ended(state: CallState, rules: Rules) -> CallNeed:
    """Return the next step of a call that gave no picture."""
    if state.charged != "no":
        return _given_up("it ended without a picture, and was charged or may have been")
    is_about_row = not (state.status is EntryStatus.REFUSED and state.retryable)
    if _is_earlier(state, rules) or not is_about_row or (state.retryable and state.retries < rules.row_retries):
        return _BUY
    return _given_up("it ended without a picture and was not charged")


def _given_up(reason: str) -> CallNeed:
    return CallNeed(CallStep.GIVE_UP, reason)


def _is_earlier(state: CallState, rules: Rules) -> bool:
    """Return whether a purchase ended before this run began, or before the task was cleared: new retries are due."""
    if state.run_id == rules.run_id:
        return state.max_tries < rules.max_tries
    return state.updated_at < rules.run_began_at


def _is_to_be_regenerated(state: CallState, rules: Rules) -> bool:
    is_earlier = state.run_id != rules.run_id and state.intended_at < rules.run_began_at
    return rules.on_existing == "regenerate" and is_earlier


def _next_numbers(state: CallState | None, rules: Rules, now: float) -> tuple[int, int, int, int]:
    """Return generation, attempt, refusals and retries of the next purchase of a call."""
    if state is None:
        return 0, 0, 0, 0
    is_key_alive = now < state.intended_at + KEY_LIFETIME
    if state.status is EntryStatus.RELEASED and (
        state.charged == "no" or (state.charged == "unknown" and is_key_alive)
    ):
        return state.generation, state.attempt, state.refusals + 1, 0
    if state.charged != "no":
        return state.generation + 1, 0, 0, 0
    is_earlier = _is_earlier(state, rules)
    retries = 0 if is_earlier else state.retries
    if state.status is EntryStatus.REFUSED:
        return state.generation, state.attempt, state.refusals + 1, retries
    return state.generation, state.attempt + 1, 0, retries + (not is_earlier)
