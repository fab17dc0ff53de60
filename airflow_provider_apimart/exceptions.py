"""
The exceptions of this provider.

::

    ApimartError
    ├── ConfigurationError          the Airflow connection cannot be used
    ├── InvalidRequestError         the request is wrong; also a ValueError
    ├── GatewayError                the gateway refused, failed or did not respond
    │   ├── AuthenticationError         401: bad, missing or disabled key
    │   ├── InsufficientBalanceError    402: the account cannot pay
    │   ├── PermissionDeniedError       403: no right to this model
    │   ├── NotFoundError               404: wrong base URL, path or model
    │   │   └── TaskNotFoundError           the gateway does not know this task id
    │   ├── RequestRejectedError        400, 413, 422: the request was refused
    │   │   └── ModerationError             refused for its content
    │   ├── RateLimitError              429: too many requests
    │   ├── BusyError                   refused for now, provably not accepted
    │   ├── IdempotencyError            409: this Idempotency-Key stands for something else
    │   ├── ServerError                 5xx, 408: the gateway failed
    │   ├── ConnectionFailedError       no response
    │   └── UnreadableAnswerError       a response that is not the documented JSON
    ├── SubmitOutcomeUnknownError   a paid request whose response was lost or proves nothing
    ├── TaskError                   a task was accepted, and delivered no picture
    │   ├── TaskFailedError             the gateway says that it failed
    │   │   └── TaskModeratedError          it failed because of its content
    │   ├── TaskCancelledError          the gateway says that it was cancelled
    │   ├── TaskTimeoutError            still running at the deadline
    │   └── NoImagesError               completed without a usable URL
    ├── RecordUnavailableError      what was bought before could not be read or stored; nothing was submitted
    │   └── SupersededError             a later try of the same task has taken over; nothing was submitted
    ├── ReferenceUnavailableError   a reference image could not be read; nothing was submitted
    ├── BudgetExceededError         the price exceeds max_cost; nothing was bought beyond it
    ├── IncompleteDatasetError      rows of a dataset have no picture
    └── TransferError               a finished picture could not be stored
        └── ImageRejectedError          what was downloaded is not a complete picture

The module does not import Airflow, so that a ``RetryRule`` of Airflow's retry policies can name its classes, and the
client of ``gateway`` works without Airflow.
Every instance can be pickled: Airflow moves exceptions between processes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

__all__ = [
    "ApimartError",
    "AuthenticationError",
    "BudgetExceededError",
    "BusyError",
    "Charged",
    "ConfigurationError",
    "ConnectionFailedError",
    "GatewayError",
    "IdempotencyError",
    "ImageRejectedError",
    "IncompleteDatasetError",
    "InsufficientBalanceError",
    "InvalidRequestError",
    "ModerationError",
    "NoImagesError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RecordUnavailableError",
    "ReferenceUnavailableError",
    "RequestRejectedError",
    "ServerError",
    "SubmitOutcomeUnknownError",
    "SupersededError",
    "TaskCancelledError",
    "TaskError",
    "TaskFailedError",
    "TaskModeratedError",
    "TaskNotFoundError",
    "TaskTimeoutError",
    "TransferError",
    "UnreadableAnswerError",
]

Charged = Literal["yes", "no", "unknown"]


class ApimartError(Exception):
    """
    Base class of all errors of this provider.

    :param message: what happened, whether it was charged, and what to do next.
    :param status_code: HTTP status of the response, or ``None`` where there was none.
    :param code: the gateway's own error code. It may be a number, a word or empty, whatever the gateway sent.
    :param request_id: the gateway's id of the failed request, for its support.
    :param task_id: the gateway task concerned.
    :param retry_after: seconds for which the gateway asks to wait before the next request, at most an hour.
    :param retryable: whether the same request may succeed later without a change; the class's default unless given.
    :param charged: ``"yes"``, ``"no"`` or ``"unknown"``; the class's default unless given.
    """

    default_retryable: ClassVar[bool] = False
    default_charged: ClassVar[Charged] = "no"

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        code: str | int | None = None,
        request_id: str | None = None,
        task_id: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        charged: Charged | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.task_id = task_id
        self.retry_after = retry_after
        self.retryable = self.default_retryable if retryable is None else retryable
        self.charged: Charged = self.default_charged if charged is None else charged


class ConfigurationError(ApimartError):
    """The Airflow connection cannot be used as it is; the message names the field. Nothing was submitted."""


class InvalidRequestError(ApimartError, ValueError):
    """
    The named model does not accept the request, or a parameter is wrong. Nothing was submitted or charged.

    :param field: name of the first wrong field.
    :param value: its value.
    :param allowed: a description of the allowed values.
    """

    def __init__(
        self, message: str = "", *, field: str = "", value: object = None, allowed: str = "", **attributes: Any
    ) -> None:
        super().__init__(message, **attributes)
        self.field = field
        self.value = value
        self.allowed = allowed


class GatewayError(ApimartError):
    """The gateway refused a request, failed, or could not be understood."""


class AuthenticationError(GatewayError):
    """HTTP 401: the API key is wrong, missing or disabled. Check the connection's password."""


