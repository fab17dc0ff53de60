"""The bounds of one request: seconds in total and bytes, at servers that keep neither."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.dripping import DrippingServer
from gateway.exchange import Script
from gateway.unhurried import UnhurriedTransport

from airflow_provider_apimart.exceptions import (
    ConnectionFailedError,
    SubmitOutcomeUnknownError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS, MAX_BODY_BYTES

if TYPE_CHECKING:
    from gateway.exchange import Exchange

    from airflow_provider_apimart.gateway.request import ImageRequest

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "headers": (HEAD, b"X-Drip: 1\r\n"),
    "one header": (HEAD + b"X-Drip: ", b"1"),
    "body": (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "body without end": (HEAD + b"Connection: close\r\n\r\n", b" "),
}
drips = pytest.mark.parametrize(("beginning", "piece"), DRIPS.values(), ids=DRIPS)


@drips
def test_a_submit_whose_response_drips_ends_in_time_and_is_sent_once(
    exchange: Exchange, image_request: ImageRequest, beginning: bytes, piece: bytes
) -> None:
    with DrippingServer(beginning, piece) as server:
        exchange.settings = replace(exchange.settings, base_url=server.url, timeout=0.2)

        with pytest.raises(SubmitOutcomeUnknownError, match=r"not complete within 0\.2 s"):
            exchange.send(endpoints.submit(exchange.settings, image_request), UnhurriedTransport())

    assert server.requests == ["POST /v1/images/generations HTTP/1.1"]


@drips
def test_a_query_whose_response_drips_ends_in_time_and_is_sent_again(
    exchange: Exchange, beginning: bytes, piece: bytes
) -> None:
    with DrippingServer(beginning, piece) as server:
        exchange.settings = replace(exchange.settings, base_url=server.url, timeout=0.2)

        with pytest.raises(ConnectionFailedError, match=r"not complete within 0\.2 s") as raised:
            exchange.send(endpoints.get_task(exchange.settings, "task_1"), UnhurriedTransport())

    assert server.requests == ["GET /v1/tasks/task_1?language=en HTTP/1.1"] * MAX_ATTEMPTS
    assert (raised.value.retryable, raised.value.charged) == (True, "unknown")


LARGE = {
    "announced": httpx.Response(200, json={"data": {"status": "processing", "text": "x" * 2000}}),
    "page": httpx.Response(502, html="<p>" * 2000),
    "compressed": httpx.Response(200, content=gzip.compress(b" " * 100_000), headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("response", LARGE.values(), ids=LARGE)
def test_a_response_that_is_too_large_is_not_read(
    exchange: Exchange, image_request: ImageRequest, response: httpx.Response
) -> None:
    exchange.max_body_bytes = 1000
    submit, query = Script(response), Script(response)

    with pytest.raises(SubmitOutcomeUnknownError, match="more than 1000 bytes"):
        exchange.send(endpoints.submit(exchange.settings, image_request), submit)
    with pytest.raises(UnreadableAnswerError, match="more than 1000 bytes") as raised:
        exchange.send(endpoints.get_task(exchange.settings, "task_1"), query)

    assert len(submit.requests) == 1
    assert len(query.requests) == MAX_ATTEMPTS
    assert raised.value.retryable


def test_a_body_without_end_is_cut_off(exchange: Exchange, image_request: ImageRequest) -> None:
    exchange.max_body_bytes = 100_000
    with DrippingServer(HEAD + b"\r\n", b" " * 10_000, pause=0) as server:
        exchange.settings = replace(exchange.settings, base_url=server.url)

        with pytest.raises(SubmitOutcomeUnknownError, match="more than 100000 bytes"):
            exchange.send(endpoints.submit(exchange.settings, image_request))

    assert len(server.requests) == 1


def test_a_response_of_the_largest_size_is_read(exchange: Exchange) -> None:
    response = httpx.Response(200, json={"data": {"status": "processing"}})
    exchange.max_body_bytes = len(response.content)

    assert exchange.send(endpoints.get_task(exchange.settings, "task_1"), Script(response)).status == "processing"
    assert MAX_BODY_BYTES >= 32 * 1024 * 1024, "a picture of 24 MiB as base64"
