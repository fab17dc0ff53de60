"""What a refusal means: every shape, every status, and above all whether anything was accepted."""

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
    answer_error,
    is_provably_refused,
    submit_error,
    task_lookup_error,
)

HTML = "\n  <!DOCTYPE html>\n<html><title>Just a moment...</title></html>"


def error_for(status: int, code: Any, message: str = "no", kind: str = "apimart_error") -> GatewayError:
    error = answer_error(answer({"error": {"code": code, "message": message, "type": kind}}, status))
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
        pytest.param({"error": {"type": "service_unavailable"}}, BusyError, 503, id="type-unavailable"),
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
    error = answer_error(answer(payload))

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
    assert answer_error(answer(payload)) is None


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
    error = answer_error(answer(payload, 400))

    assert str(error).startswith("The gateway answered HTTP 400")
    assert message in str(error)


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("text", [HTML, "", "null", "true", "17", '"text"', "[" * 100_000], ids=lambda text: text[:12])
def test_a_success_that_is_not_json_is_unreadable_and_shows_its_first_line(status: int, text: str) -> None:
    error = answer_error(text_answer(text, status))

    assert type(error) is UnreadableAnswerError
    assert error.retryable
    assert f"HTTP {status} without JSON" in str(error)


@pytest.mark.parametrize(
    ("status", "cls"), [(403, PermissionDeniedError), (404, NotFoundError), (502, ServerError), (503, ServerError)]
)
def test_an_html_page_shows_its_first_line_and_never_proves_that_the_gateway_is_busy(
    status: int, cls: type[GatewayError]
) -> None:
    error = answer_error(text_answer(HTML, status))

    assert type(error) is cls
    assert "<!DOCTYPE html>" in str(error)
    assert "Just a moment" not in str(error)


def test_an_empty_answer_says_so() -> None:
    assert "(empty)" in str(answer_error(text_answer("", 500)))


def test_a_redirect_is_not_followed_and_shows_where_it_leads() -> None:
    error = answer_error(answer({}, 301, headers={"Location": "https://elsewhere.example/v1"}))

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
    error = answer_error(answer(payload, 429, headers=headers))

    assert error is not None
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("cls", "step"),
    [
        (AuthenticationError, "Check the API key"),
        (InsufficientBalanceError, "Top up"),
        (NotFoundError, "submit_path"),
        (RequestRejectedError, "Change the request"),
        (RateLimitError, "later"),
    ],
)
def test_an_error_says_what_to_do_next(cls: type[GatewayError], step: str) -> None:
    status = {AuthenticationError: 401, InsufficientBalanceError: 402, NotFoundError: 404, RateLimitError: 429}
    error = error_for(status.get(cls, 400), None, "Refused.")

    assert type(error) is cls
    assert step in str(error)
    assert ".." not in str(error)


REFUSED = [
    AuthenticationError("no"),
    InsufficientBalanceError("no"),
    PermissionDeniedError("no"),
    NotFoundError("no"),
    RequestRejectedError("no"),
    ModerationError("no"),
    RateLimitError("no"),
    BusyError("no"),
    IdempotencyError("no", code="idempotency_key_reused"),
]
UNPROVEN = [
    ServerError("no"),
    ConnectionFailedError("no"),
    UnreadableAnswerError("no"),
    GatewayError("no"),
    IdempotencyError("no", code="idempotency_result_indeterminate"),
    IdempotencyError("no", code=""),
]


@pytest.mark.parametrize("error", REFUSED, ids=repr)
def test_a_proven_refusal_of_a_submit_stays_what_it_is(error: ApimartError) -> None:
    assert is_provably_refused(error)
    assert submit_error(error, "key") is error


@pytest.mark.parametrize("error", UNPROVEN, ids=lambda error: f"{error!r}-{error.code}")
def test_anything_else_leaves_the_outcome_of_a_submit_unknown(error: ApimartError) -> None:
    unknown = submit_error(error, "key-1")

    assert type(unknown) is SubmitOutcomeUnknownError
    assert (unknown.charged, unknown.retryable, unknown.idempotency_key) == ("unknown", False, "key-1")
    assert "may exist and be billed" in str(unknown)
    assert "key-1" in str(unknown)
    assert unknown.code == error.code


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
def test_an_unknown_task_is_told_apart(status: int, message: str) -> None:
    error = task_lookup_error(error_for(status, status, message), "task_1")

    assert type(error) is TaskNotFoundError
    assert (error.task_id, error.status_code, error.charged) == ("task_1", status, "unknown")
    assert message in str(error)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_any_other_error_of_a_look_up_stays_and_names_the_task(status: int) -> None:
    before = error_for(status, status, "no")

    error = task_lookup_error(before, "task_1")

    assert error is before
    assert error.task_id == "task_1"


@given(st.one_of(any_json, gateway_json), st.sampled_from([200, 202, 301, 400, 403, 404, 409, 429, 500, 503]))
def test_reading_an_error_never_fails(payload: Any, status: int) -> None:
    error = answer_error(answer(payload, status))

    assert error is None or isinstance(error, ApimartError)


@given(st.text(), st.sampled_from([200, 400, 503]))
def test_reading_any_text_never_fails(text: str, status: int) -> None:
    error = answer_error(text_answer(text, status))

    assert error is None or isinstance(error, ApimartError)


def error_with(headers: dict[str, str]) -> GatewayError:
    error = answer_error(answer({}, 500, headers=headers))
    assert error is not None
    return error
