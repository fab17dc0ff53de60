"""The response to a query of many tasks, whose form no vendor documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import answer
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    ApimartError,
    NotFoundError,
    RateLimitError,
    RequestRejectedError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Task, TaskState

if TYPE_CHECKING:
    from airflow_provider_apimart.exceptions import GatewayError
    from airflow_provider_apimart.gateway.response import Response

IDS = ("task_1", "task_2")
FIRST = {"id": "task_1", "status": "completed", "result": {"images": [{"url": "https://cdn.example/1.png"}]}}
SECOND = {"id": "task_2", "status": "processing"}
NAMELESS = {"status": "processing"}
SETTINGS = GatewaySettings(api_key="sk-x", base_url="https://gateway.example")


def read_batch(response: Response, task_ids: tuple[str, ...]) -> dict[str, Task | GatewayError]:
    return endpoints.get_tasks(SETTINGS, task_ids).result(response)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"code": 200, "data": [FIRST, SECOND]}, id="list"),
        pytest.param({"code": 200, "data": [SECOND, FIRST]}, id="other-order"),
        pytest.param([FIRST, SECOND], id="bare-list"),
        pytest.param({"data": {"task_1": FIRST, "task_2": SECOND}}, id="map"),
        pytest.param({"data": {"task_1": FIRST, "task_2": NAMELESS}}, id="map-without-ids-inside"),
        pytest.param({"task_1": FIRST, "task_2": SECOND}, id="bare-map"),
        pytest.param({"data": {"tasks": [FIRST, SECOND]}}, id="nested-list"),
        pytest.param({"data": {"tasks": {"task_1": FIRST, "task_2": SECOND}}}, id="nested-map"),
        pytest.param({"tasks": [FIRST, SECOND]}, id="bare-nested-list"),
        pytest.param({"data": [{"code": 200, "data": FIRST}, {"code": 200, "data": SECOND}]}, id="wrapped"),
        pytest.param(
            {"data": [{"task_id": "task_1", "data": FIRST}, {"task_id": "task_2", "data": NAMELESS}]}, id="id-outside"
        ),
        pytest.param({"data": [FIRST, {"task_id": "task_2", "state": "processing"}]}, id="other-names"),
        pytest.param({"data": [FIRST, SECOND, {"id": "task_3", "status": "failed"}]}, id="one-too-many"),
        pytest.param({"data": [None, FIRST, "task_2", 5, SECOND]}, id="nonsense-between"),
        pytest.param({"data": [{**FIRST, "id": 1, "task_id": "task_1"}, SECOND]}, id="ids-of-its-own"),
        pytest.param({"data": json.dumps([FIRST, SECOND])}, id="json-text"),
    ],
)
def test_every_shape_gives_each_task_by_its_id(payload: Any) -> None:
    found = read_batch(answer(payload), IDS)

    assert {task_id: outcome.state for task_id, outcome in found.items() if isinstance(outcome, Task)} == {
        "task_1": TaskState.COMPLETED,
        "task_2": TaskState.RUNNING,
    }
    assert {outcome.task_id for outcome in found.values()} == set(IDS)


@pytest.mark.parametrize(
    "payload", [{"data": [FIRST]}, {"data": {"task_1": FIRST}}, {"data": [FIRST, {}]}, {"data": [FIRST, None]}], ids=str
)
def test_an_id_that_is_left_out_is_missing(payload: Any) -> None:
    assert list(read_batch(answer(payload), IDS)) == ["task_1"]


@pytest.mark.parametrize("payload", [{"data": []}, {"data": {}}, {}, []], ids=str)
def test_an_empty_answer_describes_nothing(payload: Any) -> None:
    assert read_batch(answer(payload), IDS) == {}


@pytest.mark.parametrize(
    ("item", "cls"),
    [
        ({"id": "task_2", "error": {"code": 400, "message": "无效的任务ID"}}, RequestRejectedError),
        ({"task_id": "task_2", "code": 404, "message": "not found"}, NotFoundError),
        ({"id": "task_2", "code": 429, "message": "slow down"}, RateLimitError),
        (
            {"task_id": "task_2", "data": None, "error": {"code": "400", "message": "no task"}},
            RequestRejectedError,
        ),
    ],
    ids=str,
)
def test_an_error_of_one_item_spoils_no_other(item: dict[str, Any], cls: type[ApimartError]) -> None:
    found = read_batch(answer({"data": [FIRST, item]}), IDS)

    assert isinstance(found["task_1"], Task)
    assert type(found["task_2"]) is cls
    assert found["task_2"].task_id == "task_2"


def test_a_failed_task_is_a_task_and_not_an_error_of_its_query() -> None:
    item = {"id": "task_2", "status": "failed", "error": {"code": 400, "message": "invalid task id"}}

    outcome = read_batch(answer({"data": [item]}), IDS)["task_2"]

    assert isinstance(outcome, Task)
    assert outcome.state is TaskState.FAILED


def test_relative_urls_are_completed() -> None:
    item = {**FIRST, "result": {"images": [{"url": "/f/1.png"}]}}

    outcome = read_batch(answer({"data": [item]}), IDS)["task_1"]

    assert isinstance(outcome, Task)
    assert outcome.images[0].url == "https://gateway.example/f/1.png"


@pytest.mark.parametrize("payload", [{"data": None}, {"data": "ok"}, {"data": {"message": "not implemented"}}], ids=str)
def test_an_answer_that_describes_no_tasks_is_unreadable(payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="many tasks in an unknown form"):
        read_batch(answer(payload), IDS)


@given(st.one_of(any_json, gateway_json))
def test_reading_fails_only_with_an_error_of_this_package(payload: Any) -> None:
    try:
        found = read_batch(answer(payload), IDS)
    except ApimartError:
        return
    assert set(found) <= set(IDS)
