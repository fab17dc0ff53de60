"""
The error bodies of both gateways, as documented and as recorded from live calls.

The vendors' pages show ``{"error": {"code": <HTTP status>, "message", "type"}}``; live answers also carry words or
empty strings as the code, and some endpoints use other envelopes altogether.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DOCUMENTED", "REASONS", "SHAPES", "Refusal", "error_body", "html_page", "retry_after_header"]

#: Type and message for each HTTP status, from APIMart's pages; 404, 409, 413 and 504 have none there.
DOCUMENTED: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "Invalid request parameters"),
    401: ("authentication_error", "Authentication failed, please check your API key"),
    402: ("payment_required", "Insufficient balance, please top up and try again"),
    403: ("permission_error", "Access forbidden, you do not have permission to access this resource"),
    404: ("invalid_request_error", "Not found"),
    408: ("image_generation_timeout", "Image generation timed out"),
    409: ("invalid_request_error", "Conflict"),
    413: ("invalid_request_error", "Request entity too large"),
    429: ("rate_limit_error", "Too many requests, please try again later"),
    500: ("server_error", "Internal server error, please try again later"),
    502: ("bad_gateway", "Bad gateway, server temporarily unavailable"),
    503: ("service_unavailable", "Upstream temporarily unavailable, please try again later"),
    504: ("gateway_timeout", "Gateway timeout"),
}

#: Refusals known by a name: status, code, type, message.
REASONS: Final[Mapping[str, tuple[int, int | str, str, str]]] = {
    "get_channel_failed": (400, "get_channel_failed", "apimart_error", "Please wait and try again later"),
    "build_request_failed": (500, 500, "server_error", "build_request_failed: invalid size"),
    "moderation": (
        500,
        500,
        "server_error",
        "build_request_failed: content moderation failed: sensitive content detected",
    ),
    "idempotency_in_progress": (
        409,
        "idempotency_in_progress",
        "invalid_request_error",
        "A request with this Idempotency-Key is still being processed",
    ),
    "idempotency_key_reused": (
        409,
        "idempotency_key_reused",
        "invalid_request_error",
        "This Idempotency-Key was used with another request body",
    ),
    "idempotency_result_indeterminate": (
        409,
        "idempotency_result_indeterminate",
        "invalid_request_error",
        "The result of the first request with this Idempotency-Key is not known",
    ),
    "idempotency_unavailable": (
        503,
        "idempotency_unavailable",
        "service_unavailable",
        "The idempotency store is unavailable; the request was not executed",
    ),
}

SHAPES: Final = ("documented", "numeric_string", "word", "empty", "no_code", "code", "success_false", "detail")


class Refusal(Exception):  # noqa: N818 - a refusal is an ordinary answer here, not an error of this program
    """
    An answer other than success, raised where a request turns out to be wrong.

    :param status: HTTP status.
    :param body: JSON body.
    :param headers: HTTP headers besides the content type.
    """

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    @classmethod
    def documented(cls, status: int, message: str | None = None, headers: Mapping[str, str] | None = None) -> Refusal:
        """Return the answer that the vendors' pages show for a status."""
        return cls(status, error_body(status, message=message), headers)

    @classmethod
    def for_reason(cls, reason: str, headers: Mapping[str, str] | None = None) -> Refusal:
        """Return one of the refusals known by a name, see :data:`REASONS`."""
        status, code, type_, message = REASONS[reason]
        return cls(status, error_body(status, code=code, type_=type_, message=message), headers)


def error_body(
    status: int,
    *,
    shape: str = "documented",
    code: int | str | None = None,
    type_: str | None = None,
    message: str | None = None,
    retry_after: float | None = None,
) -> dict[str, Any]:
    """
    Return an error body in one of the shapes that have been documented or seen.

    :param status: HTTP status, which is also the documented code.
    :param shape: one of :data:`SHAPES`.
    :param code: the code to show instead of the shape's own.
    :param type_: the type to show instead of the one documented for the status.
    :param message: the text to show instead of the one documented for the status.
    :param retry_after: seconds, shown in the body by the shape ``detail``.
    """
    documented_type, documented_message = DOCUMENTED.get(status, ("server_error", "Unknown error"))
    message = documented_message if message is None else message
    type_ = documented_type if type_ is None else type_
    error: dict[str, Any] = {"code": status if code is None else code, "message": message, "type": type_}
    bodies: dict[str, dict[str, Any]] = {
        "documented": {"error": error},
        "numeric_string": {"error": {**error, "code": str(status)}},
        "word": {"error": {**error, "code": code or "bad_response_status_code", "type": "apimart_error"}},
        "empty": {"error": {**error, "code": "", "param": "", "type": "apimart_error"}},
        "no_code": {"error": {"message": message, "type": type_}},
        "code": {"code": error["code"], "message": message},
        "success_false": {"success": False, "message": message},
        "detail": {"detail": message, "retry_after": retry_after},
    }
    return bodies[shape]


def retry_after_header(seconds: float, *, form: str, now: float) -> dict[str, str]:
    """Return the header ``Retry-After`` in ``"seconds"``, as a ``"date"``, or no header for ``"none"``."""
    match form:
        case "seconds":
            return {"Retry-After": f"{seconds:g}"}
        case "date":
            return {"Retry-After": formatdate(now + seconds, usegmt=True)}
        case _:
            return {}


def html_page(status: int) -> str:
    """Return a page such as a proxy in front of the gateway would show."""
    return (
        f"<!DOCTYPE html>\n<html><head><title>{status} | api.apimart.ai</title></head>\n"
        f"<body><h1>Error {status}</h1><p>Checking if the site connection is secure</p></body></html>\n"
    )
