"""The reading of a task object, in every form that has been documented or seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.exchange import text_answer
from gateway.strategies import any_json, task_objects
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    NoImagesError,
    TaskCancelledError,
    TaskFailedError,
    TaskModeratedError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import ASSUMED_URL_LIFETIME, Image, Task, TaskState, task_error

BASE_URL = "https://gateway.example"
PICTURE = "https://cdn.example/1.png"
DATA_URI = "data:image/webp;base64,UklGRg=="
BASE64 = "/9j/" + "4AAQSkZJ" * 10
SECOND = "https://cdn.example/2.png"


def completed(**fields: Any) -> Task:
    return Task.from_json({"id": "task_1", "status": "completed", **fields}, base_url=BASE_URL)


def failed(**fields: Any) -> Task:
    return Task.from_json({"id": "task_1", "status": "failed", **fields})


def urls(task: Task) -> list[str]:
    return [image.url for image in task.images]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("submitted", TaskState.RUNNING),
        ("pending", TaskState.RUNNING),
        ("queued", TaskState.RUNNING),
        ("processing", TaskState.RUNNING),
        ("in_progress", TaskState.RUNNING),
        ("NOT_START", TaskState.RUNNING),
        ("SUBMITTED", TaskState.RUNNING),
        ("IN_PROGRESS", TaskState.RUNNING),
        ("MODAL", TaskState.RUNNING),
        ("a word of next year", TaskState.RUNNING),
        ("", TaskState.RUNNING),
        ("completed", TaskState.COMPLETED),
        (" Completed ", TaskState.COMPLETED),
        ("complete", TaskState.COMPLETED),
        ("success", TaskState.COMPLETED),
        ("SUCCESS", TaskState.COMPLETED),
        ("succeeded", TaskState.COMPLETED),
        ("Success", TaskState.COMPLETED),
        ("done", TaskState.COMPLETED),
        ("finished", TaskState.COMPLETED),
        ("failed", TaskState.FAILED),
        ("FAILURE", TaskState.FAILED),
        ("fail", TaskState.FAILED),
        ("error", TaskState.FAILED),
        ("expired", TaskState.FAILED),
        ("cancelled", TaskState.CANCELLED),
        ("canceled", TaskState.CANCELLED),
    ],
)
def test_a_status_word_means(word: str, state: TaskState) -> None:
    task = Task.from_json({"id": "task_1", "status": word})

    assert task.state is TaskState.from_status(word) is state
    assert task.is_finished is (state is not TaskState.RUNNING)


def test_the_status_may_be_called_state() -> None:
    assert Task.from_json({"id": "task_1", "state": "completed"}).state is TaskState.COMPLETED


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param({"images": [{"url": [PICTURE]}]}, [PICTURE], id="list-of-one"),
        pytest.param({"images": [{"url": PICTURE}]}, [PICTURE], id="plain-string"),
        pytest.param({"images": [{"url": [PICTURE, SECOND]}]}, [PICTURE, SECOND], id="several-in-one-entry"),
        pytest.param({"images": [{"url": [SECOND]}, {"url": [PICTURE]}]}, [SECOND, PICTURE], id="several-entries"),
        pytest.param({"images": [{"url": [PICTURE]}, {"url": PICTURE}]}, [PICTURE], id="duplicates"),
        pytest.param({"images": [PICTURE, SECOND]}, [PICTURE, SECOND], id="strings-in-images"),
        pytest.param({"images": {"url": PICTURE}}, [PICTURE], id="one-object"),
        pytest.param({"images": [{"urls": [PICTURE]}]}, [PICTURE], id="urls"),
        pytest.param({"images": [{"uri": PICTURE}]}, [PICTURE], id="uri"),
        pytest.param({"images": [{"image_url": {"url": PICTURE}}]}, [PICTURE], id="image_url-object"),
        pytest.param({"image": PICTURE}, [PICTURE], id="result.image"),
        pytest.param({"url": PICTURE}, [PICTURE], id="result.url"),
        pytest.param({"image_urls": [PICTURE]}, [PICTURE], id="result.image_urls"),
        pytest.param({"image_id": "x", "image_url": PICTURE, "objects": []}, [PICTURE], id="grok-segment"),
        pytest.param({"images": [{"url": f" {PICTURE} "}]}, [PICTURE], id="blanks"),
        pytest.param({"images": [{"url": "/f/image/1.png"}]}, [f"{BASE_URL}/f/image/1.png"], id="relative"),
        pytest.param({"images": [{"url": "//["}]}, [], id="no-url-at-all"),
        pytest.param({"images": [{"url": "ftp://cdn.example/1.png"}]}, [], id="ftp"),
        pytest.param({"images": [{"url": "javascript:alert(1)"}]}, [], id="javascript"),
        pytest.param({"images": [{"url": None}, None, 5]}, [], id="nonsense"),
        pytest.param({"images": []}, [], id="empty"),
        pytest.param([{"url": PICTURE}, {"url": SECOND}], [PICTURE, SECOND], id="result-is-a-list"),
        pytest.param(PICTURE, [PICTURE], id="result-is-a-url"),
        pytest.param(json.dumps({"images": [{"url": PICTURE}]}), [PICTURE], id="result-is-json"),
        pytest.param({"data": [{"url": PICTURE}]}, [PICTURE], id="result.data"),
        pytest.param({"output": [PICTURE]}, [PICTURE], id="result.output"),
        pytest.param({"images": [{"b64_json": "iVBORw0K"}]}, ["data:image/png;base64,iVBORw0K"], id="b64_json"),
        pytest.param({"images": [BASE64]}, [f"data:image/jpeg;base64,{BASE64}"], id="base64-alone"),
        pytest.param({"images": [{"url": DATA_URI}]}, [DATA_URI], id="data-uri"),
        pytest.param({"images": [{"url": PICTURE, "b64_json": "iVBORw0K"}]}, [PICTURE], id="url-and-content"),
        pytest.param(
            {"images": [{"url": "", "b64_json": "iVBORw0K"}]}, ["data:image/png;base64,iVBORw0K"], id="empty-url"
        ),
        pytest.param(None, [], id="no-result"),
        pytest.param("done", [], id="result-is-a-text"),
    ],
)
def test_the_urls_are_found(result: Any, expected: list[str]) -> None:
    assert urls(completed(result=result)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"result_url": PICTURE},
        {"images": [{"url": [PICTURE]}]},
        {"images": [PICTURE], "result": None},
        {"output": {"url": PICTURE}},
        {"output": [PICTURE], "result": {"images": []}},
        {"result": {"images": [PICTURE]}, "image_url": SECOND},
        {"result": {"images": [PICTURE]}, "image_urls": ["https://cdn.example/reference.png"]},
    ],
    ids=str,
)
def test_a_url_beside_the_result_is_found(fields: dict[str, Any]) -> None:
    assert urls(completed(**fields)) == [PICTURE]


def test_a_reference_image_that_the_task_repeats_is_not_its_picture() -> None:
    assert urls(completed(result={"images": []}, image_urls=["https://cdn.example/reference.png"])) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/sk-ii-essence-and-a-long-name.png",
        "https://cdn.example/a%2fb+c~d.png?X-Sig=a%2Bb%3D&name=%E7%8C%AB",
        "https://cdn.example/[1].png",
        "https://cdn.example/übergröße 1.png",
        "HTTPS://CDN.example/1.PNG#part",
    ],
)
def test_a_url_is_byte_for_byte_what_the_gateway_gave(url: str) -> None:
    body = json.dumps({"data": {"id": "task_1", "status": "completed", "result": {"images": [{"url": [url]}]}}})
    task = endpoints.get_task(GatewaySettings(api_key="sk-ii-essence"), "task_1").result(text_answer(body))

    assert urls(task) == [url]
    assert urls(Task.from_json(task.to_json())) == [url]


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"status": "archived"}, '"archived"'),
        ({"status": "completed", "result": {"pictures": ["u"]}}, '"pictures"'),
        ({"phase": "finished"}, '"phase"'),
    ],
)
def test_a_description_that_is_not_understood_is_quoted_without_the_key(fields: dict[str, Any], quoted: str) -> None:
    key = "sk-0123456789abcdefghij"
    task = Task.from_json({"id": "task_1", **fields, "trace": key}, api_key=key)

    assert quoted in task.quote
    assert key not in task.quote
    assert task.images == ()


def test_a_description_that_is_understood_is_not_quoted() -> None:
    assert completed(result={"images": [{"url": PICTURE}]}).quote == failed().quote == ""


def test_a_task_that_is_not_completed_has_no_pictures() -> None:
    task = Task.from_json({"id": "task_1", "status": "processing", "result": {"images": [{"url": PICTURE}]}})

    assert task.images == ()


@pytest.mark.parametrize(
    ("entry", "times", "expected"),
    [
        pytest.param({"url": PICTURE, "expires_at": 1776835126}, {"completed": 1776748726}, 1776835126, id="said"),
        pytest.param({"url": PICTURE, "expires_at": "1776835126"}, {}, 1776835126, id="said-as-text"),
        pytest.param({"url": PICTURE}, {"completed": 1000}, 1000 + ASSUMED_URL_LIFETIME, id="assumed"),
        pytest.param(PICTURE, {"completed": 1000}, 1000 + ASSUMED_URL_LIFETIME, id="assumed-for-a-string"),
        pytest.param({"url": PICTURE}, {}, None, id="unknown"),
        pytest.param({"url": PICTURE, "expires_at": 1776835126000}, {}, 1776835126, id="milliseconds"),
        pytest.param({"url": PICTURE, "expires_at": 1776835126000000}, {}, 1776835126, id="microseconds"),
        pytest.param({"url": PICTURE, "expires_at": "2026-04-22T05:18:46Z"}, {}, 1776835126, id="iso"),
        pytest.param({"url": PICTURE, "expires_at": "2026-04-22 05:18:46"}, {}, 1776835126, id="iso-without-a-zone"),
        pytest.param({"url": PICTURE, "expires_at": 0}, {}, None, id="zero"),
        pytest.param({"url": PICTURE, "expires_at": -1}, {}, None, id="negative"),
        pytest.param({"url": PICTURE, "expires_at": 1e300}, {}, None, id="absurd"),
        pytest.param({"url": PICTURE, "expires_at": "tomorrow"}, {}, None, id="words"),
        pytest.param({"url": PICTURE, "expires_at": 86400}, {"completed": 1776748726}, 1776835126, id="a-duration"),
    ],
)
def test_a_url_dies_when_the_gateway_says_or_a_day_after_completion(
    entry: Any, times: dict[str, int], expected: int | None
) -> None:
    assert completed(result={"images": [entry]}, **times).images == (Image(PICTURE, expected),)


@pytest.mark.parametrize(
    ("value", "expected"), [(40, 40), (40.0, 40), ("40%", 40), ("40", 40), ("40 %", 40), ("half", None), (None, None)]
)
def test_progress_may_be_a_number_or_a_percentage(value: Any, expected: int | None) -> None:
    assert completed(progress=value).progress == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.05279, 0.05279),
        (0.047920000000000004, 0.04792),
        ("0.05", 0.05),
        (0, 0.0),
        (None, None),
        ("free", None),
        (True, None),
        ([], None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_cost_that_is_not_a_number_is_unknown_and_never_zero(value: Any, expected: float | None) -> None:
    task = completed(cost=value, credits_cost=value)

    assert (task.cost, task.credits_cost) == (expected, expected)


def test_a_bare_answer_is_a_running_task_that_knows_nothing() -> None:
    task = Task.from_json({}, task_id="task_1")

    assert task == Task(task_id="task_1", status="", state=TaskState.RUNNING)


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        pytest.param(
            {"error": {"code": 500, "message": "Upstream error", "type": "server_error"}},
            "500",
            "Upstream error",
            id="int",
        ),
        pytest.param(
            {"error": {"message": "Bad ratio", "type": "task_failed", "param": "", "code": "task_failed"}},
            "task_failed",
            "Bad ratio",
            id="word",
        ),
        pytest.param({"error": {"message": "Upstream error", "code": ""}}, "", "Upstream error", id="empty-code"),
        pytest.param({"error": {"message": "Upstream error", "type": "x"}}, "x", "Upstream error", id="no-code"),
        pytest.param({"error": {"code": "task_failed"}}, "task_failed", "", id="no-message"),
        pytest.param({"error": "Upstream error"}, "", "Upstream error", id="bare-text"),
        pytest.param(
            {"error": {"message": '{"error":{"message":"Too large","code":"X"}}', "code": 1}},
            "1",
            "Too large",
            id="nested-json",
        ),
        pytest.param({"error": '{"message":"{\\"message\\":\\"Deep\\"}"}'}, "", "Deep", id="twice-nested-json"),
        pytest.param({"error": '{"error":"Flat"}'}, "", "Flat", id="nested-text"),
        pytest.param({"error": '{"detail":1}'}, "", '{"detail":1}', id="nested-json-without-a-message"),
        pytest.param({"error": "{not json"}, "", "{not json", id="looks-like-json"),
        pytest.param(
            {"error": {"message": "<!DOCTYPE html>\n<html>\n<title>Just a moment...</title>"}},
            "",
            "<!DOCTYPE html>",
            id="html-page",
        ),
        pytest.param({"error": {"message": "x" * 1000}}, "", "x" * 297 + "...", id="very-long"),
        pytest.param({"fail_reason": "Banned prompt"}, "", "Banned prompt", id="fail_reason"),
        pytest.param({"failReason": "Banned prompt"}, "", "Banned prompt", id="failReason"),
        pytest.param({"failure_reason": "Banned prompt"}, "", "Banned prompt", id="failure_reason"),
        pytest.param({"result": {"error": {"message": "Inside"}}}, "", "Inside", id="result.error"),
        pytest.param({}, "", "", id="no-reason"),
    ],
)
def test_the_reason_of_a_failure_is_found(fields: dict[str, Any], code: str, message: str) -> None:
    task = failed(**fields)

    assert (task.error_code, task.error_message) == (code, message)


def test_a_failed_task_is_an_error_that_says_why_and_that_nothing_was_charged() -> None:
    error = task_error(failed(error={"code": "task_failed", "message": "Upstream error"}))

    assert type(error) is TaskFailedError
    assert str(error) == (
        "Task task_1 failed at the gateway: Upstream error. It was not charged, as far as the gateway says."
    )
    assert (error.task_id, error.code, error.charged, error.retryable) == ("task_1", "task_failed", "no", True)


def test_a_failed_task_with_a_cost_was_charged() -> None:
    error = task_error(failed(cost=0.01))

    assert error is not None
    assert error.charged == "yes"
    assert "no reason given, status 'failed'. It was charged" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "OutputImageSensitiveContentDetected",
        "PUBLIC_ERROR_UNSAFE_GENERATION: blocked",
        "Your request was rejected by the safety system",
        "content_policy_violation",
        "violates our content policy",
        "content moderation failed",
        "违反安全策略",
        "内容安全审核未通过",
        "包含敏感词",
    ],
)
def test_a_task_that_failed_for_its_content_is_told_apart(message: str) -> None:
    assert type(task_error(failed(error={"message": message}))) is TaskModeratedError
    assert type(task_error(failed(error={"message": "failed", "code": message}))) is TaskModeratedError


def test_a_cancelled_task_may_have_been_charged() -> None:
    error = task_error(Task.from_json({"id": "task_1", "status": "cancelled"}))

    assert type(error) is TaskCancelledError
    assert error.charged == "unknown"


@pytest.mark.parametrize(
    ("word", "is_free", "charged"), [("failed", True, "no"), ("error", True, "no"), ("expired", False, "unknown")]
)
def test_only_a_failure_without_a_charge_may_be_bought_again(word: str, *, is_free: bool, charged: str) -> None:
    task = Task.from_json({"id": "task_1", "status": word})

    error = task_error(task)

    assert error is not None
    assert task.is_free is is_free
    assert (error.retryable, error.charged) == (is_free, charged)


def test_a_completed_task_without_a_url_is_an_error_and_was_charged() -> None:
    error = task_error(completed(cost=0.0085, result={"pictures": ["unheard of"]}))

    assert type(error) is NoImagesError
    assert error.charged == "yes"
    assert error.retryable
    assert "0.0085" in str(error)
    assert "unheard of" in str(error)


@pytest.mark.parametrize(
    "task", [completed(result={"images": [{"url": PICTURE}]}), Task.from_json({"status": "processing"})], ids=str
)
def test_a_task_that_delivered_or_still_runs_is_no_error(task: Task) -> None:
    assert task_error(task) is None


@given(task_objects, st.sampled_from(["", BASE_URL]))
def test_a_task_survives_being_written_and_read_again(data: dict[str, Any], base_url: str) -> None:
    task = Task.from_json(data, base_url=base_url)

    assert Task.from_json(task.to_json(), base_url=base_url) == task


@given(st.dictionaries(st.text(max_size=10), any_json))
def test_reading_a_task_never_fails(data: dict[str, Any]) -> None:
    Task.from_json(data, task_id="task_1", base_url=BASE_URL)
