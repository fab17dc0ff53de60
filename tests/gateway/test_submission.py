"""What the gateway accepted, from every shape of the answer."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.exchange import answer
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import ApimartError, UnreadableAnswerError
from airflow_provider_apimart.gateway.task import Image, Submission, TaskState

PICTURE = "https://cdn.example/1.png"


@pytest.mark.parametrize(
    ("status", "payload", "word"),
    [
        pytest.param(200, {"code": 200, "data": [{"status": "submitted", "task_id": "t"}]}, "submitted", id="classic"),
        pytest.param(200, {"code": 200, "data": [{"task_id": "t"}]}, "submitted", id="no-status"),
        pytest.param(200, {"code": 200, "data": [{"id": "t"}]}, "submitted", id="list-with-id"),
        pytest.param(200, {"data": {"status": "submitted", "task_id": "t"}}, "submitted", id="object"),
        pytest.param(200, {"data": {"id": "t"}}, "submitted", id="object-with-id"),
        pytest.param(200, {"task_id": "t"}, "submitted", id="bare-task_id"),
        pytest.param(200, {"id": "t", "status": "queued"}, "queued", id="bare-id"),
        pytest.param(
            202,
            {
                "code": 202,
                "data": {"id": "t", "object": "generation.task", "status": "queued", "poll_url": "/v1/tasks/t"},
                "request_id": "r",
            },
            "queued",
            id="versioned",
        ),
        pytest.param(
            200,
            {
                "code": 200,
                "data": {
                    "id": "t",
                    "object": "video.generation.task",
                    "status": "pending",
                    "progress": 0,
                    "task_info": {"can_cancel": True, "estimated_time": 300},
                },
            },
            "pending",
            id="old-video-page",
        ),
    ],
)
def test_an_accepted_request_is_one_running_task(status: int, payload: Any, word: str) -> None:
    submission = Submission.from_answer(answer(payload, status))

    (task,) = submission.tasks
    assert (task.task_id, task.status, task.state) == ("t", word, TaskState.RUNNING)
    assert not submission.replayed


def test_a_number_as_the_id_becomes_text() -> None:
    assert Submission.from_answer(answer({"data": [{"task_id": 17}]})).tasks[0].task_id == "17"


def test_several_ids_are_several_tasks() -> None:
    submission = Submission.from_answer(answer({"data": [{"task_id": "a"}, {"task_id": "b"}, None, {}]}))

    assert [task.task_id for task in submission.tasks] == ["a", "b"]


def test_a_versioned_answer_may_carry_the_result_itself() -> None:
    result = {"id": "t", "object": "generation.result", "result": {"images": [{"url": [PICTURE]}]}}

    (task,) = Submission.from_answer(answer({"code": 200, "data": result})).tasks

    assert (task.task_id, task.state) == ("t", TaskState.COMPLETED)
    assert task.images == (Image(PICTURE, None),)


def test_a_synchronous_answer_is_a_finished_task_with_an_id_of_its_own() -> None:
    payload = {"created": 1000, "data": [{"url": PICTURE}, {"url": "/f/2.png"}], "cost": 0.01, "credits_cost": 0.1}

    (task,) = Submission.from_answer(answer(payload), base_url="https://gateway.example").tasks
    (again,) = Submission.from_answer(answer(payload)).tasks

    assert task.is_finished
    assert task.task_id.startswith("sync_")
    assert task.task_id == again.task_id
    assert [image.url for image in task.images] == [PICTURE, "https://gateway.example/f/2.png"]
    assert (task.created, task.cost, task.credits_cost) == (1000, 0.01, 0.1)
    assert task.images[0].expires_at == 1000 + 24 * 60 * 60


def test_two_synchronous_answers_are_two_tasks() -> None:
    first, second = (
        Submission.from_answer(answer({"data": [{"url": f"{PICTURE}?{number}"}]})).tasks[0] for number in (1, 2)
    )

    assert first.task_id != second.task_id


@pytest.mark.parametrize(("value", "replayed"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_a_recognised_idempotency_key_is_told(value: str, replayed: bool) -> None:
    answered = answer({"data": [{"task_id": "t"}]}, headers={"Idempotency-Replayed": value})

    assert Submission.from_answer(answered).replayed is replayed


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        {"code": 200, "data": []},
        {"code": 200, "data": None},
        {"code": 200, "data": "ok"},
        {"data": [{"status": "submitted"}]},
        {"data": [{"b64_json": "iVBORw0KGgo="}]},
        {"data": [{"url": "ftp://cdn.example/1.png"}]},
    ],
    ids=str,
)
def test_an_answer_with_neither_an_id_nor_a_picture_is_unreadable(payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="unknown shape, without a task id"):
        Submission.from_answer(answer(payload))


@given(st.one_of(any_json, gateway_json), st.sampled_from(["", "https://gateway.example"]))
def test_reading_fails_only_with_an_error_of_this_package(payload: Any, base_url: str) -> None:
    try:
        submission = Submission.from_answer(answer(payload), base_url=base_url)
    except ApimartError:
        return
    assert submission.tasks
