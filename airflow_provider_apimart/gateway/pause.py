"""A pause that all requests of one account keep."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SharedPause"]


class SharedPause:
    """
    When the gateway asks one request to wait, the others that follow would only be refused too.

    :param clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._lock = threading.Lock()

    def extend(self, seconds: float) -> None:
        """Let nothing be sent for so long; a longer pause that is kept already stays."""
        with self._lock:
            self._until = max(self._until, self._clock() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds that are left, or 0."""
        return max(0.0, self._until - self._clock())
