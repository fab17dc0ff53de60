"""
What each row needs next, which rows are bought now, and when a task defers, ends or fails. Pure.

=====================================================  ==============================================================
The ledger says                                        The row needs
=====================================================  ==============================================================
nothing                                                BUY
``intended`` by another run, a short while ago         WAIT: that run may be about to hear the answer
``intended`` or ``unknown``                            RESUBMIT within the life of its key, where that is wanted
``accepted``                                           ASK
``refused`` for what has nothing to do with the row    BUY
``refused``, or ``failed`` and not charged             BUY, where retries are left, or since then a run or a clear began
``copied``, or ``failed`` and perhaps charged          BUY, where an earlier run did that and pictures are regenerated
``copied`` otherwise                                   DONE
anything else                                          GIVE_UP
=====================================================  ==============================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from airflow_provider_apimart.dataset.entry import Entry, Status
from airflow_provider_apimart.dataset.part import kind_of
from airflow_provider_apimart.gateway.request import idempotency_key

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger import State
    from airflow_provider_apimart.dataset.part import Part

__all__ = ["KEY_LIFETIME", "Need", "Numbers", "OnExisting", "OnUnknownSubmit", "Rules", "Step", "intended", "need"]

OnExisting = Literal["reuse", "regenerate"]
OnUnknownSubmit = Literal["fail", "resubmit"]

#: Seconds for which a gateway is trusted to recognise an idempotency key. The vendor says 24 hours.
KEY_LIFETIME: Final = 23 * 60 * 60
#: Seconds for which a call that another run was about to make is taken to be on its way.
_PATIENCE: Final = 10 * 60
#: Seconds after which it is worth looking whether it was answered: most are, at once.
_NEXT_LOOK: Final = 30
_PROMPT_LENGTH: Final = 200


class Step(StrEnum):
    """What one purchase needs next."""

    BUY = "buy"
    RESUBMIT = "resubmit"
    WAIT = "wait"
    ASK = "ask"
    DONE = "done"
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What the DAG author wants, and which run it is.

    :param ledger: address of the ledger: the same row in another one is another picture.
    :param run_id: of the DAG run.
    :param began_at: Unix seconds, of the DAG run. What another run did later was done while this one was running, and
        is not done once more: two runs at a time would buy from each other for ever.
    :param max_tries: of the task instance. It grows when a person clears the task, which allows new retries.
    :param on_existing: ``"regenerate"`` buys anew, once, what other runs had bought when this one began.
    :param on_unknown_submit: ``"resubmit"`` sends a key once more whose answer was lost; ``"fail"`` gives the row up.
    :param row_retries: how often a row is bought again after it failed without being charged.
    :param max_in_flight: purchases that run at the gateway at once.
    :param max_cost: US dollars that the DAG run may spend from this ledger, whatever its shards; ``None`` for no limit.
    :param max_failed: how many rows may fail, or, as a float, which share of them. ``None`` for none, and no failure
        keeps the others from being bought.
    """

    ledger: str
    run_id: str
    began_at: float
    max_tries: int
    on_existing: OnExisting = "reuse"
    on_unknown_submit: OnUnknownSubmit
    row_retries: int = 2
    max_in_flight: int = 200
    max_cost: float | None = None
    max_failed: float | None = None


class Need(NamedTuple):
    """
    What one purchase needs.

    :param reason: why it is given up.
    :param at: Unix seconds until which it waits.
    """

    step: Step
    reason: str = ""
    at: float = 0.0


class Numbers(NamedTuple):
    """What tells a purchase from the earlier ones of the same row, as in :class:`Entry`."""

    generation: int
    attempt: int
    refusals: int
    retries: int


_BUY: Final = Need(Step.BUY)
_DONE: Final = Need(Step.DONE)
_ASK: Final = Need(Step.ASK)


