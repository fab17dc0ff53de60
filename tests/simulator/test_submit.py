from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from simulator.clients import PATIENCE

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from simulator.fixtures import Clock, Submit

    from airflow_provider_apimart.simulator.settings import RetryAfter


def test_an_accepted_submit_is_answered_with_a_task_id(submit: Submit) -> None:
    answer = submit()

    assert answer.status_code == 200
    assert answer.json()["code"] == 200
    [task] = answer.json()["data"]
    assert task["status"] == "submitted"
    assert re.fullmatch(r"task_[0-9A-HJKMNP-TV-Z]{26}", task["task_id"])


def test_a_client_that_asks_for_a_version_gets_the_versioned_answer(submit: Submit) -> None:
    answer = submit(headers={"X-APIMart-Response-Version": "2026-07-27"})

    assert answer.status_code == 202
    assert answer.json()["data"]["object"] == "generation.task"


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/generations/async"])
def test_apimaster_accepts_on_both_paths(simulator: Simulator, client: httpx.Client, path: str) -> None:
    answer = client.post(simulator.apimaster_url + path, json={"model": "gpt-image-2", "prompt": "a red fox"})

    assert answer.json()["data"][0]["status"] == "submitted"
    assert simulator.tasks()[0]["gateway"] == "apimaster"


def test_apimaster_makes_one_picture_at_a_time(simulator: Simulator, client: httpx.Client) -> None:
    body = {"model": "gpt-image-2", "prompt": "a red fox", "n": 2}
    answer = client.post(f"{simulator.apimaster_url}/v1/images/generations", json=body)

    assert answer.status_code == 400


def test_a_synchronous_apimaster_answers_its_plain_path_with_urls(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(speed=1e6, apimaster_synchronous=True)) as simulator:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        plain = client.post(f"{simulator.apimaster_url}/v1/images/generations", json=body).json()
        queued = client.post(f"{simulator.apimaster_url}/v1/images/generations/async", json=body).json()
        picture = client.get(plain["data"][0]["url"], headers={"Authorization": ""})

    assert set(plain) == {"created", "data"}
    assert picture.headers["content-type"] == "image/png"
    assert queued["data"][0]["task_id"].startswith("task_")


@pytest.mark.parametrize("path", ["/v1/balance", "/v1/uploads/images", "/api/pricing/model", "/v1/nothing"])
def test_apimaster_has_no_other_endpoints(simulator: Simulator, client: httpx.Client, path: str) -> None:
    answer = client.get(simulator.apimaster_url + path)

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"Invalid URL (GET /apimaster{path})"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic sk-test"])
def test_a_submit_without_a_key_is_refused_as_the_live_gateway_does(
    simulator: Simulator, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    body = {"model": "gpt-image-2", "prompt": "a red fox"}
    url = f"{simulator.url}/v1/images/generations"
    answer = httpx.post(url, json=body, headers=headers, trust_env=False, timeout=PATIENCE)

    assert answer.status_code == 401
    error = answer.json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("", "apimart_error", "")
    assert answer.headers["X-Oneapi-Request-Id"] in error["message"]
    assert simulator.stats()["submits"] == {"received": 1, "accepted": 0, "replayed": 0, "refused": 1, "dropped": 0}


def test_with_a_key_of_its_own_the_simulator_accepts_no_other(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(api_key="sk-mine")) as simulator:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        wrong = client.post(f"{simulator.url}/v1/images/generations", json=body)
        headers = {"Authorization": "Bearer sk-mine"}
        right = client.post(f"{simulator.url}/v1/images/generations", json=body, headers=headers)

    assert (wrong.status_code, right.status_code) == (401, 200)


def test_a_body_that_is_no_json_is_refused(simulator: Simulator, client: httpx.Client) -> None:
    answer = client.post(f"{simulator.url}/v1/images/generations", content=b"prompt=fox")

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_an_empty_account_is_refused_and_nothing_is_charged(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(balance=0.02)) as simulator:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        answers = [client.post(f"{simulator.url}/v1/images/generations", json=body) for _ in range(3)]
        stats = simulator.stats()

    assert [answer.status_code for answer in answers] == [200, 200, 402]
    assert answers[2].json()["error"] == {
        "code": 402,
        "message": "Insufficient balance, please top up and try again",
        "type": "payment_required",
    }
    assert stats["cost"] == 0.017


@pytest.mark.parametrize(("form", "pattern"), [("seconds", r"\d+"), ("date", r"\w{3}, .* GMT"), ("none", "")])
def test_too_many_submits_are_refused_until_time_has_passed(
    client: httpx.Client, clock: Clock, form: RetryAfter, pattern: str
) -> None:
    settings = SimulatorSettings(requests_per_second=2, retry_after=form, clock=clock)
    with Simulator(settings) as simulator:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        answers = [client.post(f"{simulator.url}/v1/images/generations", json=body) for _ in range(3)]
        clock.advance(1.1)
        later = client.post(f"{simulator.url}/v1/images/generations", json=body)

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["type"] == "rate_limit_error"
    assert re.fullmatch(pattern, answers[2].headers.get("Retry-After", ""))
    assert later.status_code == 200
