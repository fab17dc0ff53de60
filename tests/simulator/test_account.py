from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulator.clients import fetch

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    import httpx
    from simulator.fixtures import Finish, Submit


@pytest.mark.parametrize("path", ["/v1/balance", "/balance", "/v1/user/balance", "/user/balance"])
def test_the_balance_shows_what_was_spent(
    simulator: Simulator, client: httpx.Client, submit: Submit, path: str
) -> None:
    submit(resolution="2k")

    assert client.get(simulator.url + path).json() == {
        "success": True,
        "remain_balance": 999.986,
        "used_balance": 0.014,
        "remain_credits": 9999.86,
        "used_credits": 0.14,
        "unlimited_quota": False,
    }


def test_a_failed_task_costs_nothing(simulator: Simulator, client: httpx.Client, finish: Finish) -> None:
    simulator.add_fault({"fault": "task_failed"})
    task = finish()

    assert (task["cost"], task["credits_cost"]) == (0, 0)
    assert client.get(f"{simulator.url}/v1/balance").json()["used_balance"] == 0


def test_an_unlimited_key_shows_minus_one(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(balance=None)) as simulator:
        balance = client.get(f"{simulator.url}/v1/balance").json()

    assert (balance["remain_balance"], balance["remain_credits"], balance["unlimited_quota"]) == (-1, -1, True)


def test_a_wrong_key_is_told_with_http_200(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(api_key="sk-mine")) as simulator:
        missing = fetch(f"{simulator.url}/v1/balance")
        wrong = client.get(f"{simulator.url}/v1/balance")

    assert (missing.status_code, wrong.status_code) == (200, 200)
    assert missing.json() == {"success": False, "message": "No Authorization header"}
    assert wrong.json() == {"success": False, "message": "Failed to get token info"}


def test_the_models_are_listed(simulator: Simulator, client: httpx.Client) -> None:
    apimart = client.get(f"{simulator.url}/v1/models").json()
    apimaster = client.get(f"{simulator.apimaster_url}/v1/models").json()

    assert {model["id"] for model in apimart["data"]} == {
        "gpt-image-2",
        "gpt-image-2-official",
        "gpt-image-1-official",
        "gpt-image-1.5-official",
    }
    assert [model["id"] for model in apimaster["data"]] == ["gpt-image-2"]


def test_one_model_can_be_asked_for(simulator: Simulator, client: httpx.Client) -> None:
    known = client.get(f"{simulator.url}/v1/models/gpt-image-2").json()
    unknown = client.get(f"{simulator.url}/v1/models/unheard-of")

    assert known["data"]["id"] == "gpt-image-2"
    assert unknown.status_code == 404
