"""The requests that a client sends, how often, and what it makes of the responses."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gateway.clock import HeldClock
from gateway.exchange import Exchange, Script, accepted, error_response, html
from services.reference_files import GIF

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BusyError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    SubmitOutcomeUnknownError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS, GatewayClient, is_worth_retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.settings import GatewaySettings


READS: dict[str, Callable[[GatewaySettings], Any]] = {
    "task": lambda settings: endpoints.get_task(settings, "task_1"),
    "batch": lambda settings: endpoints.get_tasks(settings, ["task_1", "task_2"]),
    "balance": endpoints.get_balance,
    "models": endpoints.list_models,
    "price": lambda settings: endpoints.get_price(settings, "gpt-image-2"),
}


@pytest.mark.parametrize(
    "failure",
    [
        error_response(500),
        error_response(502),
        error_response(408),
        html(503),
        html(504),
        html(200),
        error_response(429),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("cut"),
        httpx.ConnectError("refused"),
        ssl.SSLError("bad record mac"),
        OSError("no buffer space"),
        RuntimeError("a bug of the transport"),
    ],
    ids=str,
)
@pytest.mark.parametrize("read", READS)
def test_a_question_that_buys_nothing_is_asked_again(
    exchange: Exchange, read: str, failure: httpx.Response | Exception
) -> None:
    answers = {
        "task": {"data": {"id": "task_1", "status": "processing"}},
        "batch": {"data": []},
        "balance": {"remain_balance": 1.0, "used_balance": 0.0},
        "models": {"data": []},
        "price": {"data": {}},
    }
    transport = Script(failure, httpx.Response(200, json=answers[read]))

    exchange.send(READS[read](exchange.settings), transport)

    assert len(transport.requests) == 2


@pytest.mark.parametrize(
    ("failure", "cls", "sent"),
    [
        (error_response(500), ServerError, MAX_ATTEMPTS),
        (html(200), UnreadableAnswerError, MAX_ATTEMPTS),
        (httpx.ReadTimeout("slow"), ConnectionFailedError, MAX_ATTEMPTS),
        (error_response(401), AuthenticationError, 1),
        (error_response(400, message="无效的任务ID"), TaskNotFoundError, 1),
        (error_response(404), TaskNotFoundError, 1),
        (html(404), NotFoundError, 1),
        (html(401), AuthenticationError, 1),
        (error_response(403), PermissionDeniedError, 1),
    ],
    ids=str,
)
def test_a_question_is_given_up_in_the_end_or_at_once(
    exchange: Exchange, failure: httpx.Response | Exception, cls: type[ApimartError], sent: int
) -> None:
    transport = Script(failure)

    with pytest.raises(cls) as raised:
        exchange.send(endpoints.get_task(exchange.settings, "task_1"), transport)

    assert len(transport.requests) == sent
    assert (raised.value.retryable, raised.value.charged) == (True, "unknown")


@pytest.mark.parametrize(
    ("failure", "sent"),
    [
        (httpx.ReadTimeout("slow"), 1),
        (httpx.RemoteProtocolError("cut"), 1),
        (error_response(500), 1),
        (html(200), 1),
        (error_response(429), MAX_ATTEMPTS),
        (httpx.ConnectError("refused"), MAX_ATTEMPTS),
    ],
    ids=str,
)
def test_an_upload_is_not_sent_twice_unless_it_never_arrived(
    exchange: Exchange, failure: httpx.Response | Exception, sent: int
) -> None:
    transport = Script(failure)
    call = endpoints.upload_image(exchange.settings, GIF)

    with pytest.raises(ApimartError) as raised:
        exchange.send(call, transport)

    assert len(transport.requests) == sent
    assert raised.value.charged == "no"


@pytest.mark.parametrize("seconds", [3, 59])
def test_the_gateway_gets_the_pause_that_it_asks_for_in_seconds(exchange: Exchange, seconds: int) -> None:
    transport = Script(error_response(429, retry_after=str(seconds)), httpx.Response(200, json={"data": {}}))

    exchange.send(endpoints.get_price(exchange.settings, "gpt-image-2"), transport)

    (pause,) = exchange.pauses
    assert seconds <= pause < seconds + 2


def test_the_gateway_gets_the_pause_that_it_asks_for_as_a_date(exchange: Exchange) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    transport = Script(error_response(429, retry_after=date), httpx.Response(200, json={"data": {}}))

    exchange.send(endpoints.get_price(exchange.settings, "gpt-image-2"), transport)

    (pause,) = exchange.pauses
    assert 5 < pause < 42


@pytest.mark.parametrize("cls", [RateLimitError, BusyError, ConnectionFailedError])
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_request_that_was_not_accepted_is_sent_again(cls: type[ApimartError], *, idempotent: bool) -> None:
    assert is_worth_retrying(cls("no"), idempotent=idempotent)
    assert is_worth_retrying(cls("no", retry_after=60), idempotent=idempotent)
    assert not is_worth_retrying(cls("no", retry_after=61), idempotent=idempotent)
    assert not is_worth_retrying(cls("no", retryable=False), idempotent=idempotent)


@pytest.mark.parametrize("cls", [ServerError, UnreadableAnswerError])
def test_a_request_that_may_have_been_accepted_is_sent_again_only_if_that_does_no_harm(cls: type[ApimartError]) -> None:
    assert is_worth_retrying(cls("no"), idempotent=True)
    assert not is_worth_retrying(cls("no"), idempotent=False)


@pytest.mark.parametrize("error", [AuthenticationError("no"), SubmitOutcomeUnknownError("no"), KeyError("x")], ids=repr)
def test_any_other_error_is_final_for_this_request(error: BaseException) -> None:
    assert not is_worth_retrying(error, idempotent=True)


@pytest.mark.parametrize("retry_after", ["61", "86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_of_more_than_a_minute_is_left_to_airflow(
    exchange: Exchange, image_request: ImageRequest, retry_after: str
) -> None:
    transport = Script(error_response(429, retry_after=retry_after))

    with pytest.raises(RateLimitError) as raised:
        exchange.send(endpoints.submit(exchange.settings, image_request), transport)

    assert len(transport.requests) == 1
    assert raised.value.retry_after is not None
    assert raised.value.retry_after > 60


def test_pauses_grow(exchange: Exchange) -> None:
    with pytest.raises(ServerError):
        exchange.send(endpoints.get_balance(exchange.settings), Script(error_response(500)))

    assert exchange.pauses == sorted(exchange.pauses)
    assert len(exchange.pauses) == MAX_ATTEMPTS - 1


def test_a_submit_is_the_json_of_the_request_with_the_key_and_the_providers_name(
    exchange: Exchange, image_request: ImageRequest, api_key: str
) -> None:
    transport = Script(accepted())

    exchange.send(endpoints.submit(exchange.settings, image_request), transport)

    (request,) = transport.requests
    assert (request.method, str(request.url)) == ("POST", "https://gateway.example/v1/images/generations")
    assert request.headers["Authorization"] == f"Bearer {api_key}"
    assert request.headers["User-Agent"] == f"airflow-provider-apimart/{__version__}"
    assert request.headers["Content-Type"] == "application/json"
    assert "Idempotency-Key" not in request.headers
    assert b'"prompt":"An orange cat on a windowsill"' in request.content


@pytest.mark.parametrize("path", ["/v1/images/generations/async", "//elsewhere.example/v1", "/@elsewhere.example"])
def test_the_submit_path_never_leaves_the_gateway(exchange: Exchange, image_request: ImageRequest, path: str) -> None:
    exchange.settings = replace(exchange.settings, submit_path=path)
    transport = Script(accepted())

    exchange.send(endpoints.submit(exchange.settings, image_request), transport)

    assert transport.requests[0].url.host == "gateway.example"


@pytest.mark.parametrize("task_id", ["task_1", "../models", "a/b?c=d#e", "task 1", "任务"])
def test_a_task_id_stays_one_segment_of_the_path(exchange: Exchange, task_id: str) -> None:
    transport = Script(httpx.Response(200, json={"data": {"status": "processing"}}))

    task = exchange.send(endpoints.get_task(exchange.settings, task_id), transport)

    assert task.task_id == task_id
    assert transport.requests[0].url.raw_path.startswith(b"/v1/tasks/")
    assert transport.requests[0].url.raw_path.count(b"/") == 3
    assert transport.requests[0].url.query == b"language=en"


def test_the_price_is_asked_for_without_the_key(exchange: Exchange, api_key: str) -> None:
    transport = Script(httpx.Response(200, json={"success": True, "data": {}}))

    exchange.send(endpoints.get_price(exchange.settings, "gpt-image-2"), transport)

    (request,) = transport.requests
    assert request.url.params["model"] == "gpt-image-2"
    assert "Authorization" not in request.headers
    assert api_key not in str(request.headers)


def test_a_redirect_is_not_followed_so_that_the_key_goes_nowhere_else(
    exchange: Exchange, image_request: ImageRequest
) -> None:
    transport = Script(error_response(302, location="https://elsewhere.example/"), accepted())

    with pytest.raises(SubmitOutcomeUnknownError, match="https://elsewhere\\.example/"):
        exchange.send(endpoints.submit(exchange.settings, image_request), transport)

    assert [request.url.host for request in transport.requests] == ["gateway.example"]


def echoes(key: str) -> list[Any]:
    """Every place in which a gateway could repeat the key, in answers of every kind."""
    said = f"Incorrect API key provided: {key}"
    body = {"error": {"code": key, "message": said, "type": key}}
    return [
        *(
            pytest.param(httpx.Response(status, json=body), id=f"{status}-json")
            for status in (200, 400, 401, 404, 409, 500)
        ),
        *(pytest.param(httpx.Response(status, text=said), id=f"{status}-text") for status in (200, 401, 500)),
        pytest.param(httpx.Response(200, json={"success": False, "message": said}), id="success-false"),
        pytest.param(httpx.Response(200, json={"data": said}), id="unknown-shape"),
        pytest.param(httpx.Response(302, headers={"Location": f"https://x.example/?key={key}"}), id="redirect"),
        pytest.param(httpx.Response(500, headers={"X-Request-Id": key}), id="request-id"),
        pytest.param(httpx.ReadError(f"Bearer {key}"), id="network"),
        pytest.param(httpx.ConnectError(said), id="connect"),
        pytest.param(httpx.UnsupportedProtocol(said), id="protocol"),
    ]


@pytest.mark.parametrize("response", echoes("sk-0123456789abcdefghijklmnopqrstuvwxyz"))
@pytest.mark.parametrize("what", ["submit", "task", "batch", "balance"])
def test_no_error_ever_shows_the_key(
    exchange: Exchange, image_request: ImageRequest, api_key: str, what: str, response: httpx.Response | Exception
) -> None:
    call = endpoints.submit(exchange.settings, image_request) if what == "submit" else READS[what](exchange.settings)

    with pytest.raises(ApimartError) as raised:
        exchange.send(call, Script(response))

    error: BaseException | None = raised.value
    assert api_key not in f"{error} {error!r} {error.args} {vars(error)}"


def test_a_failed_task_does_not_show_the_key_that_its_message_repeats(exchange: Exchange, api_key: str) -> None:
    body = {"data": {"id": "task_1", "status": "failed", "error": {"message": f"bad key {api_key}", "code": api_key}}}

    task = exchange.send(endpoints.get_task(exchange.settings, "task_1"), Script(httpx.Response(200, json=body)))

    assert api_key not in repr(task)


def test_a_base_url_that_cannot_be_called_is_a_matter_of_configuration(
    exchange: Exchange, image_request: ImageRequest
) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be called .* Nothing was sent"):
        exchange.send(
            endpoints.submit(exchange.settings, image_request), Script(httpx.UnsupportedProtocol("no such protocol"))
        )


@pytest.mark.parametrize(
    ("transport_error", "said"),
    [(httpx.ConnectError("refused"), "Nothing was sent"), (httpx.ReadTimeout("slow"), "No response from")],
)
def test_the_cause_is_kept(exchange: Exchange, transport_error: httpx.TransportError, said: str) -> None:
    with pytest.raises(ConnectionFailedError, match=said) as raised:
        exchange.send(endpoints.get_balance(exchange.settings), Script(transport_error))

    assert raised.value.__cause__ is transport_error


def test_a_client_lets_go_of_its_connections(exchange: Exchange) -> None:
    transport = Script(httpx.Response(200, json={"data": {}}))

    exchange.send(endpoints.get_price(exchange.settings, "gpt-image-2"), transport)

    assert transport.is_closed


@pytest.mark.parametrize("requests_per_second", [None, 1000.0])
def test_a_limit_on_submits_lets_each_through(
    exchange: Exchange, image_request: ImageRequest, requests_per_second: float | None
) -> None:
    exchange.settings = replace(exchange.settings, requests_per_second=requests_per_second)
    transport = Script(error_response(429), accepted())

    exchange.send(endpoints.submit(exchange.settings, image_request), transport)

    assert len(transport.requests) == 2


class Gate(httpx.AsyncBaseTransport):
    """Refuses the first requests, each as it is told to, and counts."""

    def __init__(self, *refusals: httpx.Response) -> None:
        self.received = 0
        self._refusals = list(refusals)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002 - httpx's signature
        self.received += 1
        await asyncio.sleep(0)  # What is sent at the same time has been sent when the answer comes.
        return self._refusals.pop(0) if self._refusals else httpx.Response(200, json={"remain_balance": 1})


async def test_a_refusal_of_one_request_pauses_all_others_of_the_client(
    settings: GatewaySettings,
) -> None:
    clock, gate = HeldClock(), Gate(error_response(429, retry_after="30"))
    async with GatewayClient(settings, transport=gate, clock=clock, sleep=clock.async_sleep) as client:
        first = asyncio.create_task(client.send(endpoints.get_balance(settings)))
        await clock.settle()
        others = [asyncio.create_task(client.send(endpoints.get_balance(settings))) for _ in range(5)]
        await clock.settle()
        assert gate.received == 1

        await clock.advance(29)
        assert gate.received == 1

        await clock.advance(3)
        assert gate.received == 7
        await asyncio.gather(first, *others)


async def test_requests_that_are_queued_behind_the_limit_pause_too(settings: GatewaySettings) -> None:
    clock, gate = HeldClock(), Gate(error_response(429, retry_after="30"))
    few = replace(settings, max_concurrency=2)
    async with GatewayClient(few, transport=gate, clock=clock, sleep=clock.async_sleep) as client:
        queries = [asyncio.create_task(client.send(endpoints.get_balance(few))) for _ in range(50)]
        await clock.settle()
        received = gate.received

        await clock.advance(29)
        assert gate.received == received <= 4

        await clock.advance(3)
        await asyncio.gather(*queries)
    assert gate.received == 51


async def test_a_request_that_waits_goes_on_waiting_when_the_pause_is_made_longer(settings: GatewaySettings) -> None:
    refusals = [error_response(429, retry_after="30"), error_response(429, retry_after="59")]
    clock, gate = HeldClock(), Gate(*refusals)
    async with GatewayClient(settings, transport=gate, clock=clock, sleep=clock.async_sleep) as client:
        refused = [asyncio.create_task(client.send(endpoints.get_balance(settings))) for _ in range(2)]
        await clock.settle()
        third = asyncio.create_task(client.send(endpoints.get_balance(settings)))
        await clock.settle()
        assert gate.received == 2

        await clock.advance(35)
        assert gate.received == 2

        await clock.advance(30)
        assert gate.received == 5
        await asyncio.gather(third, *refused)


@pytest.mark.parametrize(
    "failure", [error_response(500), error_response(503), httpx.ConnectError("refused"), html(200)], ids=str
)
async def test_a_failure_of_another_kind_pauses_nobody_else(
    settings: GatewaySettings, failure: httpx.Response | Exception
) -> None:
    clock, script = HeldClock(), Script(failure, httpx.Response(200, json={"remain_balance": 1}))
    async with GatewayClient(settings, transport=script, clock=clock, sleep=clock.async_sleep) as client:
        failing = asyncio.create_task(client.send(endpoints.get_balance(settings)))
        await clock.settle()

        assert (await client.send(endpoints.get_balance(settings))).remaining == 1

        assert not failing.done()
        await clock.advance(60)
        await failing
