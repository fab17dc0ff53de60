"""What tasks report of money in their events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["TODAY", "days_ago", "model", "reported"]

TODAY = datetime.now(UTC).date()


def days_ago(days: float) -> datetime:
    """Return a moment so many days before the noon of today, or before now where that is earlier."""
    noon = datetime.combine(TODAY, datetime.min.time(), UTC) + timedelta(hours=12)
    return min(noon, datetime.now(UTC)) - timedelta(days)


def model(cost: float | None, *, name: str = "gpt-image-2", pictures: int = 1, unknown: int = 0) -> dict[str, Any]:
    """Return what was bought of one model."""
    return {"model": name, "delivered": pictures, "cost": cost, "unknown": unknown}


def reported(name: str, *models: dict[str, Any], at: datetime | None = None, **extra: Any) -> dict[str, Any]:
    """
    Return what an event says of a purchase.

    :param name: stands for what was bought.
    :param at: when; today unless given.
    """
    is_known = all(it["cost"] is not None and not it["unknown"] for it in models)
    return {
        "schema_version": 1,
        "kind": "purchase",
        "purchase": name,
        "connection": "apimart_default",
        "gateway": "apimart",
        "bought_at": (at or days_ago(0)).timestamp(),
        "task_ids": [f"task_{name}"],
        "delivered": sum(it["delivered"] for it in models),
        "cost": sum(it["cost"] for it in models) if is_known else None,
        "credits_cost": None,
        "currency": "USD",
        "models": list(models),
        **extra,
    }
