"""How far a dataset has come, in one line for people and as JSON for XCom. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.entry import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.dataset.budget import Budget
    from airflow_provider_apimart.dataset.ledger import State
    from airflow_provider_apimart.dataset.survey import Survey

__all__ = ["Progress", "is_due", "progress_of"]

#: Seconds over which the pace is measured.
_RECENT: Final = 600.0
#: Seconds between two lines in the log.
_BETWEEN_LINES: Final = 30.0
_TENTHS: Final = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far a dataset has come.

    :param at: Unix seconds, when this was true.
    :param spent: US dollars by this DAG run. Where the gateway names no cost, what was held for it counts.
    :param projected: US dollars when all is bought; ``None`` while nothing tells what a row costs.
    :param per_minute: paid calls whose pictures were copied of late; ``None`` where there were none.
    :param seconds_left: at that pace; ``None`` where there is none.
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
        pace = f"{self.per_minute:,.0f}" if self.per_minute >= _TENTHS else f"{self.per_minute:.1f}"
        return f"{rows}; {money}; {pace} pictures/min, {_duration(self.seconds_left)} left"

    def to_json(self) -> dict[str, Any]:
        """Return the same for XCom."""
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


def progress_of(found: Survey, budget: Budget, states: Iterable[State], *, now: float) -> Progress:
    """
    Return how far a dataset has come.

    :param states: of the purchases of this DAG run.
    :param now: Unix seconds.
    """
    bought = [state for state in states if state.status is Status.COPIED]
    costs = [state.cost for state in bought if state.cost is not None]
    remaining = found.left + found.waiting + found.in_flight
    spent = float(budget.spent)
    per_second = _pace(bought, now)
    return Progress(
        at=now,
        total=found.total,
        done=found.done,
        in_flight=found.in_flight,
        failed=found.failed,
        spent=spent,
        projected=round(spent + remaining * sum(costs) / len(costs), 6) if costs else None,
        per_minute=round(60 * per_second, 3) if per_second else None,
        seconds_left=round(remaining / per_second) if per_second else None,
    )


def is_due(previous: Progress, current: Progress) -> bool:
    """
    Whether a line in the log is due: at each tenth of the dataset, and else every half minute if something happened.

    :param previous: what the last line said.
    """
    if _tenth(previous) != _tenth(current):
        return True
    is_news = (previous.done, previous.in_flight, previous.failed) != (current.done, current.in_flight, current.failed)
    return is_news and current.at - previous.at >= _BETWEEN_LINES


def _pace(bought: Iterable[State], now: float) -> float | None:
    """Return purchases per second of late."""
    recent = [state for state in bought if state.updated_at > now - _RECENT]
    if not recent:
        return None
    # What began before the period counts as if it had begun with it.
    since = max(now - _RECENT, min(state.intended_at for state in recent))
    return len(recent) / max(1.0, now - since)


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
