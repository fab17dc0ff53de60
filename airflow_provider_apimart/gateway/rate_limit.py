"""The connection's own limit on paid requests."""

from __future__ import annotations

import math

from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, RateItem, SingleBucketFactory

__all__ = ["submit_limiter"]


def submit_limiter(requests_per_second: float | None) -> Limiter | None:
    """
    Return a limiter for this process, or ``None`` for no limit. It needs no closing.

    :param requests_per_second: may be below 1: ``0.5`` is one request every two seconds.
    """
    if requests_per_second is None:
        return None
    if requests_per_second >= 1:
        rate = Rate(math.floor(requests_per_second), Duration.SECOND)
    else:
        rate = Rate(1, math.ceil(int(Duration.SECOND) / requests_per_second))
    return Limiter(SingleBucketFactory(_TidyBucket([rate]), schedule_leak=False))


class _TidyBucket(InMemoryBucket):
    """Forgets what no longer counts when something is added. The library would start a thread for that."""

    def put(self, item: RateItem) -> bool:
        self.leak(item.timestamp)
        return super().put(item)
