"""Whether the batch endpoint of a gateway can be used, and for how many ids at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FIRST_SIZE", "LARGEST_SIZE", "SMALLEST_SIZE", "BatchEndpoint"]

#: Ids in the first request. The vendors publish no limit; the only imitation whose limit is known takes 50.
FIRST_SIZE: Final = 50
#: Ids in one request at most: beyond this, a larger answer costs more than another request.
LARGEST_SIZE: Final = 200
#: An endpoint that refuses this few ids is not worth the trouble.
SMALLEST_SIZE: Final = 5
#: Seconds until an endpoint that was missing or odd is tried again, and one that refused larger requests is asked more.
_RETRY_AFTER: Final = 15 * 60.0


class BatchEndpoint:
    """
    What has been learnt about the batch endpoint of one gateway.

    :param enabled: ``False`` to never use it.
    :param warn: told when it is given up for a while.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, *, enabled: bool, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._enabled = enabled
        self._warn = warn
        self._clock = clock
        self._size = FIRST_SIZE
        self._unusable_until = float("-inf")
        self._limited_until = float("-inf")

    @property
    def is_usable(self) -> bool:
        """Whether to ask in batches."""
        return self._enabled and self._clock() >= self._unusable_until

    @property
    def size(self) -> int:
        """How many ids to ask after in one request."""
        return self._size

    def accepted(self, count: int) -> None:
        """Ask for more next time, after a request that was as large as allowed."""
        if count >= self._size and self._clock() >= self._limited_until:
            self._size = min(2 * self._size, LARGEST_SIZE)

    def limit_to(self, count: int) -> None:
        """Ask for no more than this for a while; where that is too little to gain anything, turn the endpoint off."""
        if count < SMALLEST_SIZE:
            self.turn_off(f"a batch describes {count} tasks")
        else:
            self._size = count
            self._limited_until = self._clock() + _RETRY_AFTER

    def turn_off(self, reason: object) -> None:
        """Stop using the endpoint for a while."""
        if self.is_usable:  # Looks side by side find the same out, each for itself.
            self._warn(f"Batch look-ups do not work, each task is asked after by itself for 15 minutes: {reason}")
        self._unusable_until = self._clock() + _RETRY_AFTER