def need(state: State | None, rules: Rules, *, now: float) -> Need:
    """
    Return what a purchase needs next.

    :param state: what the ledger says of it.
    :param now: Unix seconds.
    """
    if state is None:
        return _BUY
    if state.status is Status.ACCEPTED:
        return _ASK
    if state.status in {Status.INTENDED, Status.UNKNOWN}:
        return _unanswered(state, rules, now)
    if state.charged == "no":
        return _free(state, rules)
    return _paid(state, rules)


def intended(part: Part, state: State | None, rules: Rules, *, reserved: float | None, now: float) -> Entry:
    """
    Return the entry that must be in the ledger before a paid call goes out.

    :param state: what the ledger says of the row so far.
    :param reserved: US dollars held for it.
    """
    numbers = _next_numbers(state, rules)
    row, request = part.row, part.request
    key = idempotency_key("dataset", rules.ledger, row.fingerprint, row.id, part.index, *numbers[:2])
    model, size, resolution, quality, n = kind_of(request)
    return Entry(
        row=row.number,
        id=row.id,
        part=part.index,
        fingerprint=row.fingerprint,
        status=Status.INTENDED,
        charged="unknown",
        **numbers._asdict(),
        idempotency_key=key,
        model=model,
        size=size,
        resolution=resolution,
        quality=quality,
        n=n,
        prompt=request.prompt[:_PROMPT_LENGTH],
        reserved=reserved,
        run_id=rules.run_id,
        max_tries=rules.max_tries,
        intended_at=now,
        updated_at=now,
    )


def _unanswered(state: State, rules: Rules, now: float) -> Need:
    answered_by = state.intended_at + _PATIENCE
    if state.status is Status.INTENDED and state.run_id != rules.run_id and now < answered_by:
        return Need(Step.WAIT, at=min(answered_by, now + _NEXT_LOOK))
    if _regenerates(state, rules):
        return _BUY
    if rules.on_unknown_submit == "fail":
        return Need(
            Step.GIVE_UP,
            "the paid call was sent, or was about to be, and its outcome is not known; "
            "on_unknown_submit='resubmit' sends the same idempotency key once more",
        )
    if now >= state.intended_at + KEY_LIFETIME:
        return Need(
            Step.GIVE_UP,
            "the outcome of the paid call is not known, and it is too long ago for the gateway to recognise its key",
        )
    if state.status is Status.UNKNOWN and not state.retryable and not _is_earlier(state, rules):
        return Need(
            Step.GIVE_UP,
            "the outcome of the paid call is not known, and the gateway has refused its key for what the row asks for",
        )
    return Need(Step.RESUBMIT)


def _paid(state: State, rules: Rules) -> Need:
    """Return what a purchase needs that has ended, and was or may have been paid for."""
    if _regenerates(state, rules):
        return _BUY
    if state.status is Status.COPIED:
        return _DONE
    return Need(Step.GIVE_UP, "it ended without a picture, and was charged or may have been")


def _free(state: State, rules: Rules) -> Need:
    """Return what a purchase needs that ended without a picture and without cost."""
    if _is_earlier(state, rules) or (state.status is Status.REFUSED and state.retryable):
        return _BUY
    if state.retryable and state.retries < rules.row_retries:
        return _BUY
    return Need(Step.GIVE_UP, "it ended without a picture and was not charged")


def _is_earlier(state: State, rules: Rules) -> bool:
    """Whether it ended before this run began, or before the task was cleared: it is worth new retries."""
    if state.run_id == rules.run_id:
        return state.max_tries < rules.max_tries
    return state.updated_at < rules.began_at


def _regenerates(state: State, rules: Rules) -> bool:
    return rules.on_existing == "regenerate" and state.run_id != rules.run_id and state.intended_at < rules.began_at


def _next_numbers(state: State | None, rules: Rules) -> Numbers:
    if state is None:
        return Numbers(0, 0, 0, 0)
    if state.charged != "no":
        return Numbers(state.generation + 1, 0, 0, 0)
    retries = 0 if _is_earlier(state, rules) else state.retries
    if state.status is Status.REFUSED:
        return Numbers(state.generation, state.attempt, state.refusals + 1, retries)
    return Numbers(state.generation, state.attempt + 1, 0, retries + (not _is_earlier(state, rules)))
