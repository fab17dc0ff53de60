"""Days, and how they are put together for a chart, all in UTC. Pure."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

__all__ = ["Period", "Unit", "day_of", "last_days", "read_period"]

#: Days that are shown where nobody asks for others.
_DEFAULT_DAYS: Final = 30
#: None of the models was on sale before. It keeps a chart from beginning at the birth of Christ.
_EARLIEST: Final = date(2020, 1, 1)
#: The most rows of a chart that people still tell apart.
_MOST_ROWS: Final = 92
_WEEK: Final = 7


class Unit(StrEnum):
    """What one bar of a chart stands for."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """Return the day with which the unit begins that a day is in; weeks begin on Mondays."""
        if self is Unit.DAY:
            return day
        return day - timedelta(day.weekday()) if self is Unit.WEEK else day.replace(day=1)


@dataclass(frozen=True, slots=True)
class Period:
    """
    Days in a row.

    :param first: the first of them.
    :param last: the last of them, which counts too.
    """

    first: date
    last: date

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    @property
    def begins_at(self) -> datetime:
        """The moment from which on it counts."""
        return datetime.combine(self.first, datetime.min.time(), UTC)

    @property
    def ends_at(self) -> datetime:
        """The moment from which on it counts no more."""
        return datetime.combine(self.last + timedelta(1), datetime.min.time(), UTC)

    @property
    def unit(self) -> Unit:
        """What a bar has to stand for, so that a chart of the period can be read."""
        days = (self.last - self.first).days + 1
        if days <= _MOST_ROWS:
            return Unit.DAY
        return Unit.WEEK if days <= _WEEK * _MOST_ROWS else Unit.MONTH

    def bars(self) -> list[date]:
        """Return the first days of all units that it touches."""
        days = (self.first + timedelta(after) for after in range((self.last - self.first).days + 1))
        return list(dict.fromkeys(map(self.unit.first_day, days)))


def day_of(moment: float) -> date:
    """
    Return the day that a moment is in.

    :param moment: Unix seconds.
    """
    return datetime.fromtimestamp(moment, UTC).date()


def last_days(number: int, today: date) -> Period:
    """Return today and the days before it, so many in all."""
    return Period(today - timedelta(number - 1), today)


def read_period(since: str, until: str, today: date) -> Period:
    """
    Return the days that a form asks for.

    What is no date, or none that can be meant, stands for the default: 30 days, and until today.

    :param since: the first day, as ``2026-11-01``.
    :param until: the last day.
    """
    last = min(_read_day(until) or today, today)
    first = _read_day(since) or last - timedelta(_DEFAULT_DAYS - 1)
    return Period(min(first, last), max(first, last)) if first <= today else last_days(_DEFAULT_DAYS, today)


def _read_day(text: str) -> date | None:
    with suppress(ValueError):
        day = date.fromisoformat(text)
        return day if day >= _EARLIEST else None
    return None
