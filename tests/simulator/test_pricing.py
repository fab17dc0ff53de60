from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from simulator.clients import fetch

from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.simulator import pixels
from airflow_provider_apimart.simulator.pricing import picture_price, price_sheet
from airflow_provider_apimart.simulator.validation import read_order

if TYPE_CHECKING:
    import httpx
    from simulator.fixtures import Finish

    from airflow_provider_apimart.simulator import Simulator


def price(model: str = "gpt-image-2", **fields: Any) -> float:
    return picture_price(read_order(Gateway.APIMART, {"model": model, "prompt": "a red fox", **fields}))


@pytest.mark.parametrize(("resolution", "dollars"), [("1k", 0.0085), ("2k", 0.014), ("4k", 0.021)])
def test_gpt_image_2_costs_by_resolution(resolution: str, dollars: float) -> None:
    assert price(resolution=resolution) == dollars


@pytest.mark.parametrize(
    ("size", "resolution", "quality", "listed"),
    [
        ("16:9", "1k", "low", 0.0038),
        ("16:9", "2k", "medium", 0.0426),
        ("16:9", "4k", "high", 0.4004),
        ("16:9", "1k", "auto", 0.0038),
        ("1:1", "1k", "low", 0.0061),
        ("1:1", "1k", "high", 0.2109),
        ("3840x2160", "1k", "high", 0.4004),
    ],
)
def test_gpt_image_2_official_costs_the_published_list_price_times_the_group_factor(
    size: str, resolution: str, quality: str, listed: float
) -> None:
    paid = price("gpt-image-2-official", size=size, resolution=resolution, quality=quality)

    assert paid == pytest.approx(listed * 0.8, abs=1e-6)


def test_an_unpublished_size_costs_in_proportion_to_its_pixels() -> None:
    wide = price("gpt-image-2-official", size="16:9", resolution="2k", quality="high")
    square = price("gpt-image-2-official", size="1:1", resolution="2k", quality="high")

    assert square / wide == pytest.approx((2048 * 2048) / (2048 * 1152), rel=1e-3)


def test_better_quality_costs_more_for_every_size_of_the_official_models() -> None:
    for model, table in (
        ("gpt-image-2-official", pixels.GPT_IMAGE_2_OFFICIAL),
        ("gpt-image-1-official", pixels.GPT_IMAGE_1),
    ):
        for size, row in table.items():
            for resolution in row:
                low, medium, high = (
                    price(model, size=size, resolution=resolution, quality=quality)
                    for quality in ("low", "medium", "high")
                )
                assert 0 < low < medium < high


def test_the_official_fallback_costs_more() -> None:
    assert price(official_fallback=True) > price(official_fallback=False) == price()


def test_the_price_sheet_agrees_with_what_is_charged(
    simulator: Simulator, client: httpx.Client, finish: Finish
) -> None:
    sheet = client.get(f"{simulator.url}/api/pricing/model", params={"model": "gpt-image-2-official"}).json()["data"]
    listed = sheet["size_quality_prices"]["16:9@2k"]["low"]
    task = finish(model="gpt-image-2-official", size="16:9", resolution="2k", quality="low")

    assert listed == pytest.approx(0.0049)
    assert task["cost"] == pytest.approx(listed * sheet["pricing"]["price_factor"])
    assert task["cost"] == pytest.approx(sheet["size_quality_paid_prices"]["16:9@2k"]["low"])
    assert "1:1@4k" not in sheet["size_quality_prices"]


def test_the_price_sheet_of_gpt_image_2_is_by_resolution() -> None:
    sheet = price_sheet("gpt-image-2")

    assert sheet["resolution_paid_prices"] == {"1K": 0.0085, "2K": 0.014, "4K": 0.021}
    assert sheet["resolution_prices"]["1K"] == pytest.approx(0.2109)
    assert sheet["resolution_enabled"]


def test_the_price_sheet_of_an_unknown_model_is_an_empty_template(simulator: Simulator) -> None:
    answer = fetch(f"{simulator.url}/api/pricing/model?model=unheard-of")

    assert answer.status_code == 200
    assert answer.json()["success"]
    assert answer.json()["data"]["size_quality_prices"] == {}
    assert answer.json()["data"]["supported_sizes"] == []
