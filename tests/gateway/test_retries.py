"""When a request is sent again."""

from __future__ import annotations

import pytest

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
from airflow_provider_apimart.gateway.retries import MAX_RETRY_AFTER, is_worth_retrying


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
