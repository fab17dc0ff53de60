"""The tasks that a gateway accepted, from every form of the response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.exchange import answer, text_answer
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    ApimartError,
    BusyError,
    SubmitOutcomeUnknownError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Image, Submission, TaskState

SETTINGS = GatewaySettings(api_key="sk-x")
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
    submission = Submission.from_response(answer(payload, status))

    (task,) = submission.tasks
    assert (task.task_id, task.status, task.state) == ("t", word, TaskState.RUNNING)
    assert not submission.replayed


@pytest.mark.parametrize(
    "payload",
    [
        {"taskId": "t"},
        {"data": {"taskId": "t"}},
        {"code": 0, "data": {"task_id": "t"}},
        {"code": 200, "error": {"code": "", "message": ""}, "data": [{"task_id": "t"}]},
        {"task_id": "t", "error": {"code": 200, "message": "success"}},
        {"success": False, "task_id": "t"},
        {"data": {"task": {"id": "t"}}},
        {"result": {"data": [{"task_id": "t"}]}},
        {"data": '{"task_id": "t"}'},
        {"id": "req-1", "status": "success", "data": [{"task_id": "t"}]},
        {"data": {"id": "req-1", "task": {"task_id": "t"}}},
        {"task_id": "t", "status": "success"},
        {"data": [{"task_id": "t", "status": "completed", "result": {"images": []}}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\n "], ids=["", "with a byte order mark", "with blanks"])
def test_a_named_task_is_accepted_and_runs_whatever_stands_beside_it(payload: Any, mark: str) -> None:
    submission = endpoints.submit(SETTINGS, ImageRequest(prompt="A cat")).result(
        text_answer(mark + json.dumps(payload))
    )

    assert [(task.task_id, task.is_finished) for task in submission.tasks] == [("t", False)]


@pytest.mark.parametrize(
    "payload",
    [
        {"data": "task_01K8SGYNNNVBQTXNR4MM964S7K"},
        {"data": ["task_01K8SGYNNNVBQTXNR4MM964S7K"]},
        {"data": {"task_ids": ["task_01K8SGYNNNVBQTXNR4MM964S7K"]}},
    ],
    ids=str,
)
def test_an_id_may_be_a_bare_text(payload: Any) -> None:
    assert Submission.from_response(answer(payload)).tasks[0].task_id == "task_01K8SGYNNNVBQTXNR4MM964S7K"


@pytest.mark.parametrize("status", [409, 500, 502, 504])
def test_an_id_is_believed_with_any_status_unless_the_gateway_refuses(status: int) -> None:
    body = {"error": {"code": status, "message": "late", "type": "server_error"}, "data": {"task_id": "task_1"}}

    assert (
        endpoints.submit(SETTINGS, ImageRequest(prompt="A cat")).result(answer(body, status)).tasks[0].task_id
        == "task_1"
    )


def test_an_id_beside_a_documented_refusal_is_not_a_purchase() -> None:
    body = {"error": {"code": "idempotency_in_progress", "message": "wait", "type": "x"}, "task_id": "task_1"}

    with pytest.raises(BusyError):
        endpoints.submit(SETTINGS, ImageRequest(prompt="A cat")).result(answer(body, 409))


def test_the_id_of_a_proxys_page_is_not_one_of_a_task() -> None:
    with pytest.raises(SubmitOutcomeUnknownError):
        endpoints.submit(SETTINGS, ImageRequest(prompt="A cat")).result(answer({"id": "ray-17", "status": 502}, 502))


def test_a_picture_with_an_id_of_its_own_is_a_picture() -> None:
    (task,) = Submission.from_response(answer({"data": [{"id": "img_1", "url": PICTURE}]})).tasks

    assert task.is_finished
    assert not task.can_be_queried
    assert [image.url for image in task.images] == [PICTURE]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ({"b64_json": "iVBORw0KGgo="}, "data:image/png;base64,iVBORw0KGgo="),
        ({"b64_json": "/9j/4AAQ", "revised_prompt": "a cat"}, "data:image/jpeg;base64,/9j/4AAQ"),
        ({"b64_json": "data:image/webp;base64,UklGRg=="}, "data:image/webp;base64,UklGRg=="),
        (
            {"url": "https://cdn.example/sk-ii-essence.png", "b64_json": "iVBORw0KGgo="},
            "https://cdn.example/sk-ii-essence.png",
        ),
    ],
    ids=str,
)
def test_a_picture_may_come_as_its_content(entry: Any, url: str) -> None:
    (task,) = Submission.from_response(answer({"created": 1000, "data": [entry]})).tasks

    assert [image.url for image in task.images] == [url]


def test_a_number_as_the_id_becomes_text() -> None:
    assert Submission.from_response(answer({"data": [{"task_id": 17}]})).tasks[0].task_id == "17"


def test_several_ids_are_several_tasks() -> None:
    submission = Submission.from_response(answer({"data": [{"task_id": "a"}, {"task_id": "b"}, None, {}]}))

    assert [task.task_id for task in submission.tasks] == ["a", "b"]


def test_a_versioned_answer_may_carry_the_result_itself() -> None:
    result = {"id": "t", "object": "generation.result", "result": {"images": [{"url": [PICTURE]}]}}

    (task,) = Submission.from_response(answer({"code": 200, "data": result})).tasks

    assert (task.task_id, task.state) == ("t", TaskState.COMPLETED)
    assert task.images == (Image(PICTURE, None),)


def test_a_synchronous_answer_is_a_finished_task_with_an_id_of_its_own() -> None:
    payload = {"created": 1000, "data": [{"url": PICTURE}, {"url": "/f/2.png"}], "cost": 0.01, "credits_cost": 0.1}

    (task,) = Submission.from_response(answer(payload), base_url="https://gateway.example").tasks
    (again,) = Submission.from_response(answer(payload)).tasks

    assert task.is_finished
    assert task.task_id.startswith("sync_")
    assert task.task_id == again.task_id
    assert [image.url for image in task.images] == [PICTURE, "https://gateway.example/f/2.png"]
    assert (task.created, task.cost, task.credits_cost) == (1000, 0.01, 0.1)
    assert task.images[0].expires_at == 1000 + 24 * 60 * 60


def test_two_synchronous_answers_are_two_tasks() -> None:
    first, second = (
        Submission.from_response(answer({"data": [{"url": f"{PICTURE}?{number}"}]})).tasks[0] for number in (1, 2)
    )

    assert first.task_id != second.task_id


@pytest.mark.parametrize(("value", "replayed"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_a_recognised_idempotency_key_is_told(value: str, replayed: bool) -> None:
    answered = answer({"data": [{"task_id": "t"}]}, headers={"Idempotency-Replayed": value})

    assert Submission.from_response(answered).replayed is replayed


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        {"code": 200, "data": []},
        {"code": 200, "data": None},
        {"code": 200, "data": "ok"},
        {"data": [{"status": "submitted"}]},
        {"data": [{"url": "ftp://cdn.example/1.png"}]},
    ],
    ids=str,
)
def test_an_answer_with_neither_an_id_nor_a_picture_is_unreadable(payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="without a task id"):
        Submission.from_response(answer(payload))


@given(st.one_of(any_json, gateway_json), st.sampled_from(["", "https://gateway.example"]))
def test_reading_fails_only_with_an_error_of_this_package(payload: Any, base_url: str) -> None:
    try:
        submission = Submission.from_response(answer(payload), base_url=base_url)
    except ApimartError:
        return
    assert submission.tasks
