from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import pytest
from simulator.clients import client_that_waits

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from simulator.fixtures import Clock, Submit

KEY = {"Idempotency-Key": "run-1-row-1"}


def test_the_same_key_and_body_buy_once(simulator: Simulator, submit: Submit) -> None:
    first = submit(headers=KEY)
    again = submit(headers=KEY)

    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert simulator.stats()["submits"] == {"received": 2, "accepted": 1, "replayed": 1, "refused": 0, "dropped": 0}
    assert simulator.stats()["tasks_per_idempotency_key"] == {"run-1-row-1": 1}


def test_the_same_key_with_another_body_is_a_conflict(submit: Submit) -> None:
    submit(headers=KEY)
    answer = submit(headers=KEY, prompt="a blue fox")

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


async def test_a_key_is_busy_while_its_first_request_waits_for_the_answer(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "delay", "seconds": 600, "times": 1})
    async with client_that_waits(simulator, **KEY):
        answer = submit(headers=KEY)

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_in_progress"
    assert answer.headers["Retry-After"] == "1"
    assert simulator.stats()["tasks"]["total"] == 1


def test_a_lost_answer_can_be_had_again(simulator: Simulator, submit: Submit) -> None:
    simulator.add_fault({"fault": "drop_answer", "times": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        submit(headers=KEY)
    answer = submit(headers=KEY)

    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.json()["data"][0]["task_id"] == simulator.tasks()[0]["id"]
    assert simulator.stats()["tasks"]["total"] == 1


def test_a_refused_request_does_not_use_its_key(submit: Submit) -> None:
    refused = submit(headers=KEY, n="1")
    accepted = submit(headers=KEY)

    assert (refused.status_code, accepted.status_code) == (400, 200)


def test_a_key_is_forgotten_after_a_day(simulator: Simulator, submit: Submit, clock: Clock) -> None:
    submit(headers=KEY)
    clock.advance(86_400)
    again = submit(headers=KEY)

    assert "Idempotency-Replayed" not in again.headers
    assert simulator.stats()["tasks"]["total"] == 2


def test_keys_of_different_accounts_do_not_meet(simulator: Simulator, submit: Submit) -> None:
    submit(headers=KEY)
    answer = submit(headers={**KEY, "Authorization": "Bearer sk-other"})

    assert "Idempotency-Replayed" not in answer.headers
    assert simulator.stats()["tasks"]["total"] == 2


@pytest.mark.parametrize("key", ["", "two words", "k" * 192, "ключ"])
def test_a_key_of_the_wrong_form_is_refused(submit: Submit, key: str) -> None:
    assert submit(headers={"Idempotency-Key": key.encode()}).status_code == 400


def test_a_gateway_without_idempotency_buys_every_time(client: httpx.Client) -> None:
    with Simulator(SimulatorSettings(idempotency=False)) as simulator:
        body = {"model": "gpt-image-2", "prompt": "a red fox"}
        for _ in range(2):
            client.post(f"{simulator.url}/v1/images/generations", json=body, headers=KEY)
        stats = simulator.stats()

    assert stats["submits"]["accepted"] == 2
    assert stats["tasks_per_idempotency_key"] == {"run-1-row-1": 2}


def test_concurrent_submits_with_one_key_make_one_task(simulator: Simulator, submit: Submit) -> None:
    threads = [threading.Thread(target=submit, kwargs={"headers": KEY}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert simulator.stats()["submits"]["received"] == 8
    assert simulator.stats()["tasks"]["total"] == 1
