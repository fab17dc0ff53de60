"""All rows of a dataset at once: what each needs, what a worker does now, and how the task ends. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.plan import Step, need

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import Ledger
    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Need, Rules
    from airflow_provider_apimart.dataset.spool import Spool

__all__ = ["NOTHING", "Next", "Survey", "Turn", "Verdict", "fails_already", "survey", "turn", "verdict"]

#: Seconds after which a purchase of another dataset in the same ledger is taken to have nobody who copies it.
_ABANDONED: Final = 60 * 60
#: The part of what is in flight, one of so many, that is worth a worker's turn.
_WORTH_A_TURN: Final = 4
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

    def count_orphan(self, entry: Entry) -> None:
        """Take note of a purchase that is not settled, and of which the dataset has no row any more."""
        if entry.status is Status.ACCEPTED:
            self.ask.append(entry)
        elif entry.status is Status.INTENDED:
            self.lost.append(entry)

    def count(self, found: Need, part: Callable[[], Part], entry: Entry | None, *, at_most: int) -> None:
        """
        Count one more paid call of the dataset.

        :param part: reads it from the spool.
        :param entry: what the ledger says of it while it is not settled.
        :param at_most: how many of those that are to be bought are held.
        """
        self.total += 1
        match found.step:
            case Step.BUY:
                self.left += 1
                self.buy += [part()] if len(self.buy) < at_most else []
            case Step.RESUBMIT if entry is not None:
                self.resubmit.append((part(), entry))
            case Step.WAIT:
                self.waiting += 1
                self.look_again_at = min(self.look_again_at, found.at)
            case Step.ASK if entry is not None:
                self.ask.append(entry)
            case Step.DONE:
                self.done += 1
            case Step.GIVE_UP:
                self.failed += 1
                self.given_up += [(part(), found.reason)] if len(self.given_up) < _LISTED else []
                if entry is not None and entry.status is Status.INTENDED:
                    self.lost.append(entry)
            case _:  # pragma: no cover - what is asked after or sent again is not settled
                raise AssertionError(found)


def survey(spool: Spool, ledger: Ledger, rules: Rules, *, now: float, belongs: Callable[[Entry], bool]) -> Survey:
    """
    Look at every row, in the order of the dataset.

    :param spool: all paid calls that the dataset takes.
    :param now: Unix seconds.
    :param belongs: whether a purchase would be of this task's shard. Those that are in flight without a row, because
        the dataset was changed, are paid for all the same, and are asked after too.
    """
    result = Survey()
    met = set()
    for place, key in enumerate(spool.keys()):
        if key in ledger.unsettled:
            met.add(key)
        found = need(ledger.find(key), rules, now=now)
        result.count(found, partial(spool.__getitem__, place), ledger.unsettled.get(key), at_most=rules.max_in_flight)
    for key, entry in ledger.unsettled.items():
        is_abandoned = entry.run_id == rules.run_id or now >= entry.updated_at + _ABANDONED
        if key not in met and is_abandoned and belongs(entry):
            result.count_orphan(entry)
    return result


class Turn(NamedTuple):
    """
    What a worker does now, all of which may be nothing.

    :param resubmit: whether lost calls go out once more.
    :param buy: how many of the first rows of what is left.
    :param copy: whether what has ended is copied.
    """

    resubmit: bool
    buy: int
    copy: bool


NOTHING: Final = Turn(resubmit=False, buy=0, copy=False)


def turn(found: Survey, rules: Rules, *, ended: int, may_buy: bool, is_first: bool) -> Turn:
    """
    Return what a worker does now.

    It works for as long as there is much to do, and else leaves: what trickles in waits until it is worth a worker.

    :param ended: how many of the calls in flight have ended and are not copied yet. The gateway is done with them.
    :param may_buy: whether money and failures allow it.
    :param is_first: of this worker, which was called because there is something to do.
    """
    running = found.in_flight - ended
    room = max(0, rules.max_in_flight - running)
    wanted = min(found.left, room)
    is_much = wanted == found.left or wanted >= _share(rules.max_in_flight)
    buy = wanted if may_buy and (is_first or is_much) else 0
    copy = ended > 0 and (is_first or ended >= _share(found.in_flight))
    return Turn(bool(found.resubmit), buy, copy)


class Next(StrEnum):
    """What becomes of a task when a worker has nothing to do."""

    DEFER = "defer"
    FINISH = "finish"
    OVER_BUDGET = "over budget"
    FAIL = "fail"


class Verdict(NamedTuple):
    """
    What becomes of a task.

    :param reason: why it fails.
    """

    next: Next
    reason: str = ""


def fails_already(found: Survey, rules: Rules) -> bool:
    """Whether more rows have failed than the DAG author allows, so that nothing more is bought."""
    return rules.max_failed is not None and found.failed > _allowed(found, rules)


def verdict(found: Survey, rules: Rules, *, objection: str | None) -> Verdict:
    """
    Return what becomes of the task when a worker has nothing to do.

    :param objection: why nothing more is bought.
    """
    if found.in_flight or found.waiting:
        return Verdict(Next.DEFER)
    if found.failed > _allowed(found, rules):
        unbought = f" {found.left} of the others were not bought. {objection or ''}" if found.left else ""
        return Verdict(Next.FAIL, f"{found.failed} of {found.total} rows gave no picture.{unbought}".rstrip())
    if found.left:
        return Verdict(Next.OVER_BUDGET, f"{found.left} of {found.total} rows were not bought. {objection}")
    return Verdict(Next.FINISH)


def _allowed(found: Survey, rules: Rules) -> float:
    allowed = rules.max_failed or 0
    return allowed * found.total if isinstance(allowed, float) else allowed


def _share(whole: int) -> int:
    """Return how many of a whole are worth a worker's turn."""
    return max(1, whole // _WORTH_A_TURN)
