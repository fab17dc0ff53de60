"""The request of each endpoint, and the reading of its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import answer
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st
from services.reference_files import GIF, image_file

from airflow_provider_apimart.exceptions import (
    ApimartError,
    GatewayError,
    InvalidRequestError,
    SubmitOutcomeUnknownError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.endpoints import Balance
from airflow_provider_apimart.gateway.errors import is_documented_error
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import TaskState

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.response import Response


def outcome_of(endpoint: endpoints.Endpoint[Any], response: Response) -> Any:
    try:
        return endpoint.result(response)
    except ApimartError as error:
        return error


@pytest.mark.parametrize(
    "payload",
    [
        {"code": 200, "data": {"id": "task_1", "status": "processing"}},
        {"id": "task_1", "status": "processing"},
        {"code": 200, "data": [{"id": "task_1", "status": "processing"}]},
        {"code": 200, "data": {"status": "processing"}},
    ],
    ids=str,
)
def test_a_task_is_read_with_or_without_an_envelope(settings: GatewaySettings, payload: Any) -> None:
    task = endpoints.get_task(settings, "task_1").result(answer(payload))

    assert (task.task_id, task.status) == ("task_1", "processing")


def test_a_task_that_is_not_described_yet_still_runs(settings: GatewaySettings) -> None:
    task = endpoints.get_task(settings, "task_1").result(answer({"code": 200, "data": None}))

    assert task.task_id == "task_1"
    assert not task.is_finished


@pytest.mark.parametrize("payload", [[], {"data": "ok"}, {"data": []}, {"data": [{}, {}]}], ids=str)
def test_a_task_in_an_unknown_shape_is_unreadable(settings: GatewaySettings, payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="task_1 in an unknown form") as raised:
        endpoints.get_task(settings, "task_1").result(answer(payload))

    assert raised.value.task_id == "task_1"


@pytest.mark.parametrize(
    ("payload", "balance"),
    [
        (
            {"success": True, "remain_balance": 10.5, "used_balance": 2.3, "unlimited_quota": False},
            Balance(remaining=10.5, used=2.3),
        ),
        ({"success": True, "data": {"remain_balance": 10.5, "used_balance": 2.3}}, Balance(remaining=10.5, used=2.3)),
        (
            {"success": True, "remain_balance": -1, "remain_credits": -1, "used_balance": 2.3, "unlimited_quota": True},
            Balance(remaining=None, used=2.3),
        ),
        ({"remain_balance": 0}, Balance(remaining=0, used=None)),
    ],
    ids=str,
)
def test_the_balance_is_read(settings: GatewaySettings, payload: Any, balance: Balance) -> None:
    assert endpoints.get_balance(settings).result(answer(payload)) == balance


@pytest.mark.parametrize("message", ["No Authorization header", "Failed to get token info"])
def test_the_balance_fails_with_http_200(settings: GatewaySettings, message: str) -> None:
    with pytest.raises(GatewayError, match=message):
        endpoints.get_balance(settings).result(answer({"success": False, "message": message}))


@pytest.mark.parametrize("payload", [{}, [], {"success": True}, {"data": None}], ids=str)
def test_a_balance_in_an_unknown_shape_is_unreadable(settings: GatewaySettings, payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="balance in an unknown form"):
        endpoints.get_balance(settings).result(answer(payload))


@pytest.mark.parametrize(
    ("payload", "models"),
    [
        ({"success": True, "object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ([{"id": "a"}], ["a"]),
        ({"data": [{}, None, {"id": "a"}]}, ["a"]),
    ],
    ids=str,
)
def test_the_models_are_listed(settings: GatewaySettings, payload: Any, models: list[str]) -> None:
    assert endpoints.list_models(settings).result(answer(payload)) == models


def test_a_list_of_models_in_an_unknown_shape_is_unreadable(settings: GatewaySettings) -> None:
    with pytest.raises(UnreadableAnswerError, match="models in an unknown form"):
        endpoints.list_models(settings).result(answer({"data": "none"}))


@pytest.mark.parametrize(
    "payload",
    [
        {"status": "error", "message": "upstream request timeout"},
        {"status": "fail", "data": None, "message": "no healthy upstream"},
        {"status": "cancelled"},
        {"code": 500, "message": "internal error", "data": {"status": "error"}},
        {"code": 200, "data": {"id": "task_of_another", "status": "completed"}},
    ],
    ids=str,
)
def test_a_failure_that_names_no_task_is_not_the_end_of_one(settings: GatewaySettings, payload: Any) -> None:
    outcome = outcome_of(endpoints.get_task(settings, "task_1"), answer(payload))

    assert outcome.retryable if isinstance(outcome, GatewayError) else not outcome.is_finished


@pytest.mark.parametrize(
    "payload",
    [
        {"code": 200, "data": {"status": "error"}},
        {"id": "task_1", "status": "failed", "error": "no"},
        {"id": 17, "task_id": "task_1", "status": "FAILURE"},
        {"code": 400, "data": {"task_id": "task_1", "status": "failed"}},
    ],
    ids=str,
)
def test_a_failure_of_the_task_itself_is_one_under_the_id_that_was_queried(
    settings: GatewaySettings, payload: Any
) -> None:
    task = endpoints.get_task(settings, "task_1").result(answer(payload))

    assert (task.task_id, task.state) == ("task_1", TaskState.FAILED)


@pytest.mark.parametrize(
    "beside", [{"error": {"code": "", "message": "success"}}, {"code": 0, "message": "ok"}, {"success": False}], ids=str
)
def test_a_described_task_counts_more_than_the_words_beside_it(settings: GatewaySettings, beside: Any) -> None:
    described = {"id": "task_1", "status": "completed", "result": {"images": [{"url": "https://cdn.example/1.png"}]}}

    task = endpoints.get_task(settings, "task_1").result(answer({"data": described, **beside}))

    assert task.images[0].url == "https://cdn.example/1.png"


def test_a_task_may_be_described_in_json_within_json(settings: GatewaySettings) -> None:
    body = {"code": 200, "data": '{"id": "task_1", "status": "processing"}'}

    assert endpoints.get_task(settings, "task_1").result(answer(body)).status == "processing"


@given(st.one_of(any_json, gateway_json), st.sampled_from([200, 202, 302, 400, 404, 500]))
def test_reading_a_response_fails_only_with_a_retryable_error_of_this_package(payload: Any, status: int) -> None:
    settings = GatewaySettings(api_key="sk-x")
    for endpoint in (endpoints.get_task(settings, "task_1"), endpoints.get_tasks(settings, ["task_1", "task_2"])):
        outcome = outcome_of(endpoint, answer(payload, status))

        if isinstance(outcome, GatewayError):
            assert (outcome.retryable, outcome.charged) == (True, "unknown")


@given(st.one_of(any_json, gateway_json), st.sampled_from([200, 202, 302, 400, 404, 429, 500, 503]))
def test_a_submit_is_accepted_refused_or_unknown_whatever_comes(payload: Any, status: int) -> None:
    submit = endpoints.submit(GatewaySettings(api_key="sk-x"), ImageRequest(prompt="A cat"))

    outcome = outcome_of(submit, answer(payload, status))

    if isinstance(outcome, GatewayError):
        assert is_documented_error(answer(payload, status).payload)
    elif isinstance(outcome, SubmitOutcomeUnknownError):
        assert not outcome.retryable
    else:
        assert outcome.tasks


UPLOADED = {
    "url": "https://cdn.example/reference.png",
    "filename": "reference.png",
    "content_type": "image/png",
    "bytes": 4499,
    "created_at": 1789813766,
}


def test_an_upload_is_called_and_typed_by_its_content(settings: GatewaySettings) -> None:
    assert upload(settings).files == {"file": ("reference.gif", GIF, "image/gif")}
    jpeg = image_file("JPEG")
    assert endpoints.upload_image(settings, jpeg).files == {"file": ("reference.jpg", jpeg, "image/jpeg")}


@pytest.mark.parametrize("name", ["sk-ii-essence-and-cream.png", "a%2fb+~[1].png", "\u00fcber.png"])
def test_the_url_of_an_upload_is_the_one_that_was_given(settings: GatewaySettings, name: str) -> None:
    body = {**UPLOADED, "url": f"https://cdn.example/{name}"}

    assert upload(settings).result(answer(body)) == f"https://cdn.example/{name}"


@pytest.mark.parametrize("payload", [UPLOADED, {"code": 200, "data": UPLOADED}], ids=["bare", "envelope"])
def test_an_upload_gives_its_url(settings: GatewaySettings, payload: Any) -> None:
    assert upload(settings).result(answer(payload)) == "https://cdn.example/reference.png"


@pytest.mark.parametrize("payload", [{}, [], {"url": None}, {"data": {"url": 5}}], ids=str)
def test_an_upload_without_a_url_is_unreadable(settings: GatewaySettings, payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="holds no URL"):
        upload(settings).result(answer(payload))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "missing or invalid file field: http: no such file"),
        (400, "unsupported image type: application/pdf, allowed: jpeg, png, gif, webp"),
        (413, "file size 30000000 exceeds maximum 20971520 bytes"),
        (500, "failed to upload image"),
    ],
)
def test_an_upload_that_is_refused_says_why(settings: GatewaySettings, status: int, message: str) -> None:
    with pytest.raises(GatewayError, match=message) as raised:
        upload(settings).result(answer({"error": {"message": message, "type": "invalid_request_error"}}, status))

    assert raised.value.status_code == status
    assert raised.value.charged == "no"


def upload(settings: GatewaySettings) -> endpoints.Endpoint[str]:
    return endpoints.upload_image(settings, GIF)


def test_only_a_submit_is_paid_and_only_reads_may_be_repeated(settings: GatewaySettings, image_request: Any) -> None:
    every = {
        "submit": endpoints.submit(settings, image_request),
        "task": endpoints.get_task(settings, "task_1"),
        "tasks": endpoints.get_tasks(settings, ["task_1"]),
        "balance": endpoints.get_balance(settings),
        "models": endpoints.list_models(settings),
        "price": endpoints.get_price(settings, "gpt-image-2"),
        "upload": upload(settings),
    }

    assert [name for name, call in every.items() if call.paid] == ["submit"]
    assert [name for name, call in every.items() if not call.idempotent] == ["submit", "upload"]
    assert [name for name, call in every.items() if not call.authenticated] == ["price"]


@pytest.mark.parametrize("key", ["", "a key", "schlüssel", "k" * 192])
def test_an_idempotency_key_that_no_header_can_hold_is_refused_before_anything_is_sent(
    settings: GatewaySettings, image_request: Any, key: str
) -> None:
    with pytest.raises(InvalidRequestError, match="191 visible ASCII characters") as caught:
        endpoints.submit(settings, image_request, idempotency_key=key)

    assert caught.value.field == "idempotency_key"
