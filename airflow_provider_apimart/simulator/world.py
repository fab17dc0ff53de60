"""Everything that one running simulator consists of, apart from its server."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from pyrate_limiter import InMemoryBucket, Rate, RateItem

from airflow_provider_apimart.simulator.answers import Refusal, retry_after_header
from airflow_provider_apimart.simulator.connections import Connections
from airflow_provider_apimart.simulator.faults import Faults
from airflow_provider_apimart.simulator.statistics import Statistics
from airflow_provider_apimart.simulator.store import Store

if TYPE_CHECKING:
    from airflow_provider_apimart.simulator.settings import SimulatorSettings

__all__ = ["World"]


class World:
    """
    The state of one simulator. Only the event loop that serves it may touch it.

    :param settings: how it behaves.
    :raises ValueError: a fault rule in the settings that cannot be understood.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.faults = Faults(settings.faults, settings.seed)
        self.connections = Connections()
        self._stopping = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Return to how it was at the start."""
        self.faults.reset()
        self.connections.used = 0
        self.store = Store(self.settings)
        self.statistics = Statistics()
        self._submits = _rate_limit(self.settings.requests_per_second)

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self.settings.clock()

    async def pause(self, seconds: float) -> None:
        """Wait, though not beyond the end of the server."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def stop(self) -> None:
        """End all pauses, now and later."""
        self._stopping.set()

    def limit_submits(self) -> None:
        """
        Count a submit against the rate limit.

        :raises Refusal: 429 where it is exceeded.
        """
        if self._submits is None:
            return
        now = self.now()
        submit = RateItem("submit", int(now * 1000))
        self._submits.leak(submit.timestamp)
        if not self._submits.put(submit):
            milliseconds = cast("int", self._submits.waiting(submit))  # A bucket in memory never answers later.
            wait = math.ceil(milliseconds / 1000)
            headers = retry_after_header(wait, form=self.settings.retry_after, now=now)
            raise Refusal.documented(429, headers=headers)


def _rate_limit(requests_per_second: float | None) -> InMemoryBucket | None:
    if requests_per_second is None:
        return None
    limit = max(1, math.floor(requests_per_second))
    return InMemoryBucket([Rate(limit, int(1000 * limit / requests_per_second))])
