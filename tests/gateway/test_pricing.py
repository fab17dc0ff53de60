"""What a request will probably cost."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from gateway.exchange import answer
from gateway.strategies import gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.catalogue import Gateway, find_spec
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.validation import problems_at
from airflow_provider_apimart.simulator.pricing import picture_price, price_sheet
from airflow_provider_apimart.simulator.validation import read_order

URL = "https://cdn.example/reference.png"
TABLE_FIELDS = (
    "billing_type",
    "input_image_first_free",
    "input_image_paid_price",
    "model_price",
    "paid_price",
    "pricing",
    "resolution_paid_prices",
    "resolution_prices",
    "size_quality_paid_prices",
    "size_quality_prices",
)
#: The two kinds of tables, with the figures that clients have recorded from the price endpoint.
BY_RESOLUTION = {
    "resolution_prices": {"1K": 0.2109, "2K": 0.3, "4K": 0.4},
    "resolution_paid_prices": {"1K": 0.0085, "2K": 0.014, "4K": 0.021},
}
BY_SIZE_AND_QUALITY = {
    "pricing": {"price_factor": 0.8},
    "size_quality_prices": {
        "1:1": {"auto": 0.0061, "low": 0.0061, "medium": 0.0529, "high": 0.2109},
        "16:9": {"low": 0.0038, "medium": 0.0325, "high": 0.1295},
        "16:9@2k": {"low": 0.0049, "medium": 0.0426, "high": 0.1697},
    },
}


@pytest.mark.parametrize(
    ("table", "fields", "dollars"),
    [
        pytest.param(BY_RESOLUTION, {}, 0.0085, id="resolution-default-1k"),
        pytest.param(BY_RESOLUTION, {"resolution": "2k"}, 0.014, id="resolution"),
        pytest.param(BY_RESOLUTION, {"resolution": "4k", "n": 3}, 0.063, id="resolution-times-n"),
        pytest.param(BY_RESOLUTION, {"resolution": "8k"}, None, id="resolution-unknown"),
        pytest.param({"resolution_prices": {"1K": 0.01}}, {}, 0.01, id="resolution-list-price-without-a-factor"),
        pytest.param(
            {"resolution_prices": {"1K": 0.01}, "pricing": {"price_factor": 0.8}}, {}, 0.008, id="resolution-list-price"
        ),
        pytest.param(BY_SIZE_AND_QUALITY, {}, 0.00488, id="size-and-quality-auto"),
        pytest.param(
            BY_SIZE_AND_QUALITY, {"size": "16:9", "resolution": "2k", "quality": "low"}, 0.00392, id="size-and-quality"
        ),
        pytest.param(BY_SIZE_AND_QUALITY, {"size": "16:9"}, 0.1036, id="dearest-quality-where-auto-has-no-price"),
        pytest.param(BY_SIZE_AND_QUALITY, {"size": "3:2"}, None, id="size-without-a-price"),
        pytest.param(
            {**BY_SIZE_AND_QUALITY, "size_quality_paid_prices": {"1:1": {"low": 0.004}}},
            {"quality": "low"},
            0.004,
            id="paid-price-before-list-price",
        ),
        pytest.param({"paid_price": 0.02, "model_price": 0.03}, {"n": 2}, 0.04, id="flat"),
        pytest.param({"model_price": 0.03, "pricing": {"price_factor": 0.5}}, {}, 0.015, id="flat-list-price"),
        pytest.param({}, {}, None, id="empty-template"),
        pytest.param({"model_price": 0, "paid_price": 0}, {}, None, id="zero-is-unknown"),
        pytest.param({"paid_price": "free"}, {}, None, id="text"),
        pytest.param({"paid_price": True}, {}, None, id="boolean"),
        pytest.param({"paid_price": float("nan")}, {}, None, id="not-a-number"),
        pytest.param({"paid_price": float("inf")}, {}, None, id="infinite"),
        pytest.param({"resolution_paid_prices": {"1k": None}, "paid_price": 0.02}, {}, 0.02, id="gap-in-the-table"),
        pytest.param({"size_quality_paid_prices": {"1:1": {}}, "paid_price": 0.02}, {}, 0.02, id="empty-row"),
        pytest.param({"size_quality_paid_prices": "soon", "resolution_paid_prices": 1}, {}, None, id="nonsense"),
        pytest.param({"resolution_paid_prices": {"1K": "0.0085"}}, {"n": 2}, 0.017, id="resolution-as-text"),
        pytest.param(
            {"size_quality_prices": {"1:1": {"low": "0.01"}}, "pricing": {"price_factor": "0.8"}},
            {"quality": "low"},
            0.008,
            id="size-and-factor-as-text",
        ),
        pytest.param({"paid_price": " 0.02 "}, {}, 0.02, id="flat-as-text"),
        pytest.param({**BY_RESOLUTION, "paid_price": 0.0085}, {"resolution": "8k"}, None, id="not-the-price-of-1k"),
        pytest.param({"size_quality_paid_prices": {"1:1": 0.01}}, {"quality": "high"}, 0.01, id="one-price-for-a-size"),
        pytest.param({"paid_price": 0.02, "billing_type": "tiered_token"}, {}, None, id="billed-by-token"),
        pytest.param({"paid_price": 0.02, "billing_type": "per_second"}, {}, None, id="billed-by-second"),
        pytest.param({"paid_price": 0.02, "action_paid_prices": {"upscale": 1}}, {}, None, id="billed-by-action"),
    ],
)
def test_the_estimate_for_all_pictures_of_a_request(
    table: dict[str, Any], fields: dict[str, Any], dollars: float | None
) -> None:
    price = Price.from_response(answer({"success": True, "data": table}), "gpt-image-2")

    assert price.estimate(ImageRequest(prompt="A lighthouse", **fields)) == dollars


@pytest.mark.parametrize(
    ("payload", "table"),
    [
        ({"success": True, "data": {"paid_price": 1}}, {"paid_price": 1}),
        ({"paid_price": 1}, {"paid_price": 1}),
        ({"data": None}, {}),
        ({"data": "soon"}, {}),
        ({"data": '{"paid_price": 1}'}, {"paid_price": 1}),
        ({"data": [{"paid_price": 1}]}, {"paid_price": 1}),
        (
            {"data": [None, {"model_name": "a", "paid_price": 2}, {"model_name": "gpt-image-2", "paid_price": 1}]},
            {"model_name": "gpt-image-2", "paid_price": 1},
        ),
        ({"data": [{"model_name": "a", "paid_price": 2}, {"model_name": "b", "paid_price": 1}]}, {}),
        ([], {}),
        (None, {}),
        ("soon", {}),
        (0.02, {}),
    ],
)
def test_a_price_table_is_read_with_or_without_an_envelope(payload: Any, table: dict[str, Any]) -> None:
    assert Price.from_response(answer(payload), "gpt-image-2") == Price("gpt-image-2", table)


@pytest.mark.parametrize(
    ("fields", "dollars"),
    [
        pytest.param({"extra_body": {"resolution": "4k"}}, 0.021, id="resolution in extra_body"),
        pytest.param({"extra_body": {"resolution": "4K"}}, 0.021, id="resolution in upper case"),
        pytest.param({"resolution": "2K"}, 0.014, id="parameter in upper case"),
        pytest.param({"extra_body": {"size": "4K"}}, 0.021, id="resolution as a size"),
        pytest.param({"size": "3840x2160"}, 0.021, id="4k as pixels"),
        pytest.param({"extra_body": {"size": "2160X3840"}}, 0.021, id="4k as pixels in extra_body"),
        pytest.param({"size": "3840x1280", "resolution": "1k"}, 0.021, id="the dearer of pixels and resolution"),
        pytest.param({"size": "1024x1024", "resolution": "4k"}, 0.021, id="the dearer of resolution and pixels"),
        pytest.param({"size": "2560x2048"}, 0.021, id="pixels of 2k or 4k"),
        pytest.param({"size": "2048x1152"}, 0.014, id="2k as pixels"),
        pytest.param({"size": "2048x1024"}, 0.014, id="pixels of 1k or 2k"),
        pytest.param({"size": "1254x1254"}, 0.0085, id="1k as pixels"),
        pytest.param({"size": "7680x4320"}, None, id="pixels beyond the table"),
        pytest.param({"official_fallback": True}, None, id="official channel"),
        pytest.param({"extra_body": {"official_fallback": True}}, None, id="official channel in extra_body"),
        pytest.param({"extra_body": {"official_fallback": "true"}}, None, id="official channel as text"),
        pytest.param({"official_fallback": False}, 0.0085, id="no official channel"),
        pytest.param({"extra_body": {"nsfw_check": True}}, None, id="priced check"),
        pytest.param({"extra_body": {"nsfw_check": False}}, 0.0085, id="no priced check"),
        pytest.param({"extra_body": {"version": "sunburst"}}, None, id="unknown field"),
        pytest.param({"extra_body": {"webhook": "https://a.example", "seed": 0}}, 0.0085, id="fields without a price"),
    ],
)
def test_the_submitted_body_decides_the_price(fields: dict[str, Any], dollars: float | None) -> None:
    assert Price("gpt-image-2", BY_RESOLUTION).estimate(ImageRequest(prompt="A lighthouse", **fields)) == dollars


@pytest.mark.parametrize(
    ("fields", "dollars"),
    [
        pytest.param({"size": "auto", "quality": "low"}, 0.00488, id="the gateway chooses the size"),
        pytest.param({"image_urls": (URL,), "quality": "high"}, 0.16872, id="the size follows the reference image"),
        pytest.param({"size": "1536x864", "quality": "high"}, 0.16872, id="pixels of any ratio"),
        pytest.param({"size": "2048x1152", "quality": "HIGH"}, 0.13576, id="2k as pixels"),
        pytest.param({"size": "16:9", "extra_body": {"resolution": "2K", "quality": "high"}}, 0.13576, id="extra body"),
        pytest.param({"size": "16:9", "quality": "ultra"}, 0.1036, id="a quality without a price"),
        pytest.param({"size": "3840x2160"}, None, id="4k without a price"),
        pytest.param({"size": "1:1", "resolution": "2k"}, None, id="a pair without a price"),
    ],
)
def test_the_dearest_price_counts_where_the_gateway_chooses(fields: dict[str, Any], dollars: float | None) -> None:
    price = Price("gpt-image-2-official", BY_SIZE_AND_QUALITY)

    assert price.estimate(ImageRequest(prompt="A lighthouse", **fields)) == dollars


@pytest.mark.parametrize(
    ("surcharge", "references", "dollars"),
    [
        ({}, 2, 0.02),
        ({"input_image_paid_price": 0}, 2, 0.02),
        ({"input_image_paid_price": 0.01}, 0, 0.02),
        ({"input_image_paid_price": 0.01}, 3, 0.05),
        ({"input_image_paid_price": "0.01", "input_image_first_free": True}, 3, 0.04),
        ({"input_image_paid_price": 0.01, "input_image_first_free": "2"}, 3, 0.03),
        ({"input_image_paid_price": 0.01, "input_image_first_free": 5}, 3, 0.02),
        ({"input_image_paid_prices": {"1K": 0.01, "4K": 0.02}}, 2, 0.06),
        ({"input_image_paid_prices": [0.01, "0.02"]}, 1, 0.04),
        ({"input_image_prices": {"1K": 0.04}, "pricing": {"price_factor": 0.5}}, 1, 0.04),
        ({"input_image_paid_price": "on request"}, 1, None),
        ({"input_image_paid_prices": {"1K": None}}, 1, None),
    ],
    ids=str,
)
def test_reference_images_with_a_price_are_counted(
    surcharge: dict[str, Any], references: int, dollars: float | None
) -> None:
    request = ImageRequest(prompt="A lighthouse", image_urls=(URL,) * references)

    assert Price("gpt-image-2", {"paid_price": 0.02, **surcharge}).estimate(request) == dollars
    in_extra_body = ImageRequest(prompt="A lighthouse", n=2, extra_body={"image_urls": [URL] * references})
    doubled = None if dollars is None else round(dollars * 2, 6)
    assert Price("gpt-image-2", {"paid_price": 0.02, **surcharge}).estimate(in_extra_body) == doubled


@given(st.dictionaries(st.sampled_from(TABLE_FIELDS), gateway_json | st.dictionaries(st.just("1:1"), gateway_json)))
def test_any_price_table_can_be_read(table: dict[str, Any]) -> None:
    request = ImageRequest(prompt="A lighthouse", image_urls=(URL,))

    estimate = Price.from_response(answer({"data": table}), "gpt-image-2").estimate(request)

    assert estimate is None or estimate > 0


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2-official", "gpt-image-1.5-official"])
def test_an_estimate_is_never_lower_than_the_charge(model: str) -> None:
    spec = find_spec(Gateway.APIMART, model)
    assert spec is not None
    price = Price(model, price_sheet(model))
    pixels = ["1024x1024", "1254x1254", "2048x1024", "2048x1152", "2560x2048", "3840x1280", "3840x2160", "512x2048"]
    estimated = 0
    for size, resolution, quality in product(
        (None, *spec.sizes, *(pixels if spec.pixel_strings else ())),
        (None, *spec.resolutions),
        (None, *spec.qualities),
    ):
        request = ImageRequest(prompt="A lighthouse", model=model, size=size, resolution=resolution, quality=quality)
        if problems_at(request, Gateway.APIMART):
            continue
        estimate = price.estimate(request)
        assert estimate is not None
        charged = picture_price(read_order(Gateway.APIMART, request.body()))
        assert estimate >= charged - 1e-5, request  # The sheet's own prices are rounded.
        estimated += 1
    assert estimated >= 20
