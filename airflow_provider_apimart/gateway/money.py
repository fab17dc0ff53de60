"""Sums of money that may be partly unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["total"]


def total(figures: Iterable[float | None]) -> float | None:
    """Return the sum, or ``None`` when one of the figures is not known: unknown is never 0."""
    listed = list(figures)
    known = [figure for figure in listed if figure is not None]
    return round(sum(known), 10) if known and len(known) == len(listed) else None
