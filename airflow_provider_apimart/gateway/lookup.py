"""Asking after many tasks: in batches while the gateway understands that, one by one when it does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import (
    ApimartError,
    NotFoundError,
    RequestRejectedError,
    UnreadableAnswerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["BATCH_SIZE", "BatchEndpoint", "chunks"]

#: Ids in one request. The vendors publish no limit; the only imitation whose limit is known takes 50.
BATCH_SIZE: Final = 50
#: Seconds until a batch endpoint that was missing or odd is tried again.
_RETRY_AFTER: Final = 15 * 60.0


class BatchEndpoint:
    """
    Whether the batch endpoint of one gateway can be used now.

    :param enabled: ``False`` to never use it.
    :param clock: monotonic seconds.
    """

    def __init__(self, *, enabled: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._enabled = enabled
        self._clock = clock
        self._unusable_until = float("-inf")

    @property
    def is_usable(self) -> bool:
        """Whether to ask in batches."""
        return self._enabled and self._clock() >= self._unusable_until

    def turn_off_for(self, error: ApimartError) -> bool:
        """
        Stop using the endpoint for a while if the error says that it is missing or not understood.

        :return: whether it was turned off; any other error is the caller's to handle.
        """
        if not isinstance(error, NotFoundError | RequestRejectedError | UnreadableAnswerError):
            return False
        self._unusable_until = self._clock() + _RETRY_AFTER
        return True


def chunks(task_ids: Sequence[str], size: int = BATCH_SIZE) -> Iterator[Sequence[str]]:
    """Yield the ids in order, at most ``size`` at a time."""
    for start in range(0, len(task_ids), size):
        yield task_ids[start : start + size]
