"""The HTTP client: sends requests, repeats them where that is safe, and explains failures."""

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
    InvalidRequestError,
    RateLimitError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.response import Response, redact
from airflow_provider_apimart.gateway.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from airflow_provider_apimart.gateway.endpoints import Endpoint
    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["MAX_ATTEMPTS", "MAX_BODY_BYTES", "GatewayClient", "is_worth_retrying"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)

#: Attempts at one request, the first included.
MAX_ATTEMPTS: Final = 5
#: Seconds. A gateway that asks for a longer pause gets it from Airflow's own retries, which hold no worker.
_LONGEST_PAUSE: Final = 60.0
#: Bytes of one response. A picture of 24 MiB, the largest that a gateway has been seen to make, has 32 MiB as base64.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
#: Seconds. Above any sensible poll interval, because a new connection costs a TLS handshake (httpx's default is 5).
_KEEPALIVE_EXPIRY: Final = 120.0
#: Failures before the request was sent: sending it again cannot buy twice.
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_PASSING: Final = (RateLimitError, BusyError, ServerError, ConnectionFailedError, UnreadableAnswerError)
_BACKOFF: Final = tenacity.wait_exponential(multiplier=0.5, max=10.0) + tenacity.wait_random(0.0, 0.5)


class GatewayClient:
    """
    An asynchronous client of one gateway, for one event loop. Close it, or use it in an ``async with`` statement.

    Each request is bounded: its total time by the endpoint's ``timeout``, its response by :data:`MAX_BODY_BYTES`.

    :param transport: carries the requests; the network unless given.
    :param clock: monotonic seconds.
    :param notify: called with a message when the limit on simultaneous submits changes.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        notify: Callable[[str], None] = _log.info,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.settings = settings
        self._max_body_bytes = max_body_bytes
        self.throttle = Throttle(settings, notify=notify, clock=clock, sleep=sleep)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=settings.base_url,
            # Some firewalls in front of the gateways refuse the default name of an HTTP library.
            headers={"User-Agent": f"airflow-provider-apimart/{__version__}", "Accept": "application/json"},
            limits=httpx.Limits(
                max_connections=settings.max_concurrency,
                max_keepalive_connections=settings.max_concurrency,
                keepalive_expiry=_KEEPALIVE_EXPIRY,
            ),
            transport=transport,
        )

    async def send(self, endpoint: Endpoint[T]) -> T:
        """
        Send one request and return what its response holds.

        :raises ApimartError: the meaning of the response, or of its absence, for this request.
        """
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: is_worth_retrying(error, idempotent=endpoint.idempotent)),
            wait=_wait,
            before_sleep=self._share_pause,
            stop=tenacity.stop_after_attempt(MAX_ATTEMPTS),
            sleep=self._sleep,
            reraise=True,
        )
        return await attempts(self._attempt, endpoint)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _attempt(self, endpoint: Endpoint[T]) -> T:
        async with self.throttle.permit(paid=endpoint.paid):
            try:
                response = await self._exchange(endpoint)
                return endpoint.result(response)
            except ApimartError as error:
                raise _without_key(error, self.settings.api_key)  # noqa: B904 - the same error

    async def _exchange(self, endpoint: Endpoint[Any]) -> Response:
        """Send one request and return its response, whole and in time."""
        request = self._build(endpoint)
        http_response: httpx.Response | None = None
        body = bytearray()
        try:
            async with asyncio.timeout(endpoint.timeout):
                http_response = await self._http.send(request, stream=True)
                try:
                    await self._receive(http_response, body)
                finally:
                    await http_response.aclose()
        except UnreadableAnswerError as error:
            raise endpoint.interpret(error, None) from None
        except Exception as failure:
            # Whatever it is, the request may have been received: httpx lets errors of ssl and of the loop through.
            # A JSON object shows its own end: one that is whole counts, though its connection broke or never ended.
            if http_response is None or not isinstance((whole := _response(http_response, body)).payload, dict):
                raise self._no_response(failure, endpoint) from failure
            return whole
        return _response(http_response, body)

    async def _receive(self, http_response: httpx.Response, body: bytearray) -> None:
        async for chunk in http_response.aiter_bytes():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise UnreadableAnswerError(
                    f"{self.settings.host} sent more than {self._max_body_bytes} bytes in response to "
                    f"{http_response.request.method} {http_response.request.url.path}.",
                    status_code=http_response.status_code,
                )

    def _build(self, endpoint: Endpoint[Any]) -> httpx.Request:
        authorization = {"Authorization": f"Bearer {self.settings.api_key}"} if endpoint.authenticated else {}
        try:
            return self._http.build_request(
                endpoint.method,
                endpoint.path,
                json=endpoint.json,
                params=endpoint.params or None,
                headers={**endpoint.headers, **authorization},
                files=endpoint.files,
                # A request that waits for a free connection has not been sent: the throttle bounds how many there are.
                timeout=httpx.Timeout(endpoint.timeout, connect=endpoint.timeout / 3, pool=None),
            )
        except httpx.InvalidURL as failure:
            raise self._no_response(failure, endpoint) from failure
        except (TypeError, ValueError) as failure:
            raise InvalidRequestError(f"The request cannot be sent as JSON ({failure}). Nothing was sent.") from failure

    def _no_response(self, failure: Exception, endpoint: Endpoint[Any]) -> ApimartError:
        """Return the meaning of a missing response, which depends on whether the request was sent."""
        reason = f"{type(failure).__name__}: {failure}".removesuffix(": ")
        if isinstance(failure, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return ConfigurationError(
                f"{self.settings.base_url}{endpoint.path} cannot be called ({failure}). Nothing was sent."
            )
        if isinstance(failure, _NEVER_SENT):
            return ConnectionFailedError(f"No connection to {self.settings.host} ({reason}). Nothing was sent.")
        if isinstance(failure, TimeoutError):
            reason = f"not complete within {endpoint.timeout:g} s"
        error = ConnectionFailedError(
            f"No response from {self.settings.host} to {endpoint.method} {endpoint.path} ({reason}).",
            # The request may have been worked on: only one that may happen twice is sent again.
            retryable=endpoint.idempotent,
            charged="unknown" if endpoint.paid else "no",
        )
        return endpoint.interpret(error, None)

    def _share_pause(self, state: tenacity.RetryCallState) -> None:
        """Let all requests of this client wait: the gateway refuses to one what it refuses to the next."""
        if isinstance(_error_of(state), RateLimitError):
            self.throttle.pause(state.upcoming_sleep)


def is_worth_retrying(error: BaseException, *, idempotent: bool) -> bool:
    """
    Return whether the same request should be sent again within this try.

    :param idempotent: ``False`` for a request that must not happen twice: it is sent again only after a response that
        proves that nothing was accepted, or if it was never sent.
    """
    if not isinstance(error, ApimartError) or not error.retryable:
        return False
    if error.retry_after is not None and error.retry_after > _LONGEST_PAUSE:
        return False
    return isinstance(error, _PASSING if idempotent else RateLimitError | BusyError | ConnectionFailedError)


def _response(http_response: httpx.Response, body: bytearray) -> Response:
    return Response(http_response.status_code, http_response.headers, body.decode("utf-8", errors="replace"))


def _wait(state: tenacity.RetryCallState) -> float:
    """Return the seconds to wait: as long as the gateway asked, and never less than the backoff, with jitter."""
    error = _error_of(state)
    asked = error.retry_after if isinstance(error, ApimartError) else None
    backoff = _BACKOFF(state)
    return backoff if asked is None else max(backoff, asked + backoff / 4)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _without_key(error: ApimartError, api_key: str) -> ApimartError:
    error.args = tuple(redact(str(argument), api_key) for argument in error.args)
    error.code = redact(error.code, api_key) if isinstance(error.code, str) else error.code
    error.request_id = redact(error.request_id, api_key) if error.request_id else error.request_id
    return error