class InsufficientBalanceError(GatewayError):
    """HTTP 402 (APIMaster also 403): the account's balance does not cover the request. Top up, then clear the task."""


class PermissionDeniedError(GatewayError):
    """HTTP 403: the key has no right to this model or resource."""


class NotFoundError(GatewayError):
    """HTTP 404: wrong base URL or path; on APIMaster also an unknown model."""


class TaskNotFoundError(NotFoundError):
    """
    The gateway says that it does not know the task id: it is mistyped, too new, too old, or of another account.

    Whether it was charged is unknown.
    """

    default_retryable = True
    default_charged = "unknown"


class RequestRejectedError(GatewayError):
    """The gateway refused the request because of its content. The same request will be refused again."""


class ModerationError(RequestRejectedError):
    """The gateway's moderation refused the prompt or a reference image before any work was done."""


class RateLimitError(GatewayError):
    """HTTP 429. ``retry_after`` holds the pause in seconds if the gateway asks for one."""

    default_retryable = True


class BusyError(GatewayError):
    """The gateway could not take the request now, and its response proves that nothing was accepted."""

    default_retryable = True


class IdempotencyError(GatewayError):
    """
    HTTP 409: the ``Idempotency-Key`` was used for another body, or the result of its first use is not known.

    Submitting the same key again cannot succeed; submitting another one may buy twice.
    """

    default_charged = "unknown"


class ServerError(GatewayError):
    """HTTP 408 or 5xx on a request that buys nothing."""

    default_retryable = True


class ConnectionFailedError(GatewayError):
    """No response: the connection failed, broke or timed out, on a request that buys nothing or before it was sent."""

    default_retryable = True


class UnreadableAnswerError(GatewayError):
    """The response is not the documented JSON, such as the HTML page of a proxy, or is too large."""

    default_retryable = True


class SubmitOutcomeUnknownError(ApimartError):
    """
    A paid request was submitted, and its response was lost or does not prove a refusal.

    The picture may exist and be billed.

    :param idempotency_key: the key of the request. Submitting the same body with the same key again within 24 hours
        buys once on a gateway that honours it.
    """

    default_charged = "unknown"

    def __init__(self, message: str = "", *, idempotency_key: str | None = None, **attributes: Any) -> None:
        super().__init__(message, **attributes)
        self.idempotency_key = idempotency_key


class TaskError(ApimartError):
    """The gateway accepted a task, which delivered no picture."""


class TaskFailedError(TaskError):
    """
    The gateway says that the task failed. It was not charged unless the response has a cost.

    A retry buys it again with a new idempotency key, unless it was charged.
    """

    default_retryable = True


class TaskModeratedError(TaskFailedError):
    """The task failed because the model's provider refused its content. The same content will be refused again."""

    default_retryable = False


class TaskCancelledError(TaskError):
    """The gateway says that the task was cancelled, which only its console can do."""

    default_charged = "unknown"


class TaskTimeoutError(TaskError):
    """The task was still running at the deadline. It continues at the gateway and may be charged."""

    default_retryable = True
    default_charged = "unknown"


class NoImagesError(TaskError):
    """
    The task completed, and its description holds no picture that could be downloaded.

    The pictures may follow: a retry queries the task again, at no cost.
    """

    default_retryable = True
    default_charged = "yes"


class RecordUnavailableError(ApimartError):
    """
    The record of earlier purchases could not be read or written. Nothing was submitted.

    An unreadable record is not the same as an empty one, and never leads to a purchase.
    """

    default_retryable = True


class SupersededError(RecordUnavailableError):
    """
    A later try of the same task instance works on its ledger, so this one must not buy any more.

    What it has bought is recorded, and the later try collects it. It is retryable: where Airflow heeds this try at all,
    the next one continues from the ledger.
    """


class ReferenceUnavailableError(ApimartError):
    """A reference image could not be read now; a retry may succeed. Nothing was submitted or charged."""

    default_retryable = True


class BudgetExceededError(ApimartError):
    """The estimated price exceeds the rest of ``max_cost``, or is unknown. Nothing was bought beyond it."""


class IncompleteDatasetError(ApimartError):
    """
    More rows of a dataset have no picture than ``max_failed`` allows.

    The message names the first of these rows. The costs include those that were charged. All other rows are in S3.
    """

    default_charged = "unknown"


class TransferError(ApimartError):
    """At least one finished, paid picture could not be stored. The message names each with its task id."""

    default_retryable = True
    default_charged = "yes"


class ImageRejectedError(TransferError):
    """The downloaded content is not a complete picture, or is larger than allowed."""
