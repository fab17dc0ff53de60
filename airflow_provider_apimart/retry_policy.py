"""
The rule by which Airflow retries a failure: only where a retry can end otherwise.

Airflow has retry policies from 3.3 on. Below that, :func:`failing_fast` keeps such errors from being retried.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.exceptions import ApimartError

try:
    from airflow.sdk import RetryDecision, RetryPolicy
except ImportError:  # Airflow before 3.3
    HAS_RETRY_POLICIES = False
else:
    HAS_RETRY_POLICIES = True

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

__all__ = ["HAS_RETRY_POLICIES", "failing_fast"]

if HAS_RETRY_POLICIES:
    __all__ += ["ApimartRetryPolicy"]

    class ApimartRetryPolicy(RetryPolicy):
        """
        A policy that decides by the attributes ``retryable`` and ``retry_after`` of the provider's errors.

        A wrong key, an empty balance, an invalid request, refused content and a purchase whose outcome is not known
        fail at once. A retry waits as long as the gateway asks. Other exceptions follow the task's own settings.
        """

        def evaluate(
            self,
            exception: BaseException,
            try_number: int,  # noqa: ARG002 - the task's own number of retries stays in force
            max_tries: int,  # noqa: ARG002
            context: Context | None = None,  # noqa: ARG002
        ) -> RetryDecision:
            """Decide by the attributes of the error."""
            if not isinstance(exception, ApimartError):
                return RetryDecision.default()
            reason = f"{type(exception).__name__} (charged: {exception.charged})"
            if not exception.retryable:
                return RetryDecision.fail(reason)
            if exception.retry_after is not None:
                return RetryDecision.retry(timedelta(seconds=exception.retry_after), reason)
            return RetryDecision.default()

        def serialize(self) -> dict[str, Any]:
            """Return nothing: the policy has no settings."""
            return {}

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> ApimartRetryPolicy:  # noqa: ARG003 - there are no settings
            """Return a policy."""
            return cls()


@contextmanager
def failing_fast() -> Iterator[None]:
    """
    Turn errors that a retry cannot fix into Airflow's own exception for that, if Airflow has no retry policies.

    :raises AirflowFailException: from the error, before Airflow 3.3.
    """
    try:
        yield
    except ApimartError as error:
        if HAS_RETRY_POLICIES or error.retryable:
            raise
        from airflow.exceptions import AirflowFailException  # noqa: PLC0415

        raise AirflowFailException(str(error)) from error
