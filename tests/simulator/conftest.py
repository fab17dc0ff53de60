"""A simulator whose time the tests move themselves, and an HTTP client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from simulator.clients import PATIENCE
from simulator.fixtures import START, Clock

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.fixtures import Finish, Look, Start, Submit


@pytest.fixture(scope="session")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def _server(_clock: Clock) -> Iterator[Simulator]:
    with Simulator(SimulatorSettings(clock=_clock)) as simulator:
        yield simulator


@pytest.fixture
def clock(_clock: Clock) -> Clock:
    _clock.now = START
    return _clock


@pytest.fixture
def simulator(_server: Simulator, clock: Clock) -> Simulator:  # noqa: ARG001 - time starts before the simulator does
    """A simulator that knows nothing yet, with real durations on the tests' clock."""
    _server.reset()
    return _server


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers={"Authorization": "Bearer sk-test"}, trust_env=False, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def submit(simulator: Simulator, client: httpx.Client) -> Submit:
    def send(*, headers: dict[str, Any] | None = None, **fields: object) -> httpx.Response:
        body = {"model": "gpt-image-2", "prompt": "a red fox", **fields}
        return client.post(f"{simulator.url}/v1/images/generations", json=body, headers=headers)

    return send


@pytest.fixture
def start(submit: Submit) -> Start:
    def send(*, headers: dict[str, Any] | None = None, **fields: object) -> str:
        return str(submit(headers=headers, **fields).raise_for_status().json()["data"][0]["task_id"])

    return send


@pytest.fixture
def look(simulator: Simulator, client: httpx.Client) -> Look:
    def ask(task_id: str) -> dict[str, Any]:
        data: dict[str, Any] = client.get(f"{simulator.url}/v1/tasks/{task_id}").raise_for_status().json()["data"]
        return data

    return ask


@pytest.fixture
def finish(start: Start, look: Look, clock: Clock) -> Finish:
    def run(*, headers: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
        task_id = start(headers=headers, **fields)
        clock.advance(3600)
        return look(task_id)

    return run
