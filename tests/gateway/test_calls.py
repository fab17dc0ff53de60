"""How the answers of each endpoint are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import answer

from airflow_provider_apimart.exceptions import GatewayError, InvalidRequestError, UnreadableAnswerError
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.endpoints import Balance

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.settings import GatewaySettings


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
    with pytest.raises(UnreadableAnswerError, match="task_1 in an unknown shape") as raised:
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
def test_the_balance_is_read(payload: Any, balance: Balance) -> None:
    assert endpoints.get_balance().result(answer(payload)) == balance


@pytest.mark.parametrize("message", ["No Authorization header", "Failed to get token info"])
def test_the_balance_fails_with_http_200(message: str) -> None:
    with pytest.raises(GatewayError, match=message):
        endpoints.get_balance().result(answer({"success": False, "message": message}))


@pytest.mark.parametrize("payload", [{}, [], {"success": True}, {"data": None}], ids=str)
def test_a_balance_in_an_unknown_shape_is_unreadable(payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="balance in an unknown shape"):
        endpoints.get_balance().result(answer(payload))


@pytest.mark.parametrize(
    ("payload", "models"),
    [
        ({"success": True, "object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ([{"id": "a"}], ["a"]),
        ({"data": [{}, None, {"id": "a"}]}, ["a"]),
    ],
    ids=str,
)
def test_the_models_are_listed(payload: Any, models: list[str]) -> None:
    assert endpoints.list_models().result(answer(payload)) == models


def test_a_list_of_models_in_an_unknown_shape_is_unreadable() -> None:
    with pytest.raises(UnreadableAnswerError, match="models in an unknown shape"):
        endpoints.list_models().result(answer({"data": "none"}))


UPLOADED = {
    "url": "https://cdn.example/reference.png",
    "filename": "reference.png",
    "content_type": "image/png",
    "bytes": 4499,
    "created_at": 1789813766,
}


def test_an_upload_is_called_and_typed_by_its_content() -> None:
    assert upload().files == {"file": ("reference.png", b"\x89PNG\r\n\x1a\n", "image/png")}


@pytest.mark.parametrize("payload", [UPLOADED, {"code": 200, "data": UPLOADED}], ids=["bare", "envelope"])
def test_an_upload_gives_its_url(payload: Any) -> None:
    assert upload().result(answer(payload)) == "https://cdn.example/reference.png"


@pytest.mark.parametrize("payload", [{}, [], {"url": None}, {"data": {"url": 5}}], ids=str)
def test_an_upload_without_a_url_is_unreadable(payload: Any) -> None:
    with pytest.raises(UnreadableAnswerError, match="holds no URL"):
        upload().result(answer(payload))


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "missing or invalid file field: http: no such file"),
        (400, "unsupported image type: application/pdf, allowed: jpeg, png, gif, webp"),
        (413, "file size 30000000 exceeds maximum 20971520 bytes"),
        (500, "failed to upload image"),
    ],
)
def test_an_upload_that_is_refused_says_why(status: int, message: str) -> None:
    with pytest.raises(GatewayError, match=message) as raised:
        upload().result(answer({"error": {"message": message, "type": "invalid_request_error"}}, status))

    assert raised.value.status_code == status
    assert raised.value.charged == "no"


def upload() -> endpoints.Endpoint[str]:
    return endpoints.upload_image(b"\x89PNG\r\n\x1a\n")


def test_only_a_submit_is_paid_and_only_reads_may_be_repeated(settings: GatewaySettings, image_request: Any) -> None:
    every = {
        "submit": endpoints.submit(settings, image_request),
        "task": endpoints.get_task(settings, "task_1"),
        "tasks": endpoints.get_tasks(settings, ["task_1"]),
        "balance": endpoints.get_balance(),
        "models": endpoints.list_models(),
        "price": endpoints.get_price("gpt-image-2"),
        "upload": upload(),
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
