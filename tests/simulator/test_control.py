from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from simulator.clients import PATIENCE, fetch

if TYPE_CHECKING:
    from simulator.fixtures import Clock, Finish, Submit

    from airflow_provider_apimart.simulator import Simulator


def test_the_statistics_tell_what_happened(
    simulator: Simulator, submit: Submit, finish: Finish, client: httpx.Client
) -> None:
    task = finish(headers={"Idempotency-Key": "row-1"})
    submit(n="1")
    url = task["result"]["images"][0]["url"][0]
    picture = fetch(url, **{"User-Agent": "tests"})
    client.get(url)
    stats = client.get(f"{simulator.url}/simulator/stats").json()

    assert stats == {
        "connections": stats["connections"],
        "requests": {
            "submit": 2,
            "task": 1,
            "batch": 0,
            "balance": 0,
            "upload": 0,
            "image": 2,
            "pricing": 0,
            "models": 0,
        },
        "submits": {"received": 2, "accepted": 1, "replayed": 0, "refused": 1, "dropped": 0},
        "tasks": {"total": 1, "by_status": {"completed": 1}},
        "tasks_per_idempotency_key": {"row-1": 1},
        "tasks_per_prompt": {"a red fox": 1},
        "cost": 0.0085,
        "credits_cost": 0.085,
        "images_served": 2,
        "image_bytes_served": 2 * len(picture.content),
        "image_requests_with_authorization": 1,
        "user_agents": [client.headers["User-Agent"], "tests"],
        "faults_fired": {},
    }
    assert stats == simulator.stats()


def test_connections_are_counted_not_requests(simulator: Simulator) -> None:
    for _ in range(2):
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            for _ in range(3):
                client.get(f"{simulator.url}/v1/balance")
    stats = fetch(f"{simulator.url}/simulator/stats").json()

    assert stats["connections"] == 2
    assert stats["requests"]["balance"] == 6


def test_every_task_is_listed(simulator: Simulator, submit: Submit, client: httpx.Client, clock: Clock) -> None:
    submit(size="16:9", headers={"Idempotency-Key": "row-1"})
    [task] = client.get(f"{simulator.url}/simulator/tasks").json()

    assert task == {
        "id": task["id"],
        "gateway": "apimart",
        "model": "gpt-image-2",
        "prompt": "a red fox",
        "body": {"model": "gpt-image-2", "prompt": "a red fox", "size": "16:9"},
        "idempotency_key": "row-1",
        "status": "submitted",
        "cost": 0.0085,
        "created": clock.now,
        "duration": task["duration"],
        "polls": 0,
        "faults": [],
    }


def test_rules_can_be_changed_while_it_runs(simulator: Simulator, submit: Submit, client: httpx.Client) -> None:
    url = f"{simulator.url}/simulator/faults"
    added = client.post(url, json={"fault": "refuse", "status": 503, "times": 1}).json()
    client.post(url, json=[{"fault": "html", "on": "task"}, {"fault": "delay", "on": "batch"}])
    refused = submit()
    listed = client.get(url).json()
    cleared = client.delete(url).json()

    assert added == [{"fault": "refuse", "status": 503, "times": 1, "on": "submit", "seen": 0, "fired": 0}]
    assert refused.status_code == 503
    assert [(rule["fault"], rule["fired"]) for rule in listed] == [("refuse", 1), ("html", 0), ("delay", 0)]
    assert cleared == client.get(url).json() == []
    assert simulator.stats()["faults_fired"] == {"refuse": 1}


def test_a_rule_that_cannot_be_understood_is_refused(simulator: Simulator, client: httpx.Client) -> None:
    url = f"{simulator.url}/simulator/faults"
    wrong = client.post(url, json={"fault": "unheard-of"})
    broken = client.post(url, content=b"{")

    assert (wrong.status_code, broken.status_code) == (400, 400)
    assert "fault must be one of" in wrong.json()["error"]


def test_a_reset_forgets_everything(simulator: Simulator, submit: Submit, client: httpx.Client) -> None:
    simulator.add_fault({"fault": "task_failed"})
    submit()
    stats = client.post(f"{simulator.url}/simulator/reset").json()

    assert stats["tasks"]["total"] == stats["requests"]["submit"] == stats["connections"] == 0
    assert simulator.tasks() == simulator.faults() == []
