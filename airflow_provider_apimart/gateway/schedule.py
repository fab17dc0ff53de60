"""When each waiting task is asked after next. Pure: time is handed in, nothing sleeps."""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["JITTER", "Schedule", "interval_between_looks", "next_pause"]

#: Share of an interval by which each look is moved, so that tasks submitted together are not asked after together.
JITTER = 0.1

#: Seconds of pause after a look that failed, doubled each time up to the maximum.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds. The longest pause that a gateway gets by asking: what is finished meanwhile has about a day to live.
_LONGEST_RETRY_AFTER = 600.0
#: Looks at single tasks. One costs more than a millisecond of the triggerer's only processor core.
_SINGLE_LOOKS_PER_SECOND = 75.0
#: Outdated entries that the heap may hold before it is made anew.
_SPARE_ENTRIES = 64


def next_pause(previous: float, *, asked: float | None) -> float:
    """
    Return the seconds to pause after a look that failed.

    :param previous: the pause after the look before, or 0 if that succeeded.
    :param asked: what the gateway asks for, where it does.
    """
    doubled = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * previous))
    return max(doubled, min(asked or 0.0, _LONGEST_RETRY_AFTER))


def interval_between_looks(wanted: float, *, waiting: int, in_batches: bool) -> float:
    """
    Return the seconds between two looks at a task.

    :param wanted: what was asked for.
    :param waiting: tasks that wait. Where each needs a request of its own, many of them are looked at less often, so
        that neither the gateway nor the triggerer is flooded.
    """
    return wanted if in_batches else max(wanted, waiting / _SINGLE_LOOKS_PER_SECOND)


@dataclass
class Schedule:
    """
    The next look at each task. A task that was taken comes again when it is put back.

    :param jitter: draws the share of an interval that is added, between ``-JITTER`` and ``JITTER``.
    """

    jitter: random.Random = field(default_factory=random.Random)
    _due: dict[str, float] = field(default_factory=dict)
    _intervals: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._intervals)

    def add(self, task_id: str, *, first_look: float, interval: float) -> None:
        """Look at a task from ``first_look`` on, every ``interval`` seconds; for a known task the sooner counts."""
        self._intervals[task_id] = min(interval, self._intervals.get(task_id, interval))
        if first_look < self._due.get(task_id, math.inf):
            self._set(task_id, first_look)

    def remove(self, task_id: str) -> None:
        """Look at a task no more."""
        self._due.pop(task_id, None)
        self._intervals.pop(task_id, None)

    def take_due(self, now: float, *, limit: int | None = None) -> list[str]:
        """Return the tasks to look at now, at most ``limit`` of them, those that waited longest first."""
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now and (limit is None or len(taken) < limit):
            due, task_id = heapq.heappop(self._heap)
            # A task that was added twice, or removed, stands in the heap with a moment that is no longer its own.
            if self._due.get(task_id) == due:
                del self._due[task_id]
                taken.append(task_id)
        return taken

    def put_back(self, task_ids: Iterable[str], *, looked_at: float, in_batches: bool = True) -> None:
        """
        Plan the next look at tasks that were taken, unless they were removed meanwhile.

        :param looked_at: when they were taken.
        :param in_batches: whether a look at many takes one request.
        """
        for task_id in task_ids:
            if task_id in self._intervals and task_id not in self._due:
                interval = interval_between_looks(
                    self._intervals[task_id], waiting=len(self._intervals), in_batches=in_batches
                )
                self._set(task_id, looked_at + interval * (1 + self.jitter.uniform(-JITTER, JITTER)))

    def next_due(self) -> float | None:
        """Return when the next look is due, or ``None`` when none is planned."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _set(self, task_id: str, due: float) -> None:
        self._due[task_id] = due
        heapq.heappush(self._heap, (due, task_id))
        if len(self._heap) > 2 * len(self._due) + _SPARE_ENTRIES:
            self._heap = [(moment, waiting) for waiting, moment in self._due.items()]
            heapq.heapify(self._heap)
