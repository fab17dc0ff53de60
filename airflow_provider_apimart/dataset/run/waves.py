"""
The decision whether a worker stays with a dataset or leaves the waiting to the triggerer.

=====================================================  ============================================================
Situation                                              The worker
=====================================================  ============================================================
a picture is being copied                              stays
rows are left, pictures take less than two minutes,    stays: a deferral would leave the gateway idle for as long as
work is expected within 20 s                           a picture takes
rows are left, pictures take longer                    leaves, and comes back soon after the first of them has ended
no row is left                                         stays while work is expected within 5 s, then leaves until all
                                                       have ended, or the first have waited for some minutes
20 s (5 s with no row left) without a submit or copy   leaves
=====================================================  ============================================================
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DatasetWait", "Wave", "has_work_within", "linger_seconds", "poll_seconds", "should_leave"]

#: Seconds for which a worker may be held without a submit or a copy.
LONGEST_IDLE: Final = 20.0
#: The same when no row is left to buy: only copies are waited for.
_TAIL_IDLE: Final = 5.0
#: Seconds that a picture takes, from which on a deferral costs little beside it.
_SLOW_PICTURE: Final = 120.0
#: Seconds for which the first finished pictures wait for others before a worker is woken.
_SHORTEST_LINGER, _LONGEST_LINGER, _TAIL_LINGER = 5.0, 120.0, 300.0
#: Share of a picture's duration for which finished ones wait for others while slots are free and rows are left.
_LINGER_SHARE: Final = 1 / 32
#: Polls in the time that a picture takes, and seconds between two polls at least.
_POLLS_PER_PICTURE, _SHORTEST_POLL = 10, 0.5


class DatasetWait(NamedTuple):
    """
    What a task waits for.

    :param task_ids: gateway tasks.
    :param deadline: Unix seconds after which the task stops waiting for them.
    :param wake_at: Unix seconds at which the worker has work whatever they do; infinite for never.
    :param linger: seconds for which the first ended task waits for others.
    :param accepted_at: Unix seconds when the last of them was accepted.
    """

    task_ids: list[str]
    deadline: float
    wake_at: float
    linger: float = 0.0
    accepted_at: float = 0.0


class Wave(NamedTuple):
    """
    The calls in flight, reduced to the numbers that the decision needs.

    :param ages: seconds since each was accepted.
    :param durations: seconds that recent pictures took, sorted; empty where nothing is known yet.
    :param left: calls that are still to be bought.
    :param copying: calls that are being copied.
    :param idle: seconds since the last submit or copy.
    """

    ages: Sequence[float]
    durations: Sequence[float]
    left: int
    copying: int
    idle: float


def should_leave(wave: Wave) -> bool:
    """Return whether the worker leaves the waiting to the triggerer; there is nothing to submit now."""
    if wave.copying:
        return False
    longest = LONGEST_IDLE if wave.left else _TAIL_IDLE
    if wave.idle >= longest or not wave.durations:
        return wave.idle >= longest
    if wave.left and _median(wave.durations) >= _SLOW_PICTURE:
        return True
    return not has_work_within(longest - wave.idle, wave)


def has_work_within(seconds: float, wave: Wave) -> bool:
    """Return whether at least one of the calls in flight is expected to end within some seconds."""
    durations = wave.durations
    expected = 0.0
    for age in wave.ages:
        ended, ending = bisect_right(durations, age), bisect_right(durations, age + seconds)
        # Beyond all that was seen, a call may end at any moment, or never.
        expected += (ending - ended) / (len(durations) - ended) if ended < len(durations) else 0.1
    return expected >= 1.0


def linger_seconds(wave: Wave) -> float:
    """Return the seconds for which the first finished pictures wait for others before a worker is woken."""
    if not wave.left:
        return _TAIL_LINGER
    if not wave.durations:
        return _SHORTEST_LINGER
    return min(_LONGEST_LINGER, max(_SHORTEST_LINGER, _LINGER_SHARE * _median(wave.durations)))


def poll_seconds(poll_interval: float, durations: Sequence[float]) -> float:
    """Return the seconds between two polls of a call: as the DAG author says, or more often for quick pictures."""
    if not durations:
        return poll_interval
    return min(poll_interval, max(_SHORTEST_POLL, _median(durations) / _POLLS_PER_PICTURE))


def _median(durations: Sequence[float]) -> float:
    return durations[len(durations) // 2]
