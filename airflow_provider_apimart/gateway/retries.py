"""When and how often a request is sent again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import tenacity

from airflow_provider_apimart.exceptions import ApimartError, BusyError, ConnectionFailedError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from airflow_provider_apimart.gateway.pause import SharedPause

__all__ = ["MAX_ATTEMPTS", "MAX_RETRY_AFTER", "async_retrying", "is_worth_retrying", "retrying"]

#: Tries of one request, the first included.
MAX_ATTEMPTS: Final = 5
#: Seconds. A gateway that asks for a longer pause gets its way through Airflow's own retries, which hold no worker.
MAX_RETRY_AFTER: Final = 60.0

_BACK_OFF: Final = tenacity.wait_exponential(multiplier=0.5, max=10.0) + tenacity.wait_random(0.0, 0.5)


def is_worth_retrying(error: BaseException, *, idempotent: bool) -> bool:
    """
    Whether the same request should be sent again at once.

    :param idempotent: ``False`` for a request that must not happen twice: it is sent again only after an answer
        that proves that nothing was accepted, or when it never left.
    """
    if not isinstance(error, ApimartError) or not error.retryable:
        return False
    if error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER:
        return False
    return idempotent or isinstance(error, RateLimitError | BusyError | ConnectionFailedError)


def retrying(*, idempotent: bool, pause: SharedPause, sleep: Callable[[float], None] = time.sleep) -> tenacity.Retrying:
    """Return the loop for blocking requests, which tells the pause that an account's requests share of refusals."""
    return tenacity.Retrying(sleep=sleep, **_policy(pause, idempotent=idempotent))


def async_retrying(
    *, idempotent: bool, pause: SharedPause, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> tenacity.AsyncRetrying:
    """Return the loop for asynchronous requests."""
    return tenacity.AsyncRetrying(sleep=sleep, **_policy(pause, idempotent=idempotent))


def _policy(pause: SharedPause, *, idempotent: bool) -> dict[str, Any]:
    def share(state: tenacity.RetryCallState) -> None:
        if isinstance(_error_of(state), RateLimitError):
            pause.extend(state.upcoming_sleep)

    return {
        "retry": tenacity.retry_if_exception(lambda error: is_worth_retrying(error, idempotent=idempotent)),
        "wait": _wait,
        "before_sleep": share,
        "stop": tenacity.stop_after_attempt(MAX_ATTEMPTS),
        "reraise": True,
    }


def _wait(state: tenacity.RetryCallState) -> float:
    """Wait as long as the gateway asked, and otherwise ever longer, each time with a jitter."""
    error = _error_of(state)
    asked = error.retry_after if isinstance(error, ApimartError) else None
    back_off = _BACK_OFF(state)
    return back_off if asked is None else asked + back_off / 4


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
