"""The progress of a dataset, as one line for the log and as JSON for XCom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.run.plan import CallStep

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.money import Budget
    from airflow_provider_apimart.dataset.run.tally import Tally

__all__ = ["Progress", "is_report_due", "progress_of"]

#: Seconds between two lines in the log.
_BETWEEN_LINES: Final = 30.0
#: Seconds of work from which on a rate is worth telling.
_FIRST_RATE_AFTER: Final = 30.0
_TENTHS: Final = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """
    The progress of a dataset.

    :param at: Unix seconds, when this was true.
    :param total: paid calls that the dataset takes; ``done``, ``in_flight`` and ``failed`` count among them.
    :param spent: US dollars that this DAG run has spent. Where the gateway names no cost, what was held for it counts.
    :param projected: US dollars when all is bought; ``None`` while the price of a call is not known.
    :param per_minute: calls that this worker has completed each minute, since it started or resumed; ``None`` before
        the first.
    :param seconds_left: at that rate; ``None`` where there is none.
    """

    at: float
    total: int
    done: int
    in_flight: int
    failed: int
    spent: float
    projected: float | None
    per_minute: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        rows = f"{self.done:,} of {self.total:,} done, {self.in_flight:,} in flight, {self.failed:,} failed"
        money = f"{_dollars(self.spent)} USD spent"
        if self.projected is not None:
            money += f", about {_dollars(self.projected)} USD in all"
        if self.per_minute is None or not self.seconds_left:
            return f"{rows}; {money}"
        rate = f"{self.per_minute:,.0f}" if self.per_minute >= _TENTHS else f"{self.per_minute:.1f}"
        return f"{rows}; {money}; {rate} pictures/min, {_duration(self.seconds_left)} left"

    def to_json(self) -> dict[str, Any]:
        """Return the progress for XCom."""
        return {
            "schema_version": 1,
            "total": self.total,
            "done": self.done,
            "in_flight": self.in_flight,
            "failed": self.failed,
            "spent": self.spent,
            "projected": self.projected,
            "currency": "USD",
            "per_minute": self.per_minute,
            "seconds_left": self.seconds_left,
            "at": self.at,
        }


def progress_of(tally: Tally, budget: Budget, *, done_before: int, since: float, now: float) -> Progress:
    """
    Return the progress of a dataset.

    :param done_before: calls that were done when this worker began, ``since`` in Unix seconds.
    """
    in_flight = tally.count(CallStep.COLLECT, CallStep.WAIT)
    remaining = tally.left + in_flight + tally.count(CallStep.RESUBMIT)
    spent = float(budget.spent)
    elapsed = now - since
    per_second = (tally.done - done_before) / elapsed if elapsed >= _FIRST_RATE_AFTER else 0.0
    return Progress(
        at=now,
        total=tally.total,
        done=tally.done,
        in_flight=in_flight,
        failed=tally.failed,
        spent=spent,
        projected=round(spent + remaining * spent / budget.settled, 6) if budget.settled and spent else None,
        per_minute=round(60 * per_second, 3) if per_second > 0 else None,
        seconds_left=round(remaining / per_second) if per_second > 0 else None,
    )


def is_report_due(previous: Progress, current: Progress) -> bool:
    """Return whether to log a line: at each tenth of the dataset, otherwise every half minute if something changed."""
    if _tenth(previous) != _tenth(current):
        return True
    counts = (previous.done, previous.in_flight, previous.failed)
    has_changed = counts != (current.done, current.in_flight, current.failed)
    return has_changed and current.at - previous.at >= _BETWEEN_LINES


def _tenth(progress: Progress) -> int:
    return _TENTHS * (progress.done + progress.failed) // max(1, progress.total)


def _dollars(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    return f"{int(hours)} h {int(minutes) % 60} min"
