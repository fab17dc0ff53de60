"""
The limits that one client keeps: simultaneous requests, submits per second, and the pauses that a gateway asks for.

A throttle belongs to one client, and so to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import RateLimitError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from anyio import CapacityLimiter

    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["ConcurrencyLimit", "Throttle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimit:
    """
    A limit on simultaneous submits that adapts to their outcomes. Does no I/O.

    Additive increase, multiplicative decrease, as TCP does it: halved at a refusal, one more after as many accepted
    submits as there may be at once. An outcome counts only for the limit under which its submit was sent: submits that
    were sent together and are all refused halve the limit once.

    :param maximum: the connection's own limit, at least 1.
    :param accepted: submits that were accepted since ``current`` changed.
    :param reductions: how often a refusal has counted.
    """

    maximum: int
    current: int
    accepted: int = 0
    reductions: int = 0

    def after_refusal(self, sent_under: Self) -> Self:
        """Return the limit after the gateway refused a submit, sent under a limit, as one too many."""
        if sent_under.reductions != self.reductions:
            return self
        return replace(self, current=max(1, self.current // 2), accepted=0, reductions=self.reductions + 1)

    def after_acceptance(self, sent_under: Self) -> Self:
        """Return the limit after the gateway accepted a submit that was sent under a limit."""
        if sent_under.reductions != self.reductions or self.current == self.maximum:
            return self
        if self.accepted + 1 < self.current:
            return replace(self, accepted=self.accepted + 1)
        return replace(self, current=self.current + 1, accepted=0)


class Throttle:
    """
    Permits to send, for the requests of one client.

    :param settings: ``max_concurrency`` limits simultaneous requests, and simultaneous submits too, which a gateway
        may want fewer of; ``requests_per_second`` spaces the submits.
    :param clock: monotonic seconds.
    :param notify: called with a message when the gateway accepts fewer submits at once, and when it accepts all again.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        from anyio import CapacityLimiter  # noqa: PLC0415 - a DAG file that imports an operator needs no anyio

        self._clock = clock
        self._sleep = sleep
        self._notify = notify
        self._requests: CapacityLimiter = CapacityLimiter(settings.max_concurrency)
        self._submits: CapacityLimiter = CapacityLimiter(settings.max_concurrency)
        self._limit = ConcurrencyLimit(maximum=settings.max_concurrency, current=settings.max_concurrency)
        self._interval = 1 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._next_submit = float("-inf")
        self._resume_at = float("-inf")

    @property
    def concurrency(self) -> int:
        """The number of submits that may be on the wire at the same time, for now."""
        return self._limit.current

    def pause(self, seconds: float) -> None:
        """Send nothing for so long; a pause that lasts longer already stays."""
        self._resume_at = max(self._resume_at, self._clock() + seconds)

    @asynccontextmanager
    async def permit(self, *, paid: bool) -> AsyncIterator[None]:
        """Wait until a request may be sent, and count it for as long as the ``async with`` statement lasts."""
        if not paid:
            async with self._requests:
                await self._wait_until_due(interval=0.0)
                yield
            return
        async with self._submits:
            await self._wait_until_due(interval=self._interval)
            async with self._requests:
                # Again: a pause may have begun while all permits were taken.
                await self._wait_until_due(interval=0.0)
                sent_under = self._limit
                try:
                    yield
                except RateLimitError:
                    self._adapt(self._limit.after_refusal(sent_under))
                    raise
                self._adapt(self._limit.after_acceptance(sent_under))

    async def _wait_until_due(self, *, interval: float) -> None:
        """Wait for the end of a pause, and ``interval`` seconds after the submit before."""
        while True:
            now = self._clock()
            due = max(now, self._resume_at)
            if interval:
                due = max(due, self._next_submit)
                self._next_submit = due + interval
            if due > now:
                await self._sleep(due - now)
            if self._resume_at <= due:
                return
            # A pause began meanwhile. Take a new place after it: places taken before it would all be due at once.

    def _adapt(self, after: ConcurrencyLimit) -> None:
        before, self._limit = self._limit, after
        self._submits.total_tokens = after.current
        if after.current < before.current:
            self._notify(
                f"The gateway accepts fewer submits: at most {after.current} at once, no longer {before.current}"
            )
        elif before.current < after.current == after.maximum:
            self._notify(f"The gateway accepts {after.current} submits at once again")
