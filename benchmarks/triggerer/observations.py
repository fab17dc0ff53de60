"""Memory that the trigger runner and its supervisor share, so that watching the runner costs it next to nothing."""

from __future__ import annotations

import mmap

__all__ = ["Observations"]

_DOUBLE = 8
_STALL, _COLLECTION, _FIRST_TASK = range(3)


class Observations:
    """
    What is seen inside of the runner's process. Made before it is forked, read by its supervisor.

    :param tasks: how many tasks are waited for, besides that of the warm-up.
    """

    def __init__(self, tasks: int) -> None:
        self._values = memoryview(mmap.mmap(-1, _DOUBLE * (_FIRST_TASK + tasks + 1))).cast("d")

    def reset(self) -> None:
        """Forget what was seen while the runner started."""
        self._values[_STALL] = self._values[_COLLECTION] = 0.0

    @property
    def longest_stall(self) -> float:
        """Seconds for which the event loop did not come round at most."""
        return self._values[_STALL]

    @property
    def longest_collection(self) -> float:
        """Seconds that Python's garbage collector took at most, during which everything stands still."""
        return self._values[_COLLECTION]

    def note_stall(self, seconds: float) -> None:
        """Keep how late the event loop came round if that is the worst so far."""
        self._values[_STALL] = max(self._values[_STALL], seconds)

    def note_collection(self, seconds: float) -> None:
        """Keep how long a garbage collection took if that is the worst so far."""
        self._values[_COLLECTION] = max(self._values[_COLLECTION], seconds)

    def note_event(self, number: int, at: float) -> None:
        """Keep the Unix time at which the event of a task was fired."""
        self._values[_FIRST_TASK + number] = at

    def fired_at(self, number: int) -> float:
        """Return the Unix time at which the event of a task was fired; 0 for none."""
        return self._values[_FIRST_TASK + number]
