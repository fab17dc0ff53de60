"""The pace that all clients of one account keep, and what it learns from refusals."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.exchange import Script, accepted, error_response

from airflow_provider_apimart.exceptions import ApimartError, RateLimitError
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS, AsyncGatewayClient, GatewayClient
from airflow_provider_apimart.gateway.throttle import _PACES, Pace, shared_pace

if TYPE_CHECKING:
    from gateway.exchange import Exchange

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.settings import GatewaySettings

#: Seconds after which a test gives up that would wait for ever.
PATIENCE = 10


async def test_all_clients_of_an_account_share_one_pace(settings: GatewaySettings) -> None:
    async with AsyncGatewayClient(settings) as asynchronous:
        with GatewayClient(settings) as blocking, GatewayClient(replace(settings, timeout=5)) as patient:
            assert blocking.pace is patient.pace is asynchronous.pace


@pytest.mark.parametrize(
    "other",
    [
        {"api_key": "sk-another"},
        {"base_url": "https://elsewhere.example"},
        {"max_concurrency": 3},
        {"requests_per_second": 3.0},
    ],
    ids=str,
)
def test_another_account_or_another_limit_has_a_pace_of_its_own(settings: GatewaySettings, other: dict) -> None:
    first, second = shared_pace(settings), shared_pace(replace(settings, **other))

    assert first is not second


def test_clients_that_are_made_at_the_same_time_share_one_pace_too(settings: GatewaySettings) -> None:
    barrier = threading.Barrier(8)

    def make() -> Pace:
        barrier.wait(PATIENCE)
        return shared_pace(settings)

    with ThreadPoolExecutor(8) as pool:
        paces = [made.result() for made in [pool.submit(make) for _ in range(8)]]

    assert len(set(map(id, paces))) == 1


def test_a_pace_that_nobody_holds_is_forgotten(settings: GatewaySettings) -> None:
    held = weakref.ref(shared_pace(replace(settings, requests_per_second=5)))

    gc.collect()

    assert held() is None


def test_the_api_key_is_not_kept_with_it(settings: GatewaySettings, api_key: str) -> None:
    held = shared_pace(settings)

    assert held in _PACES.values()
    assert api_key not in repr(list(_PACES)) + repr(vars(held))


def test_a_client_that_is_closed_takes_nothing_from_the_others(
    settings: GatewaySettings, image_request: ImageRequest
) -> None:
    limited = replace(settings, requests_per_second=1000)
    script = Script(accepted())

    with GatewayClient(limited, transport=script) as survivor:
        with GatewayClient(limited, transport=script) as other:
            other.send(endpoints.submit(limited, image_request))
        survivor.send(endpoints.submit(limited, image_request))

    assert len(script.requests) == 2


def test_each_refusal_of_a_submit_counts_even_one_that_is_not_the_end(
    exchange: Exchange, image_request: ImageRequest
) -> None:
    submit = endpoints.submit(exchange.settings, image_request)

    exchange.send(submit, Script(error_response(429), error_response(429), accepted()))

    assert exchange.pace.concurrency == 4
    assert exchange.notes == [
        "The gateway wants fewer submits: at most 8 at once, after 16.",
        "The gateway wants fewer submits: at most 4 at once, after 8.",
    ]


def test_the_last_refusal_counts_too_and_one_submit_is_always_left(
    exchange: Exchange, image_request: ImageRequest
) -> None:
    with pytest.raises(RateLimitError):
        exchange.send(endpoints.submit(exchange.settings, image_request), Script(error_response(429)))

    assert len(exchange.pauses) == MAX_ATTEMPTS - 1
    assert exchange.pace.concurrency == 1
    assert len(exchange.notes) == 4, "from 16 to 1, and then there is nothing to say"


def test_a_refusal_that_is_left_to_airflow_counts(exchange: Exchange, image_request: ImageRequest) -> None:
    with pytest.raises(RateLimitError):
        exchange.send(endpoints.submit(exchange.settings, image_request), Script(error_response(429, retry_after="61")))

    assert exchange.pace.concurrency == 8


@pytest.mark.parametrize("failure", [error_response(400), error_response(503), httpx.ReadTimeout("slow")], ids=str)
def test_a_failure_of_another_kind_changes_nothing(
    exchange: Exchange, image_request: ImageRequest, failure: httpx.Response | Exception
) -> None:
    with pytest.raises(ApimartError):
        exchange.send(endpoints.submit(exchange.settings, image_request), Script(failure))

    assert exchange.pace.concurrency == 16
    assert exchange.notes == []


def test_a_question_that_is_refused_leaves_the_number_of_submits_alone(exchange: Exchange) -> None:
    balance = httpx.Response(200, json={"remain_balance": 1})

    exchange.send(endpoints.get_balance(), Script(error_response(429), balance))

    assert exchange.pace.concurrency == 16


def test_it_is_said_once_when_the_pace_is_what_it_was(settings: GatewaySettings) -> None:
    pace, notes = Pace(replace(settings, max_concurrency=4)), []
    with pytest.raises(RateLimitError), pace.learning(notes.append):
        raise RateLimitError

    for _ in range(20):
        with pace.learning(notes.append):
            pass

    assert pace.concurrency == 4
    assert notes == [
        "The gateway wants fewer submits: at most 2 at once, after 4.",
        "The gateway accepts submits at full pace again: 4 at once.",
    ]
