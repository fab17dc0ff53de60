"""
Where the vendors' own pages contradict each other, and what the provider makes of it.

One test for each contradiction that concerns pictures; the details have tests of their own beside the modules.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import httpx
import pytest
from gateway.exchange import Exchange, Script, accepted, answer
from services.reference_files import DATA_URI, GIF

from airflow_provider_apimart.exceptions import (
    BusyError,
    InsufficientBalanceError,
    InvalidRequestError,
    PermissionDeniedError,
    RequestRejectedError,
    ServerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.catalogue import CATALOGUE, Gateway, find_spec
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.errors import response_error
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import ASSUMED_URL_LIFETIME, Submission, Task, TaskState
from airflow_provider_apimart.gateway.validation import check, notices
from airflow_provider_apimart.operators.image import ApimartImageOperator

URL = "https://cdn.example/1.png"


def request(**fields: Any) -> ImageRequest:
    return ImageRequest(**{"prompt": "A lighthouse", **fields})


def is_accepted(gateway: Gateway = Gateway.APIMART, **fields: Any) -> bool:
    try:
        check(request(**fields), gateway)
    except InvalidRequestError:
        return False
    return True


def completed(**fields: Any) -> Task:
    return Task.from_json({"id": "task_1", "status": "completed", **fields})


def default_of(parameter: str) -> Any:
    signatures = (inspect.signature(cls.__init__) for cls in ApimartImageOperator.__mro__)
    return next(
        signature.parameters[parameter].default for signature in signatures if parameter in signature.parameters
    )


@pytest.mark.parametrize("gateway", Gateway)
def test_n_for_gpt_image_2_is_1_or_10_so_each_picture_is_a_task(gateway: Gateway) -> None:
    spec = find_spec(gateway, "gpt-image-2")
    assert spec is not None

    assert is_accepted(gateway, n=10)
    assert [part.body()["n"] for part in request(n=3).split(spec.images_per_task)] == [1, 1, 1]


def test_n_out_of_range_is_clamped_or_refused_so_it_never_leaves_that_way() -> None:
    spec = find_spec(Gateway.APIMART, "gpt-image-1-official")
    assert spec is not None

    assert not is_accepted(model=spec.model, n=0)
    assert [part.n for part in request(model=spec.model, n=9).split(spec.images_per_task)] == [4, 4, 1]


@pytest.mark.parametrize(
    ("model", "ratios"), [("gpt-image-1-official", 3), ("gpt-image-2-official", 13), ("gpt-image-2", 15)]
)
def test_ratios_differ_from_page_to_page_so_each_model_has_its_own(model: str, ratios: int) -> None:
    spec = find_spec(Gateway.APIMART, model)

    assert spec is not None
    assert len([size for size in spec.sizes if size != "auto"]) == ratios


def test_ratios_of_an_unknown_model_pass_with_a_word() -> None:
    unheard = request(model="gemini-3-pro-image-preview", size="1:8")

    check(unheard, Gateway.APIMART)
    assert "unchecked" in notices(unheard, Gateway.APIMART)[0]


def test_auto_size_means_1_to_1_or_the_servers_choice_so_it_is_sent_as_it_is_and_nothing_is_predicted() -> None:
    assert request(size="auto").body()["size"] == "auto"
    assert "size" not in request().body()


@pytest.mark.parametrize(
    ("model", "accepted"),
    [("gpt-image-2", True), ("gpt-image-2-official", True), ("gpt-image-1.5-official", False)],
)
def test_pixel_strings_are_accepted_by_the_newer_models_only(model: str, *, accepted: bool) -> None:
    assert is_accepted(model=model, size="1024x1536") is accepted


@pytest.mark.parametrize(("model", "accepted"), [("gpt-image-2", True), ("gpt-image-2-official", False)])
def test_4k_has_six_ratios_or_fifteen_depending_on_the_model(model: str, *, accepted: bool) -> None:
    assert is_accepted(model=model, size="16:9", resolution="4k")
    assert is_accepted(model=model, size="1:1", resolution="4k") is accepted


@pytest.mark.parametrize(
    ("model", "most"), [("gpt-image-1-official", 15), ("gpt-image-2", 16), ("gpt-image-2-official", 16)]
)
def test_image_urls_maximum_is_15_or_16_depending_on_the_model(model: str, most: int) -> None:
    assert is_accepted(model=model, image_urls=(URL,) * most)
    assert not is_accepted(model=model, image_urls=(URL,) * (most + 1))


@pytest.mark.parametrize(("model", "accepted"), [("gpt-image-2", True), ("gpt-image-1.5-official", False)])
def test_reference_format_is_a_data_uri_only_where_the_models_page_says_so(model: str, *, accepted: bool) -> None:
    assert is_accepted(model=model, image_urls=(DATA_URI,)) is accepted


def test_image_urls_items_are_strings_and_never_objects() -> None:
    assert request(image_urls=(URL,)).body()["image_urls"] == [URL]
    assert not is_accepted(image_urls=({"url": URL},))


@pytest.mark.parametrize("word", ["submitted", "pending", "queued", "processing", "in_progress", "something new"])
def test_status_names_that_are_not_final_mean_still_running(word: str) -> None:
    assert Task.from_json({"id": "task_1", "status": word}).state is TaskState.RUNNING


@pytest.mark.parametrize("url", [URL, [URL]], ids=["string", "list"])
def test_url_type_is_a_string_or_a_list(url: Any) -> None:
    assert [image.url for image in completed(result={"images": [{"url": url}]}).images] == [URL]


def test_expiry_is_24_or_72_hours_so_the_answer_counts_and_else_the_shorter() -> None:
    said = completed(completed=1000, result={"images": [{"url": URL, "expires_at": 1000 + 72 * 3600}]})
    unsaid = completed(completed=1000, result={"images": [{"url": URL}]})

    assert said.images[0].expires_at == 1000 + 72 * 3600
    assert unsaid.images[0].expires_at == 1000 + ASSUMED_URL_LIFETIME == 1000 + 24 * 3600


@pytest.mark.parametrize("host", ["upload.apimart.ai", "getapib.org", "upload.aiuxu.com", "cdn.of.next.year"])
def test_result_host_may_be_any(host: str) -> None:
    task = completed(result={"images": [{"url": [f"https://{host}/f/image/1.png"]}]})

    assert [image.url for image in task.images] == [f"https://{host}/f/image/1.png"]


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (200, {"code": 200, "data": [{"status": "submitted", "task_id": "task_1"}]}),
        (202, {"code": 202, "data": {"id": "task_1", "object": "generation.task", "status": "queued"}}),
    ],
    ids=["list-task_id-200", "object-id-202"],
)
def test_submit_shape_is_a_list_or_an_object(status: int, payload: Any) -> None:
    assert Submission.from_response(answer(payload, status)).tasks[0].task_id == "task_1"


def test_submit_shape_may_be_the_picture_itself() -> None:
    (task,) = Submission.from_response(answer({"created": 1000, "data": [{"url": URL}]})).tasks

    assert task.state is TaskState.COMPLETED


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/generations/async"])
def test_apimaster_endpoint_is_either_path(exchange: Exchange, path: str) -> None:
    exchange.settings = replace(exchange.settings, gateway=Gateway.APIMASTER, submit_path=path)
    script = Script(accepted())

    exchange.send(endpoints.submit(exchange.settings, request()), script)

    assert script.requests[0].url.path == path


def test_cost_fields_that_are_absent_are_unknown_and_not_zero() -> None:
    assert (completed().cost, completed().credits_cost) == (None, None)
    assert completed(cost=0.05279).cost == 0.05279


@pytest.mark.parametrize(
    ("status", "message", "cls"),
    [
        (403, "Access forbidden", PermissionDeniedError),
        (502, "Bad gateway", ServerError),
        (503, "Upstream busy", BusyError),
        (500, "Internal server error", ServerError),
        (500, "build_request_failed: invalid size", RequestRejectedError),
    ],
)
def test_error_set_differs_so_status_and_text_decide(status: int, message: str, cls: type[Exception]) -> None:
    assert (
        type(response_error(answer({"error": {"code": status, "message": message, "type": "apimart_error"}}, status)))
        is cls
    )


@pytest.mark.parametrize("status", [402, 403])
def test_balance_error_is_402_or_403_and_never_sent_again(status: int) -> None:
    error = response_error(answer({"error": {"code": status, "message": "Insufficient balance"}}, status))

    assert type(error) is InsufficientBalanceError
    assert not error.retryable


def test_transparent_on_gpt_image_2_official_is_supported_or_dropped_so_it_passes_with_a_word() -> None:
    transparent = request(model="gpt-image-2-official", background="transparent")

    check(transparent, Gateway.APIMART)
    assert transparent.body()["background"] == "transparent"
    assert len(notices(transparent, Gateway.APIMART)) == 1


def test_quality_on_gpt_image_2_is_ignored_or_honoured_so_it_is_optional_with_a_word() -> None:
    assert "quality" not in request().body()
    assert len(notices(request(quality="high"), Gateway.APIMART)) == 1
    assert not is_accepted(quality="xhigh")
    assert not is_accepted(Gateway.APIMASTER, quality="high")


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: f"{spec.gateway}-{spec.model}")
def test_moderation_default_is_auto_or_low_so_it_is_sent_only_when_set(spec: Any) -> None:
    assert "moderation" not in request(model=spec.model).body()


def test_language_has_4_or_10_values_so_the_one_in_all_of_them_is_asked_for(exchange: Exchange) -> None:
    assert endpoints.get_task(exchange.settings, "task_1").params == {"language": "en"}


def test_poll_advice_is_to_wait_10_to_20_and_then_3_to_5_seconds() -> None:
    assert 10 <= default_of("initial_delay") <= 20
    assert 3 <= default_of("poll_interval") <= 5


def test_timeouts_of_3_to_10_minutes_are_advised_so_the_default_is_the_longest() -> None:
    assert default_of("timeout") >= 600


def test_upload_limit_is_10_or_20_megabytes_so_the_server_decides_up_to_the_greater(exchange: Exchange) -> None:
    script = Script(httpx.Response(200, json={"url": URL}))
    content = GIF + bytes(20 * 1024 * 1024 - len(GIF))

    exchange.send(endpoints.upload_image(exchange.settings, content), script)

    assert len(script.requests[0].content) > len(content)
    with pytest.raises(InvalidRequestError, match="at most 20971520"):
        endpoints.upload_image(exchange.settings, content + b"\0")


@pytest.mark.parametrize("model", ["gpt-image-1-official", "gpt-image-1.5-official", "gpt-image-2"])
def test_billing_and_price_docs_differ_so_nothing_is_known_without_the_price_endpoint(model: str) -> None:
    assert Price(model, {}).estimate(request(model=model)) is None
    assert Price(model, {"paid_price": 0.02}).estimate(request(model=model)) == 0.02


def test_pricing_endpoint_is_the_one_that_answers(exchange: Exchange) -> None:
    assert endpoints.get_price(exchange.settings, "gpt-image-2").path == "/api/pricing/model"


@pytest.mark.parametrize("progress", [40, "40%"])
def test_progress_is_a_number_or_a_percentage(progress: Any) -> None:
    assert completed(progress=progress).progress == 40
