"""Which failures are retried."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart import exceptions
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.retry_policy import ApimartRetryPolicy, failing_fast
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

if TYPE_CHECKING:
    from airflow.sdk import RetryDecision


def decide(error: BaseException) -> RetryDecision:
    return ApimartRetryPolicy().evaluate(error, try_number=1, max_tries=3)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.AuthenticationError,
        exceptions.InsufficientBalanceError,
        exceptions.PermissionDeniedError,
        exceptions.InvalidRequestError,
        exceptions.RequestRejectedError,
        exceptions.ModerationError,
        exceptions.TaskModeratedError,
        exceptions.SubmitOutcomeUnknownError,
        exceptions.BudgetExceededError,
        exceptions.ConfigurationError,
    ],
)
def test_what_no_retry_can_mend_fails_at_once_and_says_why(error: type[exceptions.ApimartError]) -> None:
    decision = decide(error("no"))

    assert decision.action.value == "fail"
    assert decision.reason.startswith(error.__name__)


def test_a_rate_limit_waits_as_long_as_the_gateway_asks() -> None:
    decision = decide(exceptions.RateLimitError("slow down", retry_after=90.0))

    assert (decision.action.value, decision.retry_delay) == ("retry", timedelta(seconds=90))


@pytest.mark.parametrize(
    "error",
    [
        exceptions.RateLimitError("slow down"),
        exceptions.ServerError("oops"),
        exceptions.TaskFailedError("oops"),
        exceptions.TaskTimeoutError("still running"),
        exceptions.TransferError("S3 is down"),
        exceptions.RecordUnavailableError("no state"),
        KeyError("not ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_everything_else_goes_by_the_tasks_own_settings(error: BaseException) -> None:
    assert decide(error).action.value == "default"


def test_the_operators_bring_it_along() -> None:
    image = ApimartImageOperator(task_id="a", prompt="a cat")
    transfer = ApimartToS3Operator(task_id="b", source=[], s3_bucket="c")

    assert isinstance(image.retry_policy, ApimartRetryPolicy)
    assert isinstance(transfer.retry_policy, ApimartRetryPolicy)


def test_a_policy_of_the_dag_author_stays() -> None:
    class Own(ApimartRetryPolicy):
        pass

    assert isinstance(ApimartImageOperator(task_id="a", prompt="a cat", retry_policy=Own()).retry_policy, Own)


def test_it_survives_the_serialization_of_a_dag() -> None:
    assert isinstance(ApimartRetryPolicy.deserialize(ApimartRetryPolicy().serialize()), ApimartRetryPolicy)


def test_where_there_are_policies_errors_stay_what_they_are() -> None:
    with pytest.raises(exceptions.AuthenticationError), failing_fast():
        raise exceptions.AuthenticationError("no")
