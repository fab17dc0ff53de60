"""
The meaning of a gateway's refusal or failure. Does no I/O.

For a paid request one question comes before all others: does this response prove that nothing was accepted? Only the
gateway's own documented error does (:func:`is_documented_error`). A page or a JSON text of anything between the gateway
and this machine proves nothing: the request may have passed it, and the response been lost. See :func:`submit_error`.

=========================================================  ========================  ======================
Response to a submit                                       Error                     Sent again by itself
=========================================================  ========================  ======================
Documented error with 400, 413, 422 or another 4xx         RequestRejectedError      no
Documented error with 401, 402, 403 or 404                 by its status             no
400 or 503 ``get_channel_failed``                          BusyError                 yes
409 ``idempotency_in_progress``                            BusyError                 yes, with the same key
409 ``idempotency_key_reused``                             IdempotencyError          no
429 that is documented, or carries ``Retry-After``         RateLimitError            yes
Documented error with 500 ``build_request_failed``         RequestRejectedError      no
Documented error with 503                                  BusyError                 yes
2xx with a documented error of one of these kinds          as that kind              as that kind
The connection was not made                                ConnectionFailedError     yes
A task id, whatever else the response says                 none: it is accepted
Everything else: redirects, HTML pages, undocumented       SubmitOutcomeUnknown      no
JSON, 408, other 409, other 5xx, a lost or slow response
=========================================================  ========================  ======================

An error of a status query is never final: :func:`reading_error` makes each of them retryable, because the task is paid
for.
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
)
from airflow_provider_apimart.gateway.response import excerpt, first_line
from airflow_provider_apimart.gateway.task import is_moderation

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.response import Response

__all__ = [
    "error_of",
    "is_documented_error",
    "is_refusal",
    "reading_error",
    "refusal_error",
    "response_error",
    "submit_error",
]

_KEY_REUSED: Final = "idempotency_key_reused"
_IN_PROGRESS: Final = "idempotency_in_progress"
_CHANNEL_BUSY: Final = "get_channel_failed"
_BUILD_FAILED: Final = "build_request_failed"
#: Words of ``error.code`` on the vendors' pages, for errors without a ``type``.
_DOCUMENTED_CODES: Final = frozenset(
    {
        _KEY_REUSED,
        _IN_PROGRESS,
        _CHANNEL_BUSY,
        _BUILD_FAILED,
        "idempotency_result_indeterminate",
        "idempotency_unavailable",
        "bad_response_status_code",
    }
)
#: The documented words of ``error.type``, for responses whose status and code say nothing.
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
_CLASS_OF_STATUS: Final[dict[int, type[GatewayError]]] = {
    401: AuthenticationError,
    402: InsufficientBalanceError,
    404: NotFoundError,
    408: ServerError,
    429: RateLimitError,
}
_BALANCE: Final = re.compile(r"balance|quota|余额|insufficient (?:funds?|credits?|amount)", re.IGNORECASE)
_UNKNOWN_TASK: Final = re.compile(
    r"任务\s*(?:id|不存在|已过期)|\btask\b.{0,60}(?:not exist|not found|no such|unknown|invalid|expired)"
    r"|(?:no such|unknown|invalid|expired)\s+task",
    re.IGNORECASE | re.DOTALL,
)
#: A refusal of the key or the account that mentions a task all the same.
_ABOUT_ACCESS: Final = re.compile(
    r"\b(?:api[ _-]?key|access|token|permissions?|unauthori[sz]ed|forbidden|balance|quota)\b", re.IGNORECASE
)
#: A ``code`` inside a 2xx response that is neither 0 nor a status 2xx.
_FAILURE_CODE: Final = re.compile(r"(?!0+\Z|2..\Z)[0-9]+")
#: What the family of servers behind the gateways says of a path that it does not have.
_UNKNOWN_PATH: Final = re.compile(r"invalid url|no route|unknown path", re.IGNORECASE)
_NEXT_STEP: Final[dict[type[ApimartError], str]] = {
    AuthenticationError: "Check the API key in the connection's password",
    InsufficientBalanceError: "Top up the account, then clear the task",
    PermissionDeniedError: "Ask for the right to use this model, or use another model",
    NotFoundError: "Check the connection's host and submit_path, and the model's name",
    RequestRejectedError: "Change the request: the same one will be refused again",
    ModerationError: "Change the prompt or the reference images: the same ones will be refused again",
    RateLimitError: "It may be sent again later",
    BusyError: "It may be sent again later",
    ServerError: "It may be sent again later",
    IdempotencyError: "Look at the gateway's console for what this key has bought",
}
_ADVICE_WHEN_READING: Final[dict[type[ApimartError], str]] = {
    AuthenticationError: " Mend the API key in the connection's password.",
    InsufficientBalanceError: " Top up the account.",
    PermissionDeniedError: " Check the key's rights, and what stands between this machine and the gateway.",
    NotFoundError: " Check the connection's host, and what stands between this machine and the gateway.",
}


def response_error(response: Response) -> GatewayError | None:
    """Return the error that a response stands for, or ``None`` for a success that can be read."""
    payload = response.payload
    if 300 <= response.status_code < 400:
        return NotFoundError(
            f"The gateway's address redirects to {response.headers.get('location', 'elsewhere')!r}. "
            "Put the right address into the connection's host.",
            status_code=response.status_code,
        )
    if response.is_success:
        if not isinstance(payload, dict | list):
            return response.unreadable(f"The gateway answered HTTP {response.status_code} without JSON")
        if not _reports_error(payload):
            return None
    return error_of(response.status_code, payload, response)


def error_of(status_code: int, payload: Any, response: Response) -> GatewayError:
    """Return the error for a status and an error body, which may be one item of a larger response."""
    code, kind, message = _details(payload)
    status = status_code
    if status_code < 400:  # Inside a 2xx response, the error itself may say which status it stands for.
        status = int(code) if re.fullmatch("[45][0-9]{2}", str(code)) else _STATUS_OF_TYPE.get(kind, 0)
    cls = _class_of(status, code, message, is_documented=is_documented_error(payload))
    return cls(
        f"The gateway answered HTTP {status_code}"
        + (f" (code {code!r})" if code not in ("", None) else "")
        + f": {_sentence(message or response.first_line)}",
        status_code=status or status_code,
        charged="no" if code == _KEY_REUSED else None,
        code=code,
        request_id=response.request_id,
        retry_after=response.retry_after,
    )


def is_documented_error(payload: Any) -> bool:
    """
    Return whether a body is an error in the gateway's own documented form.

    That is an object ``error`` with a ``message`` and a ``type``, or a ``code`` from the vendors' pages. Load balancers
    and firewalls respond with HTML, text, or JSON of their own such as ``{"message": "Service Unavailable"}``.
    """
    error = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(error, dict) or not _is_text(error.get("message")):
        return False
    code = error.get("code")
    return _is_text(error.get("type")) or (isinstance(code, str) and code in _DOCUMENTED_CODES)


def is_refusal(error: ApimartError, response: Response) -> bool:
    """
    Return whether a response to a paid request proves that nothing was accepted.

    :param error: what :func:`response_error` made of the response.
    """
    if isinstance(error, RateLimitError) and response.status_code == 429 and "retry-after" in response.headers:
        return True  # A rate limiter says when to come back: it has not passed the request on.
    if 300 <= response.status_code < 400 or not is_documented_error(response.payload):
        return False
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


def refusal_error(error: ApimartError, response: Response | None = None) -> ApimartError:  # noqa: ARG001 - as the others
    """Return an error of a request that is not about a purchase, or that was provably refused, with the next step."""
    if step := _NEXT_STEP.get(type(error)):
        error.args = (f"{_sentence(error)} {step}.",)
    return error


def submit_error(error: ApimartError, response: Response | None, idempotency_key: str | None) -> ApimartError:
    """
    Return what an error means for a paid request: a proven refusal as it is, anything else as an unknown outcome.

    :param response: ``None`` where none was received.
    """
    if response is not None and is_refusal(error, response):
        error.args = (f"{_sentence(error)} Nothing was charged.",)
        return refusal_error(error)
    return SubmitOutcomeUnknownError(
        f"A paid request was sent and its outcome is not known: {_sentence(error)} The picture may exist and be billed "
        f"(idempotency key: {idempotency_key}). Look at the gateway's console before buying it again.",
        status_code=error.status_code,
        code=error.code,
        request_id=error.request_id,
        retry_after=error.retry_after,
        idempotency_key=idempotency_key,
    )


def reading_error(error: ApimartError, response: Response | None, task_id: str | None = None) -> ApimartError:
    """
    Return what an error means for a status query: never the end of a purchase.

    :param task_id: the task that was queried; ``None`` for a query of many.
    """
    if task_id is not None and response is not None and _denies_task(error, response.payload):
        error = TaskNotFoundError(
            f"The gateway does not know task {task_id}: {_sentence(error)} The id may be too new or too old, "
            "or belong to another account. Whether it was charged is unknown.",
            status_code=error.status_code,
            code=error.code,
            request_id=error.request_id,
        )
    else:
        advice = _ADVICE_WHEN_READING.get(type(error), "")
        error.args = (f"{_sentence(error)}{advice} What was bought stays bought: it is queried again, at no cost.",)
    error.task_id = task_id
    error.retryable = True
    error.charged = "unknown"
    return error


def _denies_task(error: ApimartError, payload: Any) -> bool:
    """Return whether the gateway itself says that it does not know a task id."""
    if not isinstance(error, NotFoundError | RequestRejectedError) or not is_documented_error(payload):
        return False
    _, _, message = _details(payload)
    if _ABOUT_ACCESS.search(message):
        return False
    return bool(_UNKNOWN_TASK.search(message)) or (error.status_code == 404 and not _UNKNOWN_PATH.search(message))


def _class_of(status: int, code: Any, message: str, *, is_documented: bool) -> type[GatewayError]:
    if status in _CLASS_OF_STATUS:
        return _CLASS_OF_STATUS[status]
    if status == 403:
        return InsufficientBalanceError if _BALANCE.search(message) else PermissionDeniedError
    if status == 409:
        return BusyError if code == _IN_PROGRESS else IdempotencyError
    if code == _CHANNEL_BUSY or (status == 503 and is_documented):
        return BusyError
    if _BUILD_FAILED in message or code == _BUILD_FAILED or 400 <= status < 500:
        return ModerationError if is_moderation(str(code), message) else RequestRejectedError
    return ServerError if status >= 500 else GatewayError


def _reports_error(payload: Any) -> bool:
    """Return whether a body that came with HTTP 2xx is an error all the same."""
    if not isinstance(payload, dict):
        return False
    if payload.get("status") and (payload.get("id") or payload.get("task_id")):
        return False  # A task object without an envelope; its error is the task's own.
    error = payload.get("error")
    if isinstance(error, dict):  # It is also sent empty beside a success.
        error = any(value not in ("", None, 0, "0", 200, "200") for value in error.values())
    has_failed = _FAILURE_CODE.fullmatch(str(payload.get("code", ""))) is not None
    return has_failed or bool(error) or payload.get("success") is False


def _details(payload: Any) -> tuple[Any, str, str]:
    """Return code, type and message of an error body of any documented shape."""
    if not isinstance(payload, dict):
        return None, "", ""
    error = payload.get("error")
    if isinstance(error, dict):
        holder, message = error, error.get("message")
    else:
        holder, message = payload, error or payload.get("message") or payload.get("detail") or payload.get("msg")
    return _code(holder.get("code")), excerpt(str(holder.get("type") or "")), first_line(str(message or ""))


def _code(value: Any) -> str | int | None:
    return excerpt(value) if isinstance(value, str) else value if isinstance(value, int) else None


def _sentence(text: object) -> str:
    """Return a text with a full stop, so that another sentence can follow."""
    return str(text) if str(text).endswith((".", "。", "!", "?")) else f"{text}."


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
