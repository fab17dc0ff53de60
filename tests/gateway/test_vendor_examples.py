"""Every example on the vendors' four public API pages: the requests are accepted, the answers understood."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gateway.exchange import Script, answer
from services.reference_files import DATA_URI

from airflow_provider_apimart import exceptions
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.catalogue import Gateway, find_spec
from airflow_provider_apimart.gateway.client import GatewayClient
from airflow_provider_apimart.gateway.errors import is_documented_error, response_error
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Image, Submission, TaskState
from airflow_provider_apimart.gateway.validation import check, check_anywhere

if TYPE_CHECKING:
    from gateway.exchange import Exchange

    from airflow_provider_apimart.simulator import Simulator

PAGES = {
    path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "vendor_examples").glob("*"))
}
#: The pages print the beginning of a data URI only.
PRINTED = re.compile(r"data:image/png;base64,\w*\.\.\.")
REQUESTS = [
    pytest.param(Gateway(page["gateway"]), json.loads(PRINTED.sub(DATA_URI, json.dumps(body))), id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, body in enumerate(page["requests"], 1)
]
ERROR_CLASSES = {
    400: exceptions.RequestRejectedError,
    401: exceptions.AuthenticationError,
    402: exceptions.InsufficientBalanceError,
    403: exceptions.PermissionDeniedError,
    429: exceptions.RateLimitError,
    500: exceptions.ServerError,
    502: exceptions.ServerError,
    503: exceptions.BusyError,
}


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(example["status"], example["body"], id=f"{name}-{example['status']}")
        for name, page in PAGES.items()
        for example in page["answers"]
        if example["kind"] == kind
    ]


def request_for(body: dict[str, Any]) -> ImageRequest:
    fields = dict(body)
    if "image_urls" in fields:
        fields["image_urls"] = tuple(fields["image_urls"])
    return ImageRequest(**fields)


def test_all_four_pages_are_covered() -> None:
    assert {name: (len(page["requests"]), len(page["answers"])) for name, page in PAGES.items()} == {
        "gpt-image-1-and-1.5-official": (6, 8),
        "gpt-image-2": (8, 8),
        "gpt-image-2-apimaster": (2, 1),
        "gpt-image-2-official": (8, 2),
    }


@pytest.mark.parametrize(("gateway", "body"), REQUESTS)
def test_a_request_example_is_accepted_as_it_is_written(
    gateway: Gateway, body: dict[str, Any], simulator: Simulator, api_key: str
) -> None:
    request = request_for(body)
    check_anywhere(request)
    check(request, gateway)
    spec = find_spec(gateway, request.model)
    assert spec is not None
    parts = request.split(spec.images_per_task)
    base_url = simulator.apimaster_url if gateway is Gateway.APIMASTER else simulator.url
    settings = GatewaySettings(api_key=api_key, base_url=base_url, gateway=gateway)

    async def buy() -> list[Submission]:
        async with GatewayClient(settings) as client:
            return [await client.send(endpoints.submit(settings, part)) for part in parts]

    submissions = asyncio.run(buy())

    received = simulator.tasks()
    assert [task["id"] for task in received] == [s.tasks[0].task_id for s in submissions]
    assert {task["gateway"] for task in received} == {gateway.value}
    assert sum(task["body"]["n"] for task in received) == body.get("n", 1)
    for task in received:
        assert {**task["body"], "n": None} == {**body, "n": None}


@pytest.mark.parametrize(("status", "body"), examples("submit"))
def test_a_submit_answer_gives_its_task_id(status: int, body: dict[str, Any]) -> None:
    submission = Submission.from_response(answer(body, status))

    assert [task.task_id for task in submission.tasks] == [body["data"][0]["task_id"]]
    assert submission.tasks[0].status == "submitted"
    assert not submission.tasks[0].is_finished


@pytest.mark.parametrize(("status", "body"), examples("error"))
def test_an_error_answer_gives_the_class_of_its_status(status: int, body: dict[str, Any]) -> None:
    error = response_error(answer(body, status))

    assert type(error) is ERROR_CLASSES[status]
    assert (error.status_code, error.code) == (status, status)
    assert body["error"]["message"] in str(error)
    assert error.retryable is (status >= 429)
    assert is_documented_error(body)


@pytest.mark.parametrize("status", [400, 401, 402, 429])
def test_a_status_that_apimaster_lists_without_a_body_gives_the_same_class(status: int) -> None:
    assert type(response_error(answer({}, status))) is ERROR_CLASSES[status]


@pytest.mark.parametrize(
    ("page", "images", "numbers"),
    [
        pytest.param(
            "gpt-image-2-official",
            (
                Image(
                    "https://upload.apimart.ai/f/image/xxxxxxxx-gpt_image_2_official_task_xxx_0.png",
                    1776928569,
                ),
            ),
            {"progress": 100, "actual_time": 46, "cost": None, "credits_cost": None, "created": None},
            id="gpt-image-2-official",
        ),
        pytest.param(
            "gpt-image-2",
            (Image("https://upload.apimart.ai/f/image/xxxxxxxx-gpt_image_2_task_xxx_0.png", 1776835126),),
            {
                "progress": 100,
                "created": 1776748674,
                "completed": 1776748726,
                "actual_time": 52,
                "cost": 0.05279,
                "credits_cost": 0.5279,
                "estimated_time": 100,
            },
            id="gpt-image-2",
        ),
    ],
)
def test_a_completed_task_answer_gives_its_pictures_and_costs(
    page: str, images: tuple[Image, ...], numbers: dict[str, Any], exchange: Exchange
) -> None:
    (body,) = [example["body"] for example in PAGES[page]["answers"] if example["kind"] == "task"]
    task_id = body["data"]["id"]

    task = exchange.send(endpoints.get_task(exchange.settings, task_id), Script(httpx.Response(200, json=body)))

    assert (task.task_id, task.state, task.images) == (task_id, TaskState.COMPLETED, images)
    assert {name: getattr(task, name) for name in numbers} == numbers
