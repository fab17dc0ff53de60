"""What a request will probably cost."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.exchange import answer

from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.request import ImageRequest

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
    ],
)
def test_the_estimate_for_all_pictures_of_a_request(
    table: dict[str, Any], fields: dict[str, Any], dollars: float | None
) -> None:
    price = Price.from_answer(answer({"success": True, "data": table}), "gpt-image-2")

    assert price.estimate(ImageRequest(prompt="A lighthouse", **fields)) == dollars


@pytest.mark.parametrize(
    ("payload", "table"),
    [
        ({"success": True, "data": {"paid_price": 1}}, {"paid_price": 1}),
        ({"paid_price": 1}, {"paid_price": 1}),
        ({"data": None}, {}),
        ([], {}),
    ],
)
def test_a_price_table_is_read_with_or_without_an_envelope(payload: Any, table: dict[str, Any]) -> None:
    assert Price.from_answer(answer(payload), "gpt-image-2") == Price("gpt-image-2", table)
