"""The client at a real server, because only there a connection can be cut after the request was read."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from gateway.unhurried import UnhurriedTransport

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import (
    ConnectionFailedError,
    IdempotencyError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS

if TYPE_CHECKING:
    from gateway.exchange import Exchange

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.simulator import Simulator


KEY = "airflow-0123456789"


def address_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def at_simulator(exchange: Exchange, simulator: Simulator) -> Exchange:
    exchange.settings = replace(exchange.settings, base_url=simulator.url)
    return exchange


def test_a_lost_answer_is_unknown_and_not_sent_again(
    at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest
) -> None:
    simulator.add_fault({"fault": "drop_answer", "on": "submit"})

    with pytest.raises(SubmitOutcomeUnknownError):
        at_simulator.send(endpoints.submit(at_simulator.settings, image_request))

    assert simulator.stats()["submits"]["received"] == 1
    assert simulator.stats()["tasks"]["total"] == 1, "the picture exists"


def test_a_lost_request_looks_the_same_and_is_not_sent_again_either(
    at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest
) -> None:
    simulator.add_fault({"fault": "drop_request", "on": "submit"})

    with pytest.raises(SubmitOutcomeUnknownError):
        at_simulator.send(endpoints.submit(at_simulator.settings, image_request))

    assert simulator.stats()["submits"]["received"] == 1
    assert simulator.stats()["tasks"]["total"] == 0


def test_an_accepted_request_that_answers_500_is_unknown(
    at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest
) -> None:
    simulator.add_fault({"fault": "accept_then_error", "on": "submit"})

    with pytest.raises(SubmitOutcomeUnknownError):
        at_simulator.send(endpoints.submit(at_simulator.settings, image_request))

    assert simulator.stats()["submits"]["received"] == 1


def test_an_answer_that_takes_too_long_is_unknown_and_not_waited_for_again(
    exchange: Exchange, image_request: ImageRequest
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exchange.settings = replace(exchange.settings, base_url=address_of(silent), timeout=1)

        with pytest.raises(SubmitOutcomeUnknownError, match=r"not complete within|ReadTimeout"):
            exchange.send(endpoints.submit(exchange.settings, image_request), UnhurriedTransport())

        silent.settimeout(0)
        connection, _ = silent.accept()
        with connection:
            # Nothing, if this process stood still for all of the second.
            received = connection.recv(4096)
            assert not received or received.startswith(b"POST /v1/images/generations ")
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_lost_answer_to_a_look_is_asked_for_again(at_simulator: Exchange, simulator: Simulator) -> None:
    simulator.add_fault({"fault": "drop_answer", "on": "balance", "times": 2})

    balance = at_simulator.send(endpoints.get_balance(at_simulator.settings))

    assert balance.remaining == 1000.0
    assert simulator.stats()["requests"]["balance"] == 3


def test_a_submit_after_refusals_becomes_one_task(
    at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest
) -> None:
    simulator.add_fault(
        {"fault": "refuse", "on": "submit", "status": 429, "retry_after": 1, "times": 1},
        {"fault": "refuse", "on": "submit", "reason": "get_channel_failed", "times": 1},
        {"fault": "refuse", "on": "submit", "status": 503, "times": 1},
    )

    at_simulator.send(endpoints.submit(at_simulator.settings, image_request, idempotency_key=KEY))

    assert simulator.stats()["submits"] == {"received": 4, "accepted": 1, "refused": 3, "replayed": 0, "dropped": 0}


def test_the_same_key_buys_once(at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest) -> None:
    call = endpoints.submit(at_simulator.settings, image_request, idempotency_key=KEY)

    first, second = at_simulator.send(call), at_simulator.send(call)

    assert (first.replayed, second.replayed) == (False, True)
    assert first.tasks == second.tasks
    assert simulator.stats()["tasks"]["total"] == 1


def test_a_key_that_stands_for_another_body_buys_nothing(
    at_simulator: Exchange, simulator: Simulator, image_request: ImageRequest
) -> None:
    at_simulator.send(endpoints.submit(at_simulator.settings, image_request, idempotency_key=KEY))
    other = replace(image_request, prompt="Another cat")

    with pytest.raises(IdempotencyError):
        at_simulator.send(endpoints.submit(at_simulator.settings, other, idempotency_key=KEY))

    assert simulator.stats()["tasks"]["total"] == 1


def test_a_refused_connection_is_tried_again(exchange: Exchange, image_request: ImageRequest) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        exchange.settings = replace(exchange.settings, base_url=address_of(listener))

        with pytest.raises(ConnectionFailedError, match="Nothing was sent") as raised:
            exchange.send(endpoints.submit(exchange.settings, image_request))

    assert len(exchange.pauses) == MAX_ATTEMPTS - 1
    assert raised.value.charged == "no"


def test_the_server_sees_the_providers_name(at_simulator: Exchange, simulator: Simulator) -> None:
    at_simulator.send(endpoints.get_balance(at_simulator.settings))

    assert simulator.stats()["user_agents"] == [f"airflow-provider-apimart/{__version__}"]
