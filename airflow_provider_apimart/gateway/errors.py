"""
What a refusal or a failure of a gateway means.

The HTTP status decides first: the gateways' own ``code`` may be a number, a word or empty, and failures also arrive
with HTTP 200. For a paid request one question matters more than all others: does this answer prove that nothing was
accepted? Where it does not, :func:`submit_error` makes it a ``SubmitOutcomeUnknownError``.

=====================================================  ======================  =====================
Response to a submit                                     Error                   Sent again by itself
=====================================================  ======================  =====================
400, 413, 422 and other 4xx                            RequestRejectedError    no
400 ``get_channel_failed``                             BusyError               yes
401, 402, 403, 404, redirect                           as the tree says        no
408                                                    outcome unknown         no
409 ``idempotency_in_progress``                        BusyError               yes, with the same key
409 ``idempotency_key_reused``                         IdempotencyError        no
409 otherwise                                          outcome unknown         no
429                                                    RateLimitError          yes
500 ``build_request_failed``                           RequestRejectedError    no
503 with the gateway's own JSON error                  BusyError               yes
5xx otherwise                                          outcome unknown         no
2xx with an error and a code as above                  as that code            as that code
2xx that cannot be understood                          outcome unknown         no
connection not made                                    ConnectionFailedError   yes
connection broken or timed out after that              outcome unknown         no
=====================================================  ======================  =====================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    GatewayError,
    IdempotencyError,
    InsufficientBalanceError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestRejectedError,
    ServerError,
    SubmitOutcomeUnknownError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.response import parse_retry_after
from airflow_provider_apimart.gateway.task import is_moderation

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.response import Response

__all__ = ["answer_error", "error_of", "is_provably_refused", "submit_error", "task_lookup_error"]

_KEY_REUSED: Final = "idempotency_key_reused"
#: The documented words of ``error.type``, for answers whose status and code say nothing.
_STATUS_OF_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "payment_required": 402,
    "permission_error": 403,
    "rate_limit_error": 429,
    "server_error": 500,
    "bad_gateway": 502,
    "service_unavailable": 503,
}
_BALANCE_WORDS: Final = ("balance", "insufficient", "quota", "余额")
_UNKNOWN_TASK_WORDS: Final = ("任务id", "任务不存在", "task id", "task not", "not exist", "not found", "expired")
_NEXT_STEP: Final[dict[type[ApimartError], str]] = {
    AuthenticationError: "Check the API key in the connection's password",
    InsufficientBalanceError: "Top up the account, then clear the task",
    PermissionDeniedError: "Ask for the right to use this model, or use another",
    NotFoundError: "Check the connection's host and submit_path, and the model's name",
    RequestRejectedError: "Change the request: the same one will be refused again",
    ModerationError: "Change the prompt or the reference images: the same ones will be refused again",
    RateLimitError: "It may be sent again later",
    BusyError: "It may be sent again later",
    ServerError: "It may be asked again later",
    IdempotencyError: "Look at the gateway's console before clearing the task, which sends a new key",
}


def answer_error(answer: Response) -> GatewayError | None:
    """Return the error that an answer stands for, or ``None`` when it is a success to be read on."""
    if 300 <= answer.status_code < 400:
        return NotFoundError(
            f"The gateway redirects to {answer.headers.get('location', 'elsewhere')!r}. "
            "Nothing was accepted. Put the right address into the connection's host.",
            status_code=answer.status_code,
        )
    payload = answer.payload
    if answer.status_code < 300:
        if not isinstance(payload, dict | list):
            return UnreadableAnswerError(
                f"The gateway answered HTTP {answer.status_code} without JSON: {answer.first_line}",
                status_code=answer.status_code,
                request_id=answer.request_id,
            )
        if not _says_error(payload):
            return None
    return error_of(answer.status_code, payload, answer)


def error_of(status_code: int, payload: Any, answer: Response) -> GatewayError:
    """Return the error for a status and an error body, which may be one item of a larger answer."""
    code, kind, message = _details(payload)
    status = status_code if status_code >= 400 else _embedded_status(code, kind)
    cls = _class_of(status, code, message, is_json=isinstance(payload, dict))
    said = message or answer.first_line
    step = _NEXT_STEP.get(cls)
    return cls(
        f"The gateway answered HTTP {status_code}"
        + (f" (code {code!r})" if code not in ("", None) else "")
        + f": {said}"
        + (f" {step}." if said.endswith((".", "。", "!")) else f". {step}." if step else ""),
        status_code=status or status_code,
        charged="no" if code == _KEY_REUSED else None,
        code=code,
        request_id=answer.request_id,
        retry_after=_retry_after(payload, answer),
    )


def task_lookup_error(error: GatewayError, task_id: str) -> GatewayError:
    """Return the error of a look-up of one task: a 404, or a 400 that says so, means that the id is not known."""
    text = str(error).lower()
    if isinstance(error, NotFoundError | RequestRejectedError) and (
        error.status_code == 404 or any(word in text for word in _UNKNOWN_TASK_WORDS)
    ):
        return TaskNotFoundError(
            f"The gateway does not know task {task_id}: {error} The id is wrong, belongs to another account, "
            "or is older than the gateway keeps tasks. Whether it was charged cannot be told from this.",
            status_code=error.status_code,
            code=error.code,
            request_id=error.request_id,
            task_id=task_id,
        )
    error.task_id = task_id
    return error


def is_provably_refused(error: ApimartError) -> bool:
    """Whether the error proves that a paid request was not accepted."""
    return isinstance(
        error,
        AuthenticationError
        | InsufficientBalanceError
        | PermissionDeniedError
        | NotFoundError
        | RequestRejectedError
        | RateLimitError
        | BusyError,
    ) or (isinstance(error, IdempotencyError) and error.code == _KEY_REUSED)


def submit_error(error: ApimartError, idempotency_key: str | None) -> ApimartError:
    """Return what an error means for a paid request: a proven refusal as it is, anything else as unknown."""
    if is_provably_refused(error):
        return error
    return SubmitOutcomeUnknownError(
        f"The request was sent and its outcome is not known: {error} The picture may exist and be billed "
        f"(idempotency key: {idempotency_key}). Look at the gateway's console before buying it again.",
        status_code=error.status_code,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        idempotency_key=idempotency_key,
    )


def _class_of(status: int, code: Any, message: str, *, is_json: bool) -> type[GatewayError]:
    if status in _SIMPLE:
        return _SIMPLE[status]
    if status == 403:
        is_balance = any(word in message.lower() for word in _BALANCE_WORDS)
        return InsufficientBalanceError if is_balance else PermissionDeniedError
    if status == 409:
        return BusyError if code == "idempotency_in_progress" else IdempotencyError
    if code == "get_channel_failed" or (status == 503 and is_json):
        return BusyError
    if "build_request_failed" in message or 400 <= status < 500:
        return ModerationError if is_moderation(str(code), message) else RequestRejectedError
    return ServerError if status >= 500 else GatewayError


_SIMPLE: Final[dict[int, type[GatewayError]]] = {
    401: AuthenticationError,
    402: InsufficientBalanceError,
    404: NotFoundError,
    408: ServerError,
    429: RateLimitError,
}


def _says_error(payload: Any) -> bool:
    """Whether a body that came with HTTP 2xx is an error all the same."""
    if not isinstance(payload, dict):
        return False
    if payload.get("status") and (payload.get("id") or payload.get("task_id")):
        return False  # A task object without an envelope; its error is the task's own.
    code = str(payload.get("code", ""))
    failed = code.isascii() and code.isdigit() and not (len(code) == 3 and code.startswith("2"))
    return failed or bool(payload.get("error")) or payload.get("success") is False


def _details(payload: Any) -> tuple[Any, str, str]:
    """Return code, type and message of an error body of any documented shape."""
    if not isinstance(payload, dict):
        return None, "", ""
    error = payload.get("error")
    if isinstance(error, dict):
        return error.get("code"), str(error.get("type") or ""), str(error.get("message") or "")
    message = error or payload.get("message") or payload.get("detail") or payload.get("msg") or ""
    return payload.get("code"), str(payload.get("type") or ""), str(message)


def _embedded_status(code: Any, kind: str) -> int:
    """Return the HTTP status that an error inside a 2xx answer stands for, or 0."""
    text = str(code)
    if re.fullmatch("[45][0-9]{2}", text):
        return int(text)
    return _STATUS_OF_TYPE.get(kind, 0)


def _retry_after(payload: Any, answer: Response) -> float | None:
    seconds = parse_retry_after(answer.headers.get("retry-after"))
    if seconds is None and isinstance(payload, dict):
        error = payload.get("error")
        value = payload.get("retry_after", error.get("retry_after") if isinstance(error, dict) else None)
        seconds = parse_retry_after(None if value is None else str(value))
    return seconds
