"""When each waiting task is asked after next. Pure: time is handed in, nothing sleeps."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

__all__ = ["JITTER", "Schedule", "next_pause"]

#: Share of an interval by which each look is moved, so that tasks submitted together are not asked after together.
JITTER = 0.1

#: Seconds of pause after a look that failed, doubled each time up to the maximum.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds. The longest pause that a gateway gets by asking: what is finished meanwhile has about a day to live.
_LONGEST_RETRY_AFTER = 600.0


def next_pause(previous: float, *, asked: float | None) -> float:
    """
    Return the seconds to pause after a look that failed.

    :param previous: the pause after the look before, or 0 if that succeeded.
    :param asked: what the gateway asks for, where it does.
    """
    doubled = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * previous))
    return max(doubled, min(asked or 0.0, _LONGEST_RETRY_AFTER))


@dataclass
class Schedule:
    """
    The next look at each task.

    :param jitter: draws the share of an interval that is added, between ``-JITTER`` and ``JITTER``.
    """

    jitter: random.Random = field(default_factory=random.Random)
    _due: dict[str, float] = field(default_factory=dict)
    _intervals: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def add(self, task_id: str, *, first_look: float, interval: float) -> None:
        """Look at a task from ``first_look`` on, every ``interval`` seconds; for a known task the sooner counts."""
        self._intervals[task_id] = min(interval, self._intervals.get(task_id, interval))
        self._set(task_id, min(first_look, self._due.get(task_id, first_look)))

    def remove(self, task_id: str) -> None:
        """Look at a task no more."""
        self._due.pop(task_id, None)
        self._intervals.pop(task_id, None)

    def take_due(self, now: float) -> list[str]:
        """Return the tasks to look at now, and plan the next look at each."""
        taken = []
        while self._heap and self._heap[0][0] <= now:
            due, task_id = heapq.heappop(self._heap)
            # A task that was added twice stands in the heap twice.
            if self._due.get(task_id) == due:
                del self._due[task_id]
                taken.append(task_id)
        for task_id in taken:
            interval = self._intervals[task_id]
            self._set(task_id, now + interval * (1 + self.jitter.uniform(-JITTER, JITTER)))
        return taken

    def next_due(self) -> float | None:
        """Return when the next look is due, or ``None`` when nothing waits."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _set(self, task_id: str, due: float) -> None:
        self._due[task_id] = due
        heapq.heappush(self._heap, (due, task_id))
