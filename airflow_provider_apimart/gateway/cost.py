"""
Estimates of what a request will cost, and sums and shares of money that may be unknown.

The gateways' public price endpoint responds with the fields that apply to the model's way of billing, and with an empty
template for a model that it does not know. An estimate serves a guard before the purchase, so it is never lower than
the price: where the table leaves something open, the dearest figure counts, and where it does not tell at all, the
price is unknown. The task says what was charged.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.parsing import read_json_text, read_number
from airflow_provider_apimart.gateway.request import REQUEST_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.response import Response

__all__ = ["Price", "share", "total"]

#: Fields of ``extra_body`` that change no price. Any other, such as ``nsfw_check``, may.
_FREE_EXTRAS: Final = frozenset({"language", "response_format", "seed", "style", "user", "webhook"})
_PIXELS: Final = re.compile(r"(\d{1,5})\s*[x*\u00d7]\s*(\d{1,5})")
#: Resolution, longest side and number of pixels up to which a pixel string surely has it. The vendors' tables overlap:
#: 2k reaches 5.2 million pixels and 4k begins at 4.9 million. Where it is not sure, the dearer resolution counts.
_TIERS: Final = (("1k", 2016, 1_600_000), ("2k", 3072, 2048 * 2048), ("4k", 3840, 3840 * 2160))


@dataclass(frozen=True, slots=True)
class Price:
    """
    A model's price table.

    :param table: the gateway's own fields: ``size_quality_paid_prices``, ``resolution_paid_prices``, ``paid_price`` and
        the list prices beside them, in US dollars, and ``pricing.price_factor`` between the two.
    """

    model: str
    table: Mapping[str, Any]

    @classmethod
    def from_response(cls, response: Response, model: str) -> Price:
        """Read a response of the price endpoint; a table that cannot be read is empty, and prices nothing."""
        return cls(model, _table(response.payload, model))

    def estimate(self, request: ImageRequest) -> float | None:
        """
        Return US dollars for all ``n`` pictures of the request, or ``None`` where the table does not tell.

        The body that is submitted decides, with the fields of ``extra_body`` in it.
        """
        body = request.body()
        extras = {name: value for name, value in body.items() if name not in REQUEST_FIELDS}
        may_cost = [value for name, value in extras.items() if name not in _FREE_EXTRAS]
        # The official channel costs more, and no table says how much.
        if _is_on(body.get("official_fallback")) or any(map(_is_on, may_cost)):
            return None
        pictures = [self._picture(body, tier) for tier in _tiers(body)]
        known = [figure for figure in pictures if figure is not None]
        references = self._references(body)
        if references is None or len(known) < len(pictures):
            return None
        dollars = (max(known) + references) * request.n
        return round(dollars, 6) if math.isfinite(dollars) else None

    def _picture(self, body: Mapping[str, Any], tier: str) -> float | None:
        """Return the price of one picture at a resolution, without its reference images."""
        if by_size := self._figures("size_quality"):
            return _by_size(by_size, body, tier)
        if by_resolution := self._figures("resolution"):
            return max(by_resolution.get(tier, {}).values(), default=None)
        other_billing = any(self.table.get(name) for name in ("action_paid_prices", "billing_tier_paid_prices"))
        if other_billing or any(word in self._billing for word in ("token", "second")):
            return None
        listed = _positive(self.table.get("model_price"))
        return _positive(self.table.get("paid_price")) or (listed and listed * self._discount)

    def _figures(self, kind: str) -> dict[str, dict[str, float]]:
        """Return a table of prices by size or resolution and by quality: as paid, or else as listed and discounted."""
        figures: dict[str, dict[str, float]] = {}
        for name, factor in ((f"{kind}_prices", self._discount), (f"{kind}_paid_prices", 1.0)):
            for key, row in _mapping(self.table.get(name)).items():
                for quality, value in (row if isinstance(row, dict) else {"": row}).items():
                    if (price := _positive(value)) is not None:
                        figures.setdefault(str(key).strip().lower(), {})[str(quality).lower()] = price * factor
        return figures

    def _references(self, body: Mapping[str, Any]) -> float | None:
        """Return the price of the reference images of one picture."""
        urls = body.get("image_urls")
        count = (len(urls) if isinstance(urls, list | tuple) else int(bool(urls))) + bool(body.get("mask_url"))
        if not count:
            return 0.0
        free = self.table.get("input_image_first_free")
        count -= 1 if str(free).strip().lower() == "true" else int(_positive(free) or 0)
        for name, factor in (("input_image_paid_price", 1.0), ("input_image_price", self._discount)):
            given = [self.table[key] for key in (name, f"{name}s") if _is_on(self.table.get(key))]
            if given:
                dearest = _dearest(given)
                return None if dearest is None else dearest * factor * max(0, count)
        return None if "token" in self._billing else 0.0

    @property
    def _billing(self) -> str:
        return str(self.table.get("billing_type") or "").lower()

    @property
    def _discount(self) -> float:
        return _positive(_mapping(self.table.get("pricing")).get("price_factor")) or 1.0


def _table(payload: Any, model: str) -> Mapping[str, Any]:
    """Return the price table in a payload: with or without an envelope, in a list of models, or as JSON text."""
    payload = read_json_text(payload)
    if isinstance(payload, list):
        tables = [item for item in payload if isinstance(item, dict)]
        named = [item for item in tables if item.get("model_name") == model]
        return next(iter(named or (tables if len(tables) == 1 else ())), {})
    if not isinstance(payload, dict):
        return {}
    if "data" in payload:
        return _table(payload["data"], model)
    # A cache that ignores the query answers with the table of another model.
    return payload if _word(payload.get("model_name")) in {"", _word(model)} else {}


def _tiers(body: Mapping[str, Any]) -> list[str]:
    """Return the resolutions that a body may be priced at."""
    size = _word(body.get("size"))
    tiers = [resolution] if (resolution := _word(body.get("resolution"))) else []
    if pixels := _PIXELS.fullmatch(size):
        width, height = int(pixels[1]), int(pixels[2])
        fitting = (name for name, side, area in _TIERS if max(width, height) <= side and width * height <= area)
        tiers.append(next(fitting, "more than 4k"))
    elif re.fullmatch(r"\d+k", size):
        tiers.append(size)
    return tiers or ["1k"]


def _by_size(figures: Mapping[str, Mapping[str, float]], body: Mapping[str, Any], tier: str) -> float | None:
    """Return the price of the size and quality; the dearest where the gateway chooses one of them."""
    size = _word(body.get("size")) or ("auto" if body.get("image_urls") else "1:1")
    pixels = _PIXELS.fullmatch(size)
    keys = (f"{size}@{tier}", *([size] if tier == "1k" or pixels else []), tier)
    rows = [figures[key] for key in keys if key in figures][:1]
    if not rows and (size == "auto" or pixels or size.endswith("k")):
        rows = [row for key, row in figures.items() if (key.partition("@")[2] or "1k") == tier]
    quality = _word(body.get("quality")) or "auto"
    return max((row.get(quality) or max(row.values()) for row in rows), default=None)


def _dearest(value: Any) -> float | None:
    """Return the greatest figure in a value; ``None`` where one cannot be read."""
    if isinstance(value, list | dict):
        figures = [_dearest(item) for item in (value.values() if isinstance(value, dict) else value)]
        known = [figure for figure in figures if figure is not None]
        return max(known) if known and len(known) == len(figures) else None
    return 0.0 if value == 0 and not isinstance(value, bool) else _positive(value)


def _word(value: Any) -> str:
    return "" if value is None else str(value).strip().lower()


def _is_on(value: Any) -> bool:
    return bool(value) and _word(value) not in {"false", "none"}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> float | None:
    number = read_number(value)
    return number if number is not None and number > 0 else None


def total(figures: Iterable[float | None]) -> float | None:
    """Return the sum, or ``None`` when one of the figures is not known: unknown is never 0."""
    listed = list(figures)
    known = [figure for figure in listed if figure is not None]
    return round(sum(known), 10) if known and len(known) == len(listed) else None


def share(cost: float | None, pictures: int) -> float | None:
    """
    Return the cost of one of several pictures, or ``None`` where it is not known.

    :param cost: of all pictures; :func:`total` of the shares gives it again.
    :param pictures: number of pictures.
    """
    return None if cost is None or not pictures else cost / pictures
