"""All rows of a dataset at once: what to do now, and whether the task goes on, ends or fails. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.plan import Step, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import Ledger
    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Rules

__all__ = ["Next", "Survey", "Verdict", "fails_already", "survey", "verdict"]

#: Seconds after which a purchase of another dataset in the same ledger is taken to have nobody who copies it.
_ABANDONED: Final = 60 * 60
#: Rows whose reasons are kept.
_LISTED: Final = 50


@dataclass
class Survey:
    """
    What the rows need. A row that takes several paid calls counts as several.

    :param total: of the dataset.
    :param done: whose pictures are in S3.
    :param failed: that are given up.
    :param waiting: that another run is about to buy.
    :param left: that are still to be bought, those in ``buy`` among them.
    :param buy: the first of them, at most as many as may be in flight.
    :param resubmit: paid calls that go out once more with their old key.
    :param ask: accepted calls, those of rows that the dataset no longer has among them.
    :param given_up: the first of those that failed, and why.
    :param lost: calls that are given up as unknown, and are to be noted as that.
    :param look_again_at: Unix seconds when the first of ``waiting`` is worth another look.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    waiting: int = 0
    left: int = 0
    buy: list[Part] = field(default_factory=list)
    resubmit: list[tuple[Part, Entry]] = field(default_factory=list)
    ask: list[Entry] = field(default_factory=list)
    given_up: list[tuple[Part, str]] = field(default_factory=list)
    lost: list[Entry] = field(default_factory=list)
    look_again_at: float = math.inf

    @property
    def in_flight(self) -> int:
        """Paid calls that have not ended."""
        return len(self.ask) + len(self.resubmit)


def survey(
    parts: Iterable[Part], ledger: Ledger, rules: Rules, *, now: float, belongs: Callable[[Entry], bool]
) -> Survey:
    """
    Look at every row, in the order of the dataset.

    :param now: Unix seconds.
    :param belongs: whether a purchase would be of this task's shard. Those that are in flight without a row, because
        the dataset was changed, are paid for all the same, and are asked after too.
    """
    result = Survey()
    met = set()
    for part in parts:
        key = part.key
        if key in ledger.unsettled:
            met.add(key)
        _sort(result, part, ledger, rules, now)
    for key, entry in ledger.unsettled.items():
        is_abandoned = entry.run_id == rules.run_id or now >= entry.updated_at + _ABANDONED
        if key not in met and entry.status is Status.ACCEPTED and is_abandoned and belongs(entry):
            result.ask.append(entry)
    return result


def _sort(result: Survey, part: Part, ledger: Ledger, rules: Rules, now: float) -> None:
    key = part.key
    step, reason, at = need(ledger.find(key), rules, now=now)
    result.total += 1
    match step:
        case Step.BUY:
            result.left += 1
            if len(result.buy) < rules.max_in_flight:
                result.buy.append(part)
        case Step.RESUBMIT:
            result.resubmit.append((part, ledger.unsettled[key]))
        case Step.WAIT:
            result.waiting += 1
            result.look_again_at = min(result.look_again_at, at)
        case Step.ASK:
            result.ask.append(ledger.unsettled[key])
        case Step.DONE:
            result.done += 1
        case Step.GIVE_UP:
            result.failed += 1
            if len(result.given_up) < _LISTED:
                result.given_up.append((part, reason))
            entry = ledger.unsettled.get(key)
            if entry is not None and entry.status is Status.INTENDED:
                result.lost.append(entry)
        case _:
            assert_never(step)


class Next(StrEnum):
    """What a task does after a survey."""

    BUY = "buy"
    DEFER = "defer"
    FINISH = "finish"
    FAIL = "fail"


class Verdict(NamedTuple):
    """
    What a task does now.

    :param reason: why it fails.
    """

    next: Next
    reason: str = ""


def fails_already(found: Survey, rules: Rules) -> bool:
    """Whether more rows have failed than the DAG author allows, so that nothing more is bought."""
    return rules.max_failed is not None and found.failed > _allowed(found, rules)


def verdict(found: Survey, rules: Rules, *, objection: str | None) -> Verdict:
    """
    Return what the task does now.

    :param objection: the budget's, to the first of what is left, as the ledger is now.
    """
    may_buy = objection is None and not fails_already(found, rules) and found.in_flight < rules.max_in_flight
    if found.resubmit or (found.left and may_buy):
        return Verdict(Next.BUY)
    if found.in_flight or found.waiting:
        return Verdict(Next.DEFER)
    if found.failed > _allowed(found, rules):
        unbought = f" {found.left} of the others were not bought." if found.left else ""
        return Verdict(Next.FAIL, f"{found.failed} of {found.total} rows gave no picture.{unbought}")
    if found.left:
        return Verdict(Next.FAIL, f"{found.left} of {found.total} rows were not bought. {objection}")
    return Verdict(Next.FINISH)


def _allowed(found: Survey, rules: Rules) -> float:
    allowed = rules.max_failed or 0
    return allowed * found.total if isinstance(allowed, float) else allowed
