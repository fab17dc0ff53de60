from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from simulator.fixtures import Clock, Finish, Look, Start, Submit

    from airflow_provider_apimart.simulator import Simulator


@pytest.mark.parametrize("status", ["failed", "error"])
def test_a_task_can_fail(simulator: Simulator, finish: Finish, status: str) -> None:
    simulator.add_fault({"fault": "task_failed", "status": status, "message": "upstream", "code": "task_failed"})
    task = finish()

    assert task["status"] == status
    assert task["error"] == {"code": "task_failed", "message": "upstream", "type": "task_failed"}
    assert "result" not in task


@pytest.mark.parametrize(
    ("shape", "shown"), [("string", {"error": "upstream"}), ("fail_reason", {"fail_reason": "upstream"})]
)
def test_a_failure_has_several_shapes(simulator: Simulator, finish: Finish, shape: str, shown: dict[str, Any]) -> None:
    simulator.add_fault({"fault": "task_failed", "shape": shape, "message": "upstream"})

    assert finish().items() >= shown.items()


def test_a_task_fails_only_at_its_end(simulator: Simulator, start: Start, look: Look) -> None:
    simulator.add_fault({"fault": "task_failed"})

    assert look(start())["status"] == "submitted"


def test_a_task_can_be_moderated(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "task_moderated"})
    task = finish()

    assert task["status"] == "failed"
    assert "content_policy" in task["error"]["message"]
    assert task["cost"] == 0


def test_a_task_can_be_cancelled(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "task_cancelled"})
    task = finish()

    assert task["status"] == "cancelled"
    assert "error" not in task


def test_a_task_can_deliver_and_charge_less_than_asked_for(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "partial_delivery", "delivered": 3})
    task = finish(model="gpt-image-2-official", n=4)

    assert len(task["result"]["images"]) == 3
    assert task["cost"] == pytest.approx(3 * 0.0061 * 0.8)


def test_a_task_can_complete_without_pictures(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "no_images"})
    task = finish()

    assert (task["status"], task["result"]) == ("completed", {"images": []})


def test_a_task_can_run_for_ever(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "never_finishes"})
    task = finish()

    assert (task["status"], task["progress"]) == ("processing", 99)


def test_a_running_task_can_show_any_word(simulator: Simulator, start: Start, look: Look, clock: Clock) -> None:
    simulator.add_fault({"fault": "status_word", "word": "pending"})
    task_id = start()
    first = look(task_id)
    clock.advance(3600)

    assert (first["status"], look(task_id)["status"]) == ("pending", "completed")


@pytest.mark.parametrize(
    ("shape", "urls_of"),
    [
        ("string", lambda urls: urls),
        ("list", lambda urls: [[url] for url in urls]),
        ("many_in_one", lambda urls: [urls]),
        ("duplicate", lambda urls: [[url, url] for url in urls for _ in range(2)]),
    ],
)
def test_addresses_come_in_several_shapes(
    simulator: Simulator, finish: Finish, shape: str, urls_of: Callable[[Any], Any]
) -> None:
    plain = finish(model="gpt-image-2-official", n=2)
    simulator.reset()
    simulator.add_fault({"fault": "url_shape", "shape": shape})
    task = finish(model="gpt-image-2-official", n=2)

    urls = [image["url"][0].replace(plain["id"], task["id"]) for image in plain["result"]["images"]]
    assert [image["url"] for image in task["result"]["images"]] == urls_of(urls)


def test_addresses_may_be_relative(simulator: Simulator, finish: Finish, client: httpx.Client) -> None:
    simulator.add_fault({"fault": "url_shape", "shape": "relative"})
    [url] = finish()["result"]["images"][0]["url"]

    assert url.startswith("/f/image/")
    assert client.get(simulator.url + url).status_code == 200


def test_the_cost_may_be_missing(simulator: Simulator, finish: Finish) -> None:
    simulator.add_fault({"fault": "missing_cost"})

    assert not {"cost", "credits_cost"} & set(finish())


@pytest.mark.parametrize(
    ("shape", "status", "shown"),
    [
        ("no_status", 200, {"code": 200, "data": [{"task_id": "ID"}]}),
        ("object", 200, {"data": {"status": "submitted", "task_id": "ID"}}),
        ("versioned", 202, {"code": 202, "data": {"id": "ID", "object": "generation.task", "status": "queued"}}),
    ],
)
def test_the_answer_to_a_submit_has_several_shapes(
    simulator: Simulator, submit: Submit, shape: str, status: int, shown: dict[str, Any]
) -> None:
    simulator.add_fault({"fault": "submit_shape", "shape": shape})
    answer = submit()

    assert answer.status_code == status
    assert json.loads(answer.text.replace(simulator.tasks()[0]["id"], "ID")) == shown


@pytest.mark.parametrize(("status", "message"), [(400, "无效的任务ID"), (404, "任务不存在或已过期")])
def test_a_task_can_be_unknown_for_a_while(
    simulator: Simulator, start: Start, client: httpx.Client, status: int, message: str
) -> None:
    url = f"{simulator.url}/v1/tasks/{start()}"
    simulator.add_fault({"fault": "task_unknown", "status": status, "message": message, "times": 1})
    first, second = client.get(url), client.get(url)

    assert (first.status_code, first.json()["error"]["message"]) == (status, message)
    assert second.status_code == 200


def test_the_batch_endpoint_can_be_missing(simulator: Simulator, start: Start, client: httpx.Client) -> None:
    simulator.add_fault({"fault": "batch_missing"})
    answer = client.post(f"{simulator.url}/v1/tasks/batch", json={"task_ids": [start()]})

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("shape", "ids_of"),
    [
        ("list", lambda data: [task["id"] for task in data]),
        ("map", list),
        ("nested", lambda data: [task["id"] for task in data["tasks"]]),
        ("wrapped", lambda data: [item["data"]["id"] for item in data if item["code"] == 200]),
    ],
)
def test_a_batch_has_several_shapes(
    simulator: Simulator, start: Start, client: httpx.Client, shape: str, ids_of: Callable[[Any], Any]
) -> None:
    task_ids = [start(), start()]
    simulator.add_fault({"fault": "batch_shape", "shape": shape})
    answer = client.post(f"{simulator.url}/v1/tasks/batch", json={"task_ids": [*task_ids, "task_unknown"]})

    assert ids_of(answer.json()["data"]) == task_ids


@pytest.mark.parametrize(("shape", "errors"), [("unknown_as_error", [False, True]), ("all_errors", [True, True])])
def test_a_batch_can_hold_errors(
    simulator: Simulator, start: Start, client: httpx.Client, shape: str, errors: list[bool]
) -> None:
    task_ids = [start(), "task_unknown"]
    simulator.add_fault({"fault": "batch_shape", "shape": shape})
    answer = client.post(f"{simulator.url}/v1/tasks/batch", json={"task_ids": task_ids}).json()

    assert [item["id"] for item in answer["data"]] == task_ids
    assert ["error" in item for item in answer["data"]] == errors
