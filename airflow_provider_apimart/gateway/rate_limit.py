"""The client's own limit on paid requests."""

from __future__ import annotations

import math

from pyrate_limiter import Duration, Limiter, Rate

__all__ = ["submit_limiter"]


def submit_limiter(requests_per_second: float | None) -> Limiter | None:
    """
    Return a limiter for this process, or ``None`` for no limit.

    :param requests_per_second: may be below 1: ``0.5`` is one request every two seconds.
    """
    if requests_per_second is None:
        return None
    if requests_per_second >= 1:
        return Limiter(Rate(math.floor(requests_per_second), Duration.SECOND))
    return Limiter(Rate(1, math.ceil(int(Duration.SECOND) / requests_per_second)))
