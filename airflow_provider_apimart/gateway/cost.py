"""
What a request will probably cost.

The gateways' public price endpoint answers with the fields that apply to the model's way of billing, and with an empty
template for a model that it does not know. An estimate serves a guard before the purchase; what was charged is in
the task.

Sums and shares of money that may be unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.response import Response

__all__ = ["Price", "share", "total"]


@dataclass(frozen=True, slots=True)
class Price:
    """
    A model's price table.

    :param model: the model's name.
    :param table: the gateway's own fields: ``size_quality_paid_prices``, ``resolution_paid_prices``, ``paid_price`` and
        the list prices beside them, in US dollars, and ``pricing.price_factor`` between the two.
    """

    model: str
    table: Mapping[str, Any]

    @classmethod
    def from_answer(cls, answer: Response, model: str) -> Price:
        """Read the answer of the price endpoint."""
        payload = answer.payload
        data = payload.get("data", payload) if isinstance(payload, dict) else {}
        return cls(model, data if isinstance(data, dict) else {})

    def estimate(self, request: ImageRequest) -> float | None:
        """
        Return US dollars for all ``n`` pictures of the request, or ``None`` where the table does not tell.

        The dearest applicable figure counts for a field that is not set, because the gateway chooses it.
        """
        each = self._by_size_and_quality(request)
        if each is None:
            each = self._by_resolution(request)
        if each is None:
            each = _positive(self.table.get("paid_price")) or self._discounted(self.table.get("model_price"))
        return None if each is None else round(each * request.n, 6)

    def _by_size_and_quality(self, request: ImageRequest) -> float | None:
        size, resolution = request.size or "1:1", (request.resolution or "1k").lower()
        key = size if resolution == "1k" else f"{size}@{resolution}"
        paid = _mapping(_mapping(self.table.get("size_quality_paid_prices")).get(key))
        listed = _mapping(_mapping(self.table.get("size_quality_prices")).get(key))
        quality = request.quality or "auto"
        for prices, discounted in ((paid, False), (listed, True)):
            # Where the quality has no price of its own, the dearest one is the safe guess.
            figure = prices.get(quality, max(filter(None, map(_positive, prices.values())), default=None))
            if figure is not None:
                return self._discounted(figure) if discounted else _positive(figure)
        return None

    def _by_resolution(self, request: ImageRequest) -> float | None:
        resolution = request.resolution or "1k"
        for name, discounted in (("resolution_paid_prices", False), ("resolution_prices", True)):
            prices = {str(key).lower(): value for key, value in _mapping(self.table.get(name)).items()}
            figure = prices.get(resolution.lower())
            if figure is not None:
                return self._discounted(figure) if discounted else _positive(figure)
        return None

    def _discounted(self, figure: Any) -> float | None:
        price = _positive(figure)
        factor = _positive(_mapping(self.table.get("pricing")).get("price_factor"))
        return None if price is None else price * (factor or 1.0)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _positive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return None
    return value


def total(figures: Iterable[float | None]) -> float | None:
    """Return the sum, or ``None`` when one of the figures is not known: unknown is never 0."""
    listed = list(figures)
    known = [figure for figure in listed if figure is not None]
    return round(sum(known), 10) if known and len(known) == len(listed) else None


def share(cost: float | None, pictures: int) -> float | None:
    """
    Return what one of several pictures has cost, or ``None`` where that is not known.

    :param cost: of all of them, as :func:`total` gives it again from the shares.
    :param pictures: how many of them there are.
    """
    return None if cost is None or not pictures else cost / pictures
