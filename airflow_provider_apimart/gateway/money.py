"""Sums and shares of money that may be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["share", "total"]


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
