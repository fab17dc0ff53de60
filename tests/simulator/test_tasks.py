from __future__ import annotations

import statistics
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.simulator.tasks import draw_duration
from airflow_provider_apimart.simulator.validation import read_order

if TYPE_CHECKING:
    import httpx
    from simulator.fixtures import Clock, Finish, Look, Start, Submit

    from airflow_provider_apimart.simulator import Simulator


@pytest.mark.parametrize(("model", "running"), [("gpt-image-2", "processing"), ("gpt-image-2-official", "in_progress")])
def test_a_task_goes_from_submitted_over_running_to_completed(
    simulator: Simulator, start: Start, look: Look, clock: Clock, *, model: str, running: str
) -> None:
    task_id = start(model=model)
    [task] = simulator.tasks()
    shown = [look(task_id)]
    clock.now = task["created"] + task["duration"] / 2
    shown.append(look(task_id))
    clock.now = task["created"] + task["duration"]
    shown.append(look(task_id))

    assert [task["status"] for task in shown] == ["submitted", running, "completed"]
    assert [task["progress"] for task in shown] == [0, pytest.approx(50, abs=1), 100]
    assert "result" not in shown[1]
    assert "cost" not in shown[1]


def test_a_completed_task_shows_what_the_documentation_shows(finish: Finish, simulator: Simulator) -> None:
    task = finish(size="16:9", resolution="2k")

    duration = simulator.tasks()[0]["duration"]
    assert task["completed"] == int(task["created"] + duration)
    assert task["actual_time"] == round(duration)
    assert (task["cost"], task["credits_cost"]) == (0.014, 0.14)
    [image] = task["result"]["images"]
    assert image["expires_at"] == task["completed"] + 86_400
    [url] = image["url"]
    assert url.startswith(f"{simulator.url}/f/image/")
    assert url.endswith(f"-gpt_image_2_{task['id']}_0.png")


def test_the_language_of_the_answer_may_be_asked_for(simulator: Simulator, start: Start, client: httpx.Client) -> None:
    answer = client.get(f"{simulator.url}/v1/tasks/{start()}", params={"language": "en"})

    assert answer.status_code == 200


def test_official_models_deliver_as_many_pictures_as_asked_for(finish: Finish) -> None:
    task = finish(model="gpt-image-2-official", quality="low", n=4)

    assert len({image["url"][0] for image in task["result"]["images"]}) == 4
    assert task["cost"] == pytest.approx(4 * 0.0061 * 0.8)


def test_gpt_image_2_delivers_one_picture_however_many_are_asked_for(finish: Finish) -> None:
    task = finish(n=3)

    assert len(task["result"]["images"]) == 1
    assert task["cost"] == 0.0085


def test_an_unknown_task_is_an_invalid_id(simulator: Simulator, client: httpx.Client) -> None:
    answer = client.get(f"{simulator.url}/v1/tasks/task_01KPQ7J7DWB7QZ3WCEK3YVPBRA")

    assert answer.status_code == 400
    assert answer.json()["error"] == {"code": 400, "message": "无效的任务ID", "type": "invalid_request_error"}


def test_each_vendor_knows_only_its_own_tasks(simulator: Simulator, start: Start, client: httpx.Client) -> None:
    answer = client.get(f"{simulator.apimaster_url}/v1/tasks/{start()}")

    assert answer.status_code == 400


def test_a_batch_holds_the_known_tasks(simulator: Simulator, start: Start, client: httpx.Client) -> None:
    task_ids = [start(), start()]
    answer = client.post(f"{simulator.url}/v1/tasks/batch", json={"task_ids": [*task_ids, "task_unknown"]})

    assert answer.json()["code"] == 200
    assert [task["id"] for task in answer.json()["data"]] == task_ids
    assert [task["polls"] for task in simulator.tasks()] == [1, 1]


@pytest.mark.parametrize("body", [{}, {"task_ids": []}, {"task_ids": "task_1"}, []])
def test_a_batch_without_ids_is_refused(simulator: Simulator, client: httpx.Client, body: Any) -> None:
    answer = client.post(f"{simulator.url}/v1/tasks/batch", json=body)

    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "task_ids required")


@pytest.mark.parametrize(
    ("fields", "median"),
    [
        ({"quality": "low", "resolution": "1k", "size": "16:9"}, 12),
        ({"quality": "high", "resolution": "2k", "size": "16:9"}, 49),
        ({"quality": "high", "resolution": "4k", "size": "16:9"}, 120),
        ({"quality": "high", "size": "3840x2160"}, 120),
    ],
)
def test_durations_lie_around_a_median_for_quality_and_resolution(fields: dict[str, Any], median: float) -> None:
    order = read_order(Gateway.APIMART, {"model": "gpt-image-2-official", "prompt": "a red fox", **fields})
    random = Random(1)  # noqa: S311 - durations are no secrets
    durations = [draw_duration(random, order, speed=1) for _ in range(501)]
    random.seed(1)

    assert statistics.median(durations) == pytest.approx(median, rel=0.1)
    assert draw_duration(random, order, speed=10) == pytest.approx(durations[0] / 10)


def test_the_same_seed_repeats_a_run(simulator: Simulator, submit: Submit) -> None:
    submit()
    submit()
    first = [(task["id"], task["duration"]) for task in simulator.tasks()]
    simulator.reset()
    submit()
    submit()

    assert [(task["id"], task["duration"]) for task in simulator.tasks()] == first
    assert first[0] != first[1]
