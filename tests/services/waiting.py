"""Waiting for something to become true, with a deadline and a message that helps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PATIENCE", "ServiceError", "wait_until"]

#: Seconds for what takes a few on a quiet machine. Nobody waits for them unless something is wrong.
PATIENCE = 900.0

Result = TypeVar("Result")


class ServiceError(Exception):
    """A service did not start, ended by itself, or did not do in time what was waited for."""


def wait_until(
    condition: Callable[[], Result],
    *,
    what: str,
    within: float,
    pause: float = 0.2,
    explain: Callable[[], str] = lambda: "",
) -> Result:
    """
    Call a condition until it returns something true, and return that.

    :param condition: may raise :class:`ServiceError` to give up early.
    :param what: completes the sentence "Waited 60 s for ...".
    :param within: seconds.
    :param pause: seconds between two calls.
    :param explain: what to add to the message when time is up, for example the end of a log.
    :raises ServiceError: when time is up.
    """
    deadline = time.monotonic() + within
    while True:
        # Asked before the condition: what has come true while the machine stood still counts.
        is_late = time.monotonic() > deadline
        if result := condition():
            return result
        if is_late:
            raise ServiceError(f"Waited {within:.0f} s for {what}.\n{explain()}".rstrip())
        time.sleep(pause)
