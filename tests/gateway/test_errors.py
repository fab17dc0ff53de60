"""The meaning of a refusal: every form, every status, and above all whether anything was accepted."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.exchange import answer, text_answer
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    ConnectionFailedError,
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
from airflow_provider_apimart.gateway.errors import (
    is_documented_error,
    is_refusal,
    reading_error,
    refusal_error,
    response_error,
    submit_error,
)
from airflow_provider_apimart.gateway.response import Response

HTML = "\n  <!DOCTYPE html>\n<html><title>Just a moment...</title></html>"


def error_for(status: int, code: Any, message: str = "no", kind: str = "apimart_error") -> GatewayError:
    error = response_error(answer({"error": {"code": code, "message": message, "type": kind}}, status))
    assert error is not None
    return error


@pytest.mark.parametrize("code", [None, "", 0, "error", "999"], ids=repr)
@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (302, NotFoundError),
        (400, RequestRejectedError),
        (401, AuthenticationError),
        (402, InsufficientBalanceError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, RequestRejectedError),
        (408, ServerError),
        (409, IdempotencyError),
        (413, RequestRejectedError),
        (422, RequestRejectedError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, BusyError),
        (504, ServerError),
        (520, ServerError),
    ],
)
def test_the_http_status_decides_whatever_the_code(status: int, cls: type[GatewayError], code: Any) -> None:
    error = error_for(status, code)

    assert type(error) is cls
    assert error.status_code == status


@pytest.mark.parametrize(
    ("status", "code", "message", "cls"),
    [
        (400, "get_channel_failed", "Please wait and try again later", BusyError),
        (503, "get_channel_failed", "Please wait and try again later", BusyError),
        (409, "idempotency_in_progress", "still being processed", BusyError),
        (409, "idempotency_key_reused", "another body", IdempotencyError),
        (409, "idempotency_result_indeterminate", "not known", IdempotencyError),
        (503, "idempotency_unavailable", "not executed", BusyError),
        (422, "bad_response_status_code", "bad response", RequestRejectedError),
        (500, 500, "build_request_failed: invalid size", RequestRejectedError),
        (500, 500, "build_request_failed: content moderation failed: sensitive content detected", ModerationError),
        (400, "content_policy_violation", "refused", ModerationError),
        (400, 400, "提示词包含敏感词", ModerationError),
        (403, 403, "Insufficient balance", InsufficientBalanceError),
        (403, 403, "user quota is not enough", InsufficientBalanceError),
        (403, 403, "账户余额不足", InsufficientBalanceError),
    ],
)
def test_code_and_message_decide_where_the_status_does_not(
    status: int, code: Any, message: str, cls: type[GatewayError]
) -> None:
    assert type(error_for(status, code, message)) is cls


@pytest.mark.parametrize(
    ("payload", "cls", "status"),
    [
        pytest.param({"error": {"code": 401, "message": "x"}}, AuthenticationError, 401, id="code-int"),
        pytest.param({"error": {"code": "402", "message": "x"}}, InsufficientBalanceError, 402, id="code-text"),
        pytest.param({"error": {"code": "", "type": "rate_limit_error"}}, RateLimitError, 429, id="type-rate-limit"),
        pytest.param({"error": {"type": "authentication_error"}}, AuthenticationError, 401, id="type-authentication"),
        pytest.param({"error": {"type": "payment_required"}}, InsufficientBalanceError, 402, id="type-payment"),
        pytest.param({"error": {"type": "permission_error"}}, PermissionDeniedError, 403, id="type-permission"),
        pytest.param({"error": {"type": "invalid_request_error"}}, RequestRejectedError, 400, id="type-invalid"),
        pytest.param({"error": {"type": "server_error"}}, ServerError, 500, id="type-server"),
        pytest.param({"error": {"type": "bad_gateway"}}, ServerError, 502, id="type-bad-gateway"),
        pytest.param({"error": {"type": "service_unavailable", "message": "x"}}, BusyError, 503, id="type-unavailable"),
        pytest.param({"error": {"code": "get_channel_failed"}}, BusyError, 200, id="channel-busy"),
        pytest.param({"error": {"code": "\u00b2", "message": "x"}}, GatewayError, 200, id="code-odd-digit"),
        pytest.param({"error": {"code": "9" * 5000, "message": "x"}}, GatewayError, 200, id="code-too-long"),
        pytest.param({"error": "it broke"}, GatewayError, 200, id="error-text"),
        pytest.param({"code": 429, "message": "slow down"}, RateLimitError, 429, id="flat-code"),
        pytest.param({"code": 605, "message": "余额不足"}, GatewayError, 200, id="business-code"),
        pytest.param({"success": False, "message": "No Authorization header"}, GatewayError, 200, id="success-false"),
    ],
)
def test_a_failure_may_come_with_http_200(payload: Any, cls: type[GatewayError], status: int) -> None:
    error = response_error(answer(payload))

    assert type(error) is cls
    assert error.status_code == status


@pytest.mark.parametrize(
    "payload",
    [
        {"code": 200, "data": []},
        {"code": 202, "data": {}},
        {"data": {"status": "submitted", "task_id": "t"}},
        {"success": True, "remain_balance": 1},
        {"id": "t", "status": "failed", "error": {"message": "the task's own"}},
        {"task_id": "t", "status": "failed", "error": "the task's own"},
        {"error": None, "data": []},
        [],
    ],
    ids=str,
)
def test_a_success_is_no_error(payload: Any) -> None:
    assert response_error(answer(payload)) is None


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"error": {"code": "", "message": "Nested", "type": "x"}}, "Nested"),
        ({"error": {"message": "No code"}}, "No code"),
        ({"error": "A text"}, "A text"),
        ({"success": False, "message": "Flat"}, "Flat"),
        ({"detail": "Too many", "retry_after": 3}, "Too many"),
        ({"msg": "Short key"}, "Short key"),
        ({"unheard": "of"}, '{"unheard": "of"}'),
        (["a list"], '["a list"]'),
    ],
    ids=str,
)
def test_the_message_of_every_shape_is_shown(payload: Any, message: str) -> None:
    error = response_error(answer(payload, 400))

    assert str(error).startswith("The gateway answered HTTP 400")
    assert message in str(error)


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("text", [HTML, "", "null", "true", "17", '"text"', "[" * 100_000], ids=lambda text: text[:12])
def test_a_success_that_is_not_json_is_unreadable_and_shows_its_first_line(status: int, text: str) -> None:
    error = response_error(text_answer(text, status))

    assert type(error) is UnreadableAnswerError
    assert error.retryable
    assert f"HTTP {status} without JSON" in str(error)


@pytest.mark.parametrize(
    ("status", "cls"), [(403, PermissionDeniedError), (404, NotFoundError), (502, ServerError), (503, ServerError)]
)
def test_an_html_page_shows_its_first_line_and_never_proves_that_the_gateway_is_busy(
    status: int, cls: type[GatewayError]
) -> None:
    error = response_error(text_answer(HTML, status))

    assert type(error) is cls
    assert "<!DOCTYPE html>" in str(error)
    assert "Just a moment" not in str(error)


def test_an_empty_answer_says_so() -> None:
    assert "(empty)" in str(response_error(text_answer("", 500)))


def test_a_redirect_is_not_followed_and_shows_where_it_leads() -> None:
    error = response_error(answer({}, 301, headers={"Location": "https://elsewhere.example/v1"}))

    assert type(error) is NotFoundError
    assert "'https://elsewhere.example/v1'" in str(error)


def test_the_request_id_is_kept_for_the_gateways_support() -> None:
    assert error_with({"X-Oneapi-Request-Id": "one"}).request_id == "one"
    assert error_with({"X-Request-Id": "other"}).request_id == "other"
    assert error_with({}).request_id is None


@pytest.mark.parametrize(
    ("headers", "payload", "seconds"),
    [
        ({"Retry-After": "7"}, {}, 7.0),
        ({}, {"detail": "slow", "retry_after": 5}, 5.0),
        ({}, {"error": {"message": "slow", "retry_after": "2.5"}}, 2.5),
        ({"Retry-After": "soon"}, {"retry_after": 4}, 4.0),
        ({}, {"retry_after": None}, None),
        ({}, {}, None),
    ],
)
def test_the_wish_for_a_pause_is_read_from_header_or_body(
    headers: dict[str, str], payload: Any, seconds: float | None
) -> None:
    error = response_error(answer(payload, 429, headers=headers))

    assert error is not None
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "cls", "step"),
    [
        (401, AuthenticationError, "Check the API key"),
        (402, InsufficientBalanceError, "Top up"),
        (404, NotFoundError, "submit_path"),
        (400, RequestRejectedError, "Change the request"),
        (429, RateLimitError, "later"),
    ],
)
def test_a_refusal_says_what_to_do_next(status: int, cls: type[GatewayError], step: str) -> None:
    error = refusal_error(error_for(status, None, "Refused."))

    assert type(error) is cls
    assert step in str(error)
    assert ".." not in str(error)


def documented(status: int, code: Any = None, message: str = "no", **headers: str) -> Response:
    body = {"error": {"code": status if code is None else code, "message": message, "type": "apimart_error"}}
    return answer(body, status, headers={name.replace("_", "-"): value for name, value in headers.items()})


REFUSALS = {
    "400": documented(400),
    "401": documented(401),
    "402": documented(402),
    "403": documented(403),
    "404": documented(404),
    "413": documented(413),
    "422": documented(422),
    "429": documented(429),
    "429 with Retry-After": answer({"message": "slow down"}, 429, headers={"Retry-After": "5"}),
    "429 page with Retry-After": Response(429, {"retry-after": "5"}, HTML),
    "503": documented(503),
    "get_channel_failed": documented(400, "get_channel_failed"),
    "key reused": documented(409, "idempotency_key_reused"),
    "key in progress": documented(409, "idempotency_in_progress"),
    "build_request_failed": documented(500, message="build_request_failed: size"),
    "200 with an error": answer({"error": {"code": 402, "message": "no balance", "type": "payment_required"}}),
}
UNPROVEN = {
    "a load balancer's 503": answer({"message": "Service Unavailable"}, 503),
    "an API gateway's 403": answer({"message": "Forbidden"}, 403),
    "a cloud's 404": answer({"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}, 404),
    "a mesh's 429": answer({"detail": "too many"}, 429),
    "a text": text_answer("upstream connect error or disconnect/reset before headers", 503),
    **{f"a page with {status}": text_answer(HTML, status) for status in (200, 400, 401, 403, 404, 429, 502, 503, 524)},
    "a redirect": answer({}, 302, headers={"Location": "/login"}),
    "408": documented(408),
    "409": documented(409, "idempotency_result_indeterminate"),
    "500": documented(500),
    "502": documented(502),
    "an odd code": answer({"error": {"code": ["get_channel_failed"], "message": "no"}}, 503),
    "success: false": answer({"success": False, "message": "no"}),
    "nothing": text_answer("", 202),
}


@pytest.mark.parametrize("response", REFUSALS.values(), ids=REFUSALS)
def test_a_documented_refusal_of_a_submit_stays_what_it_is(response: Response) -> None:
    error = response_error(response)
    assert error is not None
    assert is_refusal(error, response)

    refusal = submit_error(error, response, "key")

    assert refusal is error
    assert refusal.charged == "no"
    assert "Nothing was charged." in str(refusal)


@pytest.mark.parametrize("response", UNPROVEN.values(), ids=UNPROVEN)
def test_anything_else_leaves_the_outcome_of_a_submit_unknown(response: Response) -> None:
    error = response_error(response)
    assert error is not None
    assert not is_refusal(error, response)

    unknown = submit_error(error, response, "key-1")

    assert isinstance(unknown, SubmitOutcomeUnknownError)
    assert (unknown.charged, unknown.retryable, unknown.idempotency_key) == ("unknown", False, "key-1")
    assert "may exist and be billed" in str(unknown)
    assert "key-1" in str(unknown)
    assert unknown.code == error.code


def test_a_missing_response_leaves_it_unknown_too() -> None:
    assert type(submit_error(ConnectionFailedError("cut"), None, None)) is SubmitOutcomeUnknownError


@pytest.mark.parametrize(
    "payload",
    [{"error": {"message": "no", "type": "x"}}, {"error": {"code": "get_channel_failed", "message": "no"}}],
    ids=str,
)
def test_a_documented_error_has_a_message_and_a_type_or_a_known_code(payload: Any) -> None:
    assert is_documented_error(payload)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "无效的任务ID"),
        (400, "任务不存在或已过期"),
        (400, "Invalid task id"),
        (400, "task not found"),
        (400, "the task does not exist"),
        (404, "anything"),
    ],
)
def test_an_unknown_task_is_told_by_the_gateways_own_error(status: int, message: str) -> None:
    error = read_error(documented(status, message=message))

    assert type(error) is TaskNotFoundError
    assert (error.task_id, error.status_code, error.charged, error.retryable) == ("task_1", status, "unknown", True)
    assert message in str(error)


@pytest.mark.parametrize(
    ("response", "cls"),
    [
        (documented(400, message="API key expired"), RequestRejectedError),
        (documented(400, message="task query refused: invalid API key"), RequestRejectedError),
        (documented(403, message="Insufficient permissions"), PermissionDeniedError),
        (documented(404, message="Invalid URL (GET /v1/tasks/task_1)"), NotFoundError),
        (text_answer(HTML, 404), NotFoundError),
        (answer({"message": "no Route matched with those values"}, 404), NotFoundError),
        (answer({"error": {"code": 404, "message": "task not found"}}, 404), NotFoundError),
        (text_answer("task not found", 404), NotFoundError),
    ],
    ids=str,
)
def test_nothing_else_says_that_a_task_is_unknown(response: Response, cls: type[GatewayError]) -> None:
    assert type(read_error(response)) is cls


@pytest.mark.parametrize(
    ("response", "advice"),
    [
        (documented(401), "Mend the API key"),
        (documented(402), "Top up the account."),
        (text_answer(HTML, 403), "what stands between this machine and the gateway"),
        (text_answer(HTML, 404), "Check the connection's host"),
        (documented(500), ""),
        (answer({}, 302, headers={"Location": "/login"}), "host"),
    ],
    ids=str,
)
def test_no_error_of_a_status_query_ends_a_purchase(response: Response, advice: str) -> None:
    error = read_error(response)

    assert (error.retryable, error.charged, error.task_id) == (True, "unknown", "task_1")
    assert advice in str(error)
    assert "What was bought stays bought" in str(error)
    assert "clear the task" not in str(error)


@given(st.one_of(any_json, gateway_json), st.sampled_from([200, 202, 301, 400, 403, 404, 409, 429, 500, 503]))
def test_reading_an_error_never_fails(payload: Any, status: int) -> None:
    error = response_error(answer(payload, status))

    assert error is None or isinstance(error, ApimartError)


@given(st.text(), st.sampled_from([200, 400, 503]))
def test_reading_any_text_never_fails(text: str, status: int) -> None:
    error = response_error(text_answer(text, status))

    assert error is None or isinstance(error, ApimartError)


def read_error(response: Response) -> ApimartError:
    error = response_error(response)
    assert error is not None
    return reading_error(error, response, "task_1")


def error_with(headers: dict[str, str]) -> GatewayError:
    error = response_error(answer({}, 500, headers=headers))
    assert error is not None
    return error
