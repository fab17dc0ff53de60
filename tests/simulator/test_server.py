from __future__ import annotations

import socket
import threading
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from simulator.clients import client_that_waits, fetch

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings


def test_the_simulator_listens_inside_its_context_only() -> None:
    threads = set(threading.enumerate())
    with Simulator() as simulator:
        inside = fetch(f"{simulator.url}/v1/balance")

    assert inside.status_code == 200
    assert set(threading.enumerate()) <= threads
    with pytest.raises(httpx.ConnectError):
        fetch(f"{simulator.url}/v1/balance")


def test_several_simulators_run_side_by_side() -> None:
    with Simulator() as one, Simulator() as other:
        assert one.url != other.url
        fetch(f"{one.url}/v1/balance")

        assert (one.stats()["connections"], other.stats()["connections"]) == (1, 0)


async def test_it_ends_while_a_client_still_waits_for_an_answer() -> None:
    rule = {"fault": "delay", "seconds": 600}
    threads = set(threading.enumerate())
    async with AsyncExitStack() as stack:
        with Simulator(SimulatorSettings(faults=(rule,))) as simulator:
            await stack.enter_async_context(client_that_waits(simulator))

    assert set(threading.enumerate()) <= threads


def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = SimulatorSettings(port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"), Simulator(settings):
            pass


def test_a_wrong_rule_is_an_error_before_anything_is_served() -> None:
    with pytest.raises(ValueError, match="fault must be one of"), Simulator(SimulatorSettings(faults=({},))):
        pass


def test_a_wrong_rule_at_run_time_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="fault must be one of"):
        simulator.add_fault({"fault": "unheard-of"})


@pytest.mark.parametrize(
    "setting",
    [{"speed": 0}, {"requests_per_second": -1}, {"batch_limit": 0}, {"url_lifetime": -1}, {"retry_after": "x"}],
)
def test_settings_that_cannot_be_meant_are_errors(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        SimulatorSettings(**setting)


def test_the_key_is_not_shown_with_the_settings() -> None:
    assert "sk-mine" not in repr(SimulatorSettings(api_key="sk-mine"))


def test_a_batch_can_be_limited(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(batch_limit=2)) as simulator:
        answer = client.post(f"{simulator.url}/v1/tasks/batch", json={"task_ids": ["a", "b", "c"]})

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "max 2 task_ids per batch")
