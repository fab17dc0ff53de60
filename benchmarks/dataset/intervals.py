"""Stretches of time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    #: Unix seconds, of the beginning and of the end.
    Interval = tuple[float, float]

__all__ = ["length", "merged", "overlap"]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same time without overlaps, in order."""
    result: list[Interval] = []
    for begin, end in sorted(intervals):
        if result and begin <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


def length(intervals: Iterable[Interval]) -> float:
    """Return seconds, those of overlaps as often as they occur."""
    return sum(end - begin for begin, end in intervals)


def overlap(interval: Interval, others: Sequence[Interval]) -> float:
    """
    Return the seconds of an interval that are also in others.

    :param others: without overlaps.
    """
    return sum(max(0.0, min(interval[1], end) - max(interval[0], begin)) for begin, end in others)
