"""
The HTTP clients: thin loops that send calls, try again where that is safe, and say what went wrong.

When and how often a request is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import tenacity

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BusyError,
    ConfigurationError,
    ConnectionFailedError,
    RateLimitError,
)
from airflow_provider_apimart.gateway.response import Response, redact
from airflow_provider_apimart.gateway.throttle import shared_pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Any, Self

    from airflow_provider_apimart.gateway.endpoints import Endpoint
    from airflow_provider_apimart.gateway.settings import GatewaySettings
    from airflow_provider_apimart.gateway.throttle import Pace, SharedPause, Slot

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_RETRY_AFTER",
    "AsyncGatewayClient",
    "GatewayClient",
    "async_retrying",
    "is_worth_retrying",
    "retrying",
]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

#: Seconds. Above any sensible poll interval, because a new connection costs a TLS handshake (httpx's own default is 5).
_KEEPALIVE_EXPIRY = 120.0
#: Failures before the request left: sending it again cannot buy twice.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class GatewayClient:
    """
    A blocking client of one gateway. Close it, or use it in a ``with`` statement.

    :param settings: where and how.
    :param transport: what carries the requests, for tests; the network unless given.
    :param sleep: what pauses before a request, likewise.
    :param pace: what it keeps to; unless given, the one that all clients of the account in this process share.
    :param notify: told when the gateway wants fewer submits at once, and when it takes as many as ever again.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        pace: Pace | None = None,
        notify: Callable[[str], None] = _log.info,
    ) -> None:
        self.settings = settings
        self.pace = shared_pace(settings) if pace is None else pace
        self._sleep = sleep
        self._notify = notify
        self._http = httpx.Client(**_options(settings), transport=transport)

    def send(self, call: Endpoint[T]) -> T:
        """
        Send one call and return what its answer holds.

        :raises ApimartError: what the answer, or its absence, means for this call.
        """
        attempts = retrying(idempotent=call.idempotent, pause=self.pace.pause, sleep=self._sleep)
        if call.paid:
            with self.pace.slots.one() as slot:
                result: T = attempts(self._submit, call, slot)
        else:
            result = attempts(self._ask, call)
        return result

    def _submit(self, call: Endpoint[T], slot: Slot) -> T:
        slot.wait()
        self._wait_for_turn(call)
        with self.pace.learning(self._notify):
            return self._request(call)

    def _ask(self, call: Endpoint[T]) -> T:
        self._wait_for_turn(call)
        return self._request(call)

    def _request(self, call: Endpoint[T]) -> T:
        try:
            response = self._http.request(**_arguments(self.settings, call))
        except (httpx.RequestError, httpx.InvalidURL) as failure:
            raise _no_answer(failure, call, self.settings) from failure
        return _result(response, call, self.settings)

    def _wait_for_turn(self, call: Endpoint[Any]) -> None:
        """Wait until both the limit on submits and the pause for all requests let this one through."""
        while True:
            if call.paid and self.pace.limiter is not None:
                self.pace.limiter.try_acquire("submit")
            if not (seconds := self.pace.pause.remaining):
                return
            # Afterwards the turn is drawn anew: all those that were drawn before the pause would come at once.
            self._sleep(seconds)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncGatewayClient:
    """
    An asynchronous client of one gateway, for one event loop. Close it, or use it in an ``async with`` statement.

    :param settings: where and how.
    :param transport: what carries the requests, for tests; the network unless given.
    :param sleep: what pauses before a request, likewise.
    :param pace: what it keeps to; unless given, the one that all clients of the account in this process share.
    :param notify: told when the gateway wants fewer submits at once, and when it takes as many as ever again.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        pace: Pace | None = None,
        notify: Callable[[str], None] = _log.info,
    ) -> None:
        self.settings = settings
        self.pace = shared_pace(settings) if pace is None else pace
        self._sleep = sleep
        self._notify = notify
        self._http = httpx.AsyncClient(**_options(settings), transport=transport)

    async def send(self, call: Endpoint[T]) -> T:
        """
        Send one call and return what its answer holds.

        :raises ApimartError: what the answer, or its absence, means for this call.
        """
        attempts = async_retrying(idempotent=call.idempotent, pause=self.pace.pause, sleep=self._sleep)
        if call.paid:
            with self.pace.slots.one() as slot:
                return await attempts(self._submit, call, slot)
        return await attempts(self._ask, call)

    async def _submit(self, call: Endpoint[T], slot: Slot) -> T:
        await slot.async_wait()
        await self._wait_for_turn(call)
        with self.pace.learning(self._notify):
            return await self._request(call)

    async def _ask(self, call: Endpoint[T]) -> T:
        await self._wait_for_turn(call)
        return await self._request(call)

    async def _request(self, call: Endpoint[T]) -> T:
        try:
            response = await self._http.request(**_arguments(self.settings, call))
        except (httpx.RequestError, httpx.InvalidURL) as failure:
            raise _no_answer(failure, call, self.settings) from failure
        return _result(response, call, self.settings)

    async def _wait_for_turn(self, call: Endpoint[Any]) -> None:
        while True:
            if call.paid and self.pace.limiter is not None:
                await self.pace.limiter.try_acquire_async("submit")
            if not (seconds := self.pace.pause.remaining):
                return
            await self._sleep(seconds)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _options(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "base_url": settings.base_url,
        # Some firewalls in front of the gateways refuse the default name of an HTTP library.
        "headers": {"User-Agent": f"airflow-provider-apimart/{__version__}", "Accept": "application/json"},
        # A request that waits for a free connection has not been sent; only the gateway's silence may end it.
        "timeout": httpx.Timeout(settings.timeout, pool=None),
        "limits": httpx.Limits(
            max_connections=settings.max_concurrency,
            max_keepalive_connections=settings.max_concurrency,
            keepalive_expiry=_KEEPALIVE_EXPIRY,
        ),
    }


def _arguments(settings: GatewaySettings, call: Endpoint[Any]) -> dict[str, Any]:
    authorization = {"Authorization": f"Bearer {settings.api_key}"} if call.authenticated else {}
    return {
        "method": call.method,
        "url": call.path,
        "json": call.json,
        "params": call.params or None,
        "headers": {**call.headers, **authorization},
        "files": call.files,
    }


def _result(response: httpx.Response, call: Endpoint[T], settings: GatewaySettings) -> T:
    headers = {name: redact(value, settings.api_key) for name, value in response.headers.items()}
    answer = Response(response.status_code, httpx.Headers(headers), redact(response.text, settings.api_key))
    return call.result(answer)


def _no_answer(failure: Exception, call: Endpoint[Any], settings: GatewaySettings) -> ApimartError:
    """Return what the lack of an answer means, which depends on whether the request had left."""
    reason = redact(f"{type(failure).__name__}: {failure}", settings.api_key)
    if isinstance(failure, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return ConfigurationError(f"{settings.base_url}{call.path} cannot be called ({reason}). Nothing was sent.")
    if isinstance(failure, _NEVER_SENT):
        return ConnectionFailedError(f"No connection to {settings.host} ({reason}). Nothing was sent.")
    error = ConnectionFailedError(
        f"No answer from {settings.host} to {call.method} {call.path} ({reason}).",
        # The request may have been worked on: only one that may happen twice is sent again.
        retryable=call.idempotent,
        charged="unknown" if call.paid else "no",
    )
    return call.interpret(error)


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
