"""
What a picture costs, in US dollars.

* ``gpt-image-2``: the published price per picture and resolution. APIMaster publishes none; the same is assumed.
* ``gpt-image-2-official``: the list prices of APIMart's pricing endpoint for 16:9, and for 1:1 at 1k, times the default
  group factor 0.8. Every other size costs what 16:9 costs at the same resolution, in proportion to its pixels.
* ``gpt-image-1-official`` and ``gpt-image-1.5-official``: APIMart publishes no amounts; OpenAI's own price per picture,
  times 0.8.
* ``official_fallback``: the price of ``gpt-image-2-official`` at medium quality unless one is asked for.
* Any other model: an estimate, the price of ``gpt-image-2``.

``quality="auto"`` costs what ``low`` costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.catalogue import Gateway, find_spec
from airflow_provider_apimart.simulator import pixels

if TYPE_CHECKING:
    from airflow_provider_apimart.simulator.validation import Order

__all__ = ["CREDITS_PER_DOLLAR", "picture_price", "price_sheet"]

CREDITS_PER_DOLLAR: Final = 10
_GROUP_RATIO: Final = 0.8
_GPT_IMAGE_2: Final = {"1k": 0.0085, "2k": 0.014, "4k": 0.021}
#: List price of a square 1k picture of gpt-image-2, of which 0.0085 is charged.
_GPT_IMAGE_2_LIST: Final = 0.2109
_WIDE: Final = {
    "low": {"1k": 0.0038, "2k": 0.0049, "4k": 0.0113},
    "medium": {"1k": 0.0325, "2k": 0.0426, "4k": 0.1003},
    "high": {"1k": 0.1295, "2k": 0.1697, "4k": 0.4004},
}
_SQUARE_1K: Final = {"low": 0.0061, "medium": 0.0529, "high": 0.2109}
_GPT_IMAGE_1: Final = {
    "gpt-image-1-official": {
        "1:1": {"low": 0.011, "medium": 0.042, "high": 0.167},
        "3:2": {"low": 0.016, "medium": 0.063, "high": 0.25},
        "2:3": {"low": 0.016, "medium": 0.063, "high": 0.25},
    },
    "gpt-image-1.5-official": {
        "1:1": {"low": 0.009, "medium": 0.034, "high": 0.133},
        "3:2": {"low": 0.013, "medium": 0.05, "high": 0.2},
        "2:3": {"low": 0.013, "medium": 0.05, "high": 0.2},
    },
}
_QUALITIES: Final = ("auto", "low", "medium", "high")


def picture_price(order: Order) -> float:
    """Return what one delivered picture of an order costs."""
    if order.model in _GPT_IMAGE_1 and order.gateway is Gateway.APIMART:
        price = _GPT_IMAGE_1[order.model][order.ratio or "1:1"][_priced_quality(order.quality)] * _GROUP_RATIO
    elif order.model == "gpt-image-2-official":
        price = _official_price_of(order, order.quality)
    elif order.official_fallback:
        price = _official_price_of(order, order.quality or "medium")
    else:
        price = _GPT_IMAGE_2[order.resolution]
    return round(price, 6)


def price_sheet(model: str) -> dict[str, Any]:
    """Return the answer of the public pricing endpoint; for an unknown model the vendor's empty template."""
    if model == "gpt-image-2":
        factor = _GPT_IMAGE_2["1k"] / _GPT_IMAGE_2_LIST
        paid = {resolution.upper(): price for resolution, price in _GPT_IMAGE_2.items()}
        prices: dict[str, dict[str, Any]] = {
            "resolution_prices": {resolution: round(price / factor, 6) for resolution, price in paid.items()},
            "resolution_paid_prices": paid,
        }
    elif model == "gpt-image-2-official" or model in _GPT_IMAGE_1:
        factor = _GROUP_RATIO
        listed = _official_sheet() if model == "gpt-image-2-official" else _by_quality(_GPT_IMAGE_1[model])
        prices = {
            "size_quality_prices": listed,
            "size_quality_paid_prices": {
                size: {quality: round(price * factor, 6) for quality, price in row.items()}
                for size, row in listed.items()
            },
        }
    else:
        factor, prices = 1.0, {}
    spec = find_spec(Gateway.APIMART, model)
    return {
        "model_name": model,
        "billing_type": "per_image" if spec else "",
        "model_price": _GPT_IMAGE_2_LIST if model == "gpt-image-2" else 0,
        "paid_price": _GPT_IMAGE_2["1k"] if model == "gpt-image-2" else 0,
        "discount_rate": 1,
        "resolution_enabled": bool(spec and spec.resolutions),
        "supported_sizes": list(spec.sizes) if spec else [],
        "supported_qualities": list(spec.qualities) if spec else [],
        "resolution_prices": {},
        "resolution_paid_prices": {},
        "size_quality_prices": {},
        "size_quality_paid_prices": {},
        "pricing": {
            "group": "default",
            "group_ratio": _GROUP_RATIO,
            "discount_rate": 1,
            "price_factor": factor,
            "unit": "image",
        },
        **prices,
    }


def _priced_quality(quality: str | None) -> str:
    return quality if quality in _WIDE else "low"


def _official_price_of(order: Order, quality: str | None) -> float:
    listed = _official_list_price(order.width, order.height, order.resolution, _priced_quality(quality))
    return listed * _GROUP_RATIO


def _official_list_price(width: int, height: int, resolution: str, quality: str) -> float:
    if (width, height) == (1024, 1024):
        return _SQUARE_1K[quality]
    wide_width, wide_height = pixels.GPT_IMAGE_2_OFFICIAL["16:9"][resolution]
    return _WIDE[quality][resolution] * (width * height) / (wide_width * wide_height)


def _official_sheet() -> dict[str, dict[str, float]]:
    return _by_quality(
        {
            size if resolution == "1k" else f"{size}@{resolution}": {
                quality: round(_official_list_price(*cell, resolution, quality), 6) for quality in _WIDE
            }
            for size, row in pixels.GPT_IMAGE_2_OFFICIAL.items()
            for resolution, cell in row.items()
        }
    )


def _by_quality(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the rows with the quality ``auto``, under which the gateway lists a request that names none."""
    return {size: {quality: row[_priced_quality(quality)] for quality in _QUALITIES} for size, row in rows.items()}
