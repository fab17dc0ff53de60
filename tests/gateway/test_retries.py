"""When a request is sent again, and when that concerns the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from gateway.clock import Clock

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    ConnectionFailedError,
    RateLimitError,
    ServerError,
    SubmitOutcomeUnknownError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.client import (
    MAX_ATTEMPTS,
    MAX_RETRY_AFTER,
    async_retrying,
    is_worth_retrying,
    retrying,
)
from airflow_provider_apimart.gateway.throttle import SharedPause

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("cls", [RateLimitError, BusyError, ConnectionFailedError])
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_was_not_accepted_is_sent_again(cls: type[ApimartError], *, idempotent: bool) -> None:
    assert is_worth_retrying(cls("no"), idempotent=idempotent)


@pytest.mark.parametrize("cls", [ServerError, UnreadableAnswerError])
def test_what_may_have_been_accepted_is_sent_again_only_if_that_does_no_harm(cls: type[ApimartError]) -> None:
    assert is_worth_retrying(cls("no"), idempotent=True)
    assert not is_worth_retrying(cls("no"), idempotent=False)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no"),
        SubmitOutcomeUnknownError("no"),
        RateLimitError("no", retryable=False),
        RateLimitError("no", retry_after=MAX_RETRY_AFTER + 1),
        KeyError("not ours"),
    ],
    ids=repr,
)
def test_the_rest_is_not(error: BaseException) -> None:
    assert not is_worth_retrying(error, idempotent=True)


def test_a_pause_of_up_to_a_minute_is_waited_for() -> None:
    assert is_worth_retrying(RateLimitError("no", retry_after=MAX_RETRY_AFTER), idempotent=False)


class Attempts:
    """A request that fails some times, and what is left of the shared pause when each next attempt begins."""

    def __init__(self, *errors: ApimartError) -> None:
        self.clock = Clock()
        self.pause = SharedPause(clock=self.clock)
        self.pauses_of_others: list[float] = []
        self._errors = list(errors)

    def run(self) -> None:
        retrying(idempotent=True, pause=self.pause, sleep=self._sleep)(self._attempt)

    def run_asynchronously(self) -> None:
        async def attempt() -> None:
            self._attempt()

        async def sleep(seconds: float) -> None:
            self._sleep(seconds)

        asyncio.run(async_retrying(idempotent=True, pause=self.pause, sleep=sleep)(attempt))

    def _attempt(self) -> None:
        if self._errors:
            raise self._errors.pop(0)

    def _sleep(self, seconds: float) -> None:
        self.pauses_of_others.append(self.pause.remaining)
        self.clock.sleep(seconds)


both_ways = pytest.mark.parametrize(
    "run", [Attempts.run, Attempts.run_asynchronously], ids=["blocking", "asynchronous"]
)


@both_ways
def test_the_others_pause_as_long_as_the_request_that_was_asked_to_wait(run: Callable[[Attempts], None]) -> None:
    attempts = Attempts(RateLimitError("no", retry_after=30), RateLimitError("no"))

    run(attempts)

    assert attempts.pauses_of_others == pytest.approx(attempts.clock.pauses)
    assert 30 <= attempts.clock.pauses[0] < 32
    assert attempts.clock.pauses[1] > 0
    assert attempts.pause.remaining == 0


@both_ways
@pytest.mark.parametrize(
    "error", [BusyError("no"), ConnectionFailedError("no"), ServerError("no"), UnreadableAnswerError("no")], ids=repr
)
def test_the_others_do_not_wait_for_a_request_that_fails_otherwise(
    run: Callable[[Attempts], None], error: ApimartError
) -> None:
    attempts = Attempts(error)

    run(attempts)

    assert len(attempts.clock.pauses) == 1
    assert attempts.pauses_of_others == [0]


@both_ways
def test_a_request_is_given_up_after_some_attempts(run: Callable[[Attempts], None]) -> None:
    attempts = Attempts(*[RateLimitError("no")] * 10)

    with pytest.raises(RateLimitError):
        run(attempts)

    assert len(attempts.clock.pauses) == MAX_ATTEMPTS - 1
