"""
The decision about one paid call: what it needs next, by what the ledger says of it.

====================================================  ================================================================
The ledger says                                       The call needs
====================================================  ================================================================
nothing, ``released``                                 BUY
``intended``, its sender may still be submitting      WAIT
``intended`` otherwise, ``presumed_lost``,            RESUBMIT while its key lives, where that is wanted; else GIVE_UP
``unanswered``
``accepted``, bought by this task instance            COLLECT; LATE once its time is over
``accepted``, bought by another one                   WAIT for a quarter of an hour, then COLLECT or LATE
``refused`` for what has nothing to do with the row   BUY
``refused``, or ``failed`` and not charged            BUY while retries are left, or where a run or a clear began since
``failed`` otherwise                                  GIVE_UP
``copied``                                            DONE
``written_off``                                       WRITTEN_OFF
====================================================  ================================================================

A picture that an earlier purchase of the call has paid for makes it DONE wherever the table says BUY, RESUBMIT or
GIVE_UP, unless pictures are regenerated: then it is bought once more in each run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, purchase_key
from airflow_provider_apimart.dataset.row import kind_of
from airflow_provider_apimart.gateway.request import KEY_LIFETIME

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.entry import CallState
    from airflow_provider_apimart.dataset.row import Call

__all__ = ["CallNeed", "CallStep", "Rules", "decide_call", "intent_of", "resubmitted"]

#: Seconds after which an accepted call of another task instance is taken to have nobody who collects it.
_ADOPTED_AFTER: Final = 15 * 60.0
#: Seconds after which it is worth reading again whether somebody else's call was answered: most are, at once.
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
_LATE: Final = CallNeed(CallStep.LATE, "it still runs at the gateway after the timeout; a later run collects it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    The parameters of the DAG author, and who works.

    :param ledger: address of the ledger: the same row in another one is another picture.
    :param writer: this task instance.
    :param try_number: of this try.
    :param run_id: of the DAG run, as ``dag_id/run_id``.
    :param run_began_at: Unix seconds, of the DAG run. What another run did later was done while this one was running
        and is not done once more: two runs at a time would buy from each other for ever.
    :param try_began_at: Unix seconds, of this try.
    :param max_tries: of the task instance; a clear raises it, which allows new retries.
    :param on_existing: ``"regenerate"`` buys once more, in each run, what other runs had bought when this one began.
    :param on_unknown_submit: ``"resubmit"`` submits a key again whose response was lost; ``"fail"`` gives the row up.
    :param row_retries: how often a call is bought again in one run after it failed without being charged.
    :param timeout: seconds that one try waits for an accepted call.
    """

    ledger: str
    writer: str
    try_number: int
    run_id: str
    run_began_at: float
    try_began_at: float
    max_tries: int
    on_existing: Literal["reuse", "regenerate"] = "reuse"
    on_unknown_submit: Literal["fail", "resubmit"] = "fail"
    row_retries: int = 2
    timeout: float = 600.0

    def deadline(self, state: CallState | Entry) -> float:
        """Return the Unix seconds until which this try waits for an accepted call."""
        is_own = state.run_id == self.run_id
        return (max(state.accepted_at, self.try_began_at) if is_own else state.accepted_at) + self.timeout


def decide_call(state: CallState | None, rules: Rules, *, now: float) -> CallNeed:  # noqa: PLR0911 - a row of the table each
    """
    Return the next step of a call.

    :param state: what the ledger says of it.
    :param now: Unix seconds by the store's clock.
    """
    if state is None:
        return _BUY
    if state.status is EntryStatus.INTENDED and now < state.answer_by:
        # A predecessor of this task instance is dead, most likely: nobody will write an outcome before then.
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

    :param state: what the ledger says of the call so far.
    :param reserved: US dollars that are held for it.
    :param answer_by: Unix seconds after which this worker neither makes the call nor waits for its response.
    """
    generation, attempt, refusals, retries = _next_numbers(state, rules, now)
    is_same_key = state is not None and (generation, attempt) == (state.generation, state.attempt)
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
        reserved=reserved,
        writer=rules.writer,
        buyer=rules.writer,
        try_number=rules.try_number,
        run_id=rules.run_id,
        max_tries=rules.max_tries,
        intended_at=state.intended_at if state is not None and is_same_key else now,
        answer_by=answer_by,
        updated_at=now,
        columns=dict(row.columns) or None,
    )


def resubmitted(entry: Entry, rules: Rules, *, now: float, answer_by: float) -> Entry:
    """Return the entry of a call that is about to be submitted again with its key."""
    return replace(
        entry,
        status=EntryStatus.INTENDED,
        error=None,
        refusals=entry.refusals + 1,
        writer=rules.writer,
        buyer=rules.writer,
        try_number=rules.try_number,
        run_id=rules.run_id,
        max_tries=rules.max_tries,
        answer_by=answer_by,
        updated_at=now,
    )


def _accepted(state: CallState, rules: Rules, now: float) -> CallNeed:
    is_own = state.buyer == rules.writer or (not state.buyer and state.run_id == rules.run_id)
    adopted_at = state.accepted_at + _ADOPTED_AFTER
    if not is_own and now < adopted_at:
        return CallNeed(CallStep.WAIT, until=min(adopted_at, now + _NEXT_READING))
    return _COLLECT if now < rules.deadline(state) else _LATE


def _unanswered(state: CallState, rules: Rules, now: float) -> CallNeed:
    if rules.on_unknown_submit == "fail":
        return _given_up(
            "its paid call was submitted, or was about to be, and its outcome is not known; "
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
