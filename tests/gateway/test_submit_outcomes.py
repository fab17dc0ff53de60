"""
The outcome of a submit, and how often it is sent: the table in ``gateway/errors.py``, line by line.

The connection is cut for real in ``test_client_at_a_server.py``.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from gateway.exchange import Script, accepted, error_response, html

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    ConnectionFailedError,
    IdempotencyError,
    InsufficientBalanceError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestRejectedError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS

if TYPE_CHECKING:
    from gateway.exchange import Exchange

    from airflow_provider_apimart.gateway.request import ImageRequest


class Outcome(NamedTuple):
    charged: str
    retryable: bool
    sent: int


REFUSED = Outcome("no", retryable=False, sent=1)
SENT_AGAIN = Outcome("no", retryable=True, sent=MAX_ATTEMPTS)
UNKNOWN = Outcome("unknown", retryable=False, sent=1)

KEY = "airflow-0123456789"


def in_progress(**headers: str) -> httpx.Response:
    return error_response(409, "idempotency_in_progress", **headers)


@pytest.mark.parametrize(
    ("response", "cls", "outcome"),
    [
        pytest.param(error_response(400), RequestRejectedError, REFUSED, id="400"),
        pytest.param(error_response(413), RequestRejectedError, REFUSED, id="413"),
        pytest.param(error_response(422), RequestRejectedError, REFUSED, id="422"),
        pytest.param(error_response(418), RequestRejectedError, REFUSED, id="other-4xx"),
        pytest.param(error_response(400, "get_channel_failed"), BusyError, SENT_AGAIN, id="400-get_channel_failed"),
        pytest.param(error_response(401), AuthenticationError, REFUSED, id="401"),
        pytest.param(error_response(402), InsufficientBalanceError, REFUSED, id="402"),
        pytest.param(error_response(403), PermissionDeniedError, REFUSED, id="403"),
        pytest.param(
            error_response(403, message="insufficient balance"),
            InsufficientBalanceError,
            REFUSED,
            id="403-balance",
        ),
        pytest.param(error_response(404), NotFoundError, REFUSED, id="404"),
        *(
            pytest.param(html(status), SubmitOutcomeUnknownError, UNKNOWN, id=f"{status}-html")
            for status in (400, 401, 402, 403, 404, 429, 502, 503, 524)
        ),
        *(
            pytest.param(httpx.Response(status, json=body), SubmitOutcomeUnknownError, UNKNOWN, id=f"{status}-{body}")
            for status, body in [
                (503, {"message": "Service Unavailable"}),
                (403, {"message": "Forbidden"}),
                (404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}),
                (429, {"detail": "too many requests"}),
            ]
        ),
        *(
            pytest.param(response, SubmitOutcomeUnknownError, UNKNOWN, id=f"redirect-{response.status_code}")
            for response in (
                httpx.Response(302, headers={"Location": "/login"}),
                httpx.Response(307, headers={"Location": "https://elsewhere.example/"}),
                httpx.Response(304),
            )
        ),
        pytest.param(error_response(408), SubmitOutcomeUnknownError, UNKNOWN, id="408"),
        pytest.param(in_progress(), BusyError, SENT_AGAIN, id="409-in-progress"),
        pytest.param(error_response(409, "idempotency_key_reused"), IdempotencyError, REFUSED, id="409-key-reused"),
        pytest.param(
            error_response(409, "idempotency_result_indeterminate"),
            SubmitOutcomeUnknownError,
            UNKNOWN,
            id="409-otherwise",
        ),
        pytest.param(error_response(429), RateLimitError, SENT_AGAIN, id="429"),
        pytest.param(
            httpx.Response(429, json={"detail": "slow"}, headers={"Retry-After": "1"}),
            RateLimitError,
            SENT_AGAIN,
            id="429-retry-after",
        ),
        pytest.param(
            httpx.Response(429, html="<html>", headers={"Retry-After": "1"}),
            RateLimitError,
            SENT_AGAIN,
            id="429-html-retry-after",
        ),
        pytest.param(
            error_response(500, message="build_request_failed: invalid size"),
            RequestRejectedError,
            REFUSED,
            id="500-build_request_failed",
        ),
        pytest.param(
            error_response(500, message="build_request_failed: content moderation failed"),
            ModerationError,
            REFUSED,
            id="500-moderation",
        ),
        pytest.param(error_response(503), BusyError, SENT_AGAIN, id="503-json"),
        pytest.param(error_response(503, "idempotency_unavailable"), BusyError, SENT_AGAIN, id="503-idempotency"),
        pytest.param(error_response(500), SubmitOutcomeUnknownError, UNKNOWN, id="500"),
        pytest.param(error_response(502), SubmitOutcomeUnknownError, UNKNOWN, id="502"),
        pytest.param(html(504), SubmitOutcomeUnknownError, UNKNOWN, id="504-html"),
        pytest.param(error_response(400, http=200), RequestRejectedError, REFUSED, id="200-with-code-400"),
        pytest.param(error_response(429, http=200), RateLimitError, SENT_AGAIN, id="200-with-code-429"),
        pytest.param(error_response(500, http=200), SubmitOutcomeUnknownError, UNKNOWN, id="200-with-500"),
        pytest.param(
            httpx.Response(200, json={"success": False, "message": "no"}),
            SubmitOutcomeUnknownError,
            UNKNOWN,
            id="200-success-false",
        ),
        pytest.param(html(200), SubmitOutcomeUnknownError, UNKNOWN, id="200-html"),
        pytest.param(httpx.Response(202), SubmitOutcomeUnknownError, UNKNOWN, id="202-empty"),
        pytest.param(
            httpx.Response(200, json={"code": 200, "data": []}),
            SubmitOutcomeUnknownError,
            UNKNOWN,
            id="200-without-an-id",
        ),
        pytest.param(httpx.ConnectError("refused"), ConnectionFailedError, SENT_AGAIN, id="connection-refused"),
        pytest.param(httpx.ConnectTimeout("slow"), ConnectionFailedError, SENT_AGAIN, id="connect-timeout"),
        pytest.param(httpx.ProxyError("403"), ConnectionFailedError, SENT_AGAIN, id="proxy-refused"),
        pytest.param(httpx.ReadTimeout("slow"), SubmitOutcomeUnknownError, UNKNOWN, id="read-timeout"),
        pytest.param(httpx.WriteError("broken"), SubmitOutcomeUnknownError, UNKNOWN, id="write-error"),
        pytest.param(httpx.ReadError("reset"), SubmitOutcomeUnknownError, UNKNOWN, id="read-error"),
        pytest.param(httpx.RemoteProtocolError("cut"), SubmitOutcomeUnknownError, UNKNOWN, id="connection-cut"),
        pytest.param(httpx.DecodingError("bad gzip"), SubmitOutcomeUnknownError, UNKNOWN, id="undecodable-response"),
        pytest.param(ssl.SSLError("bad record mac"), SubmitOutcomeUnknownError, UNKNOWN, id="tls"),
        pytest.param(OSError("no buffer space"), SubmitOutcomeUnknownError, UNKNOWN, id="os"),
        pytest.param(RuntimeError("a bug of the transport"), SubmitOutcomeUnknownError, UNKNOWN, id="anything"),
    ],
)
def test_the_outcome_of_a_submit(
    exchange: Exchange,
    image_request: ImageRequest,
    response: httpx.Response | Exception,
    cls: type[ApimartError],
    outcome: Outcome,
) -> None:
    transport = Script(response)

    with pytest.raises(ApimartError) as raised:
        exchange.send(endpoints.submit(exchange.settings, image_request, idempotency_key=KEY), transport)

    assert type(raised.value) is cls
    assert Outcome(raised.value.charged, raised.value.retryable, len(transport.requests)) == outcome
    assert len(exchange.pauses) == outcome.sent - 1
    assert {request.headers["Idempotency-Key"] for request in transport.requests} == {KEY}
    if isinstance(raised.value, SubmitOutcomeUnknownError):
        assert raised.value.idempotency_key == KEY


@pytest.mark.parametrize(
    "refusal",
    [
        error_response(429),
        error_response(503),
        error_response(400, "get_channel_failed"),
        in_progress(),
        httpx.ConnectError("refused"),
    ],
    ids=str,
)
def test_a_submit_that_was_provably_not_accepted_is_sent_until_it_is(
    exchange: Exchange, image_request: ImageRequest, refusal: httpx.Response | Exception
) -> None:
    transport = Script(refusal, refusal, accepted("task_7"))

    submission = exchange.send(endpoints.submit(exchange.settings, image_request, idempotency_key=KEY), transport)

    assert [task.task_id for task in submission.tasks] == ["task_7"]
    assert len(transport.requests) == 3
    assert len({(request.content, request.headers["Idempotency-Key"]) for request in transport.requests}) == 1
