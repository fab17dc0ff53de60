"""Time that a test moves, so that nobody waits and nothing is measured."""

from __future__ import annotations

import asyncio

__all__ = ["Clock", "HeldClock"]


class Clock:
    """Monotonic seconds that pass while somebody sleeps, without taking any time. ``pauses`` are the sleeps so far."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


class HeldClock:
    """Monotonic seconds that stand still until the test moves them, for tasks of one event loop that sleep."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._moved = asyncio.Event()

    def __call__(self) -> float:
        return self.seconds

    async def async_sleep(self, seconds: float) -> None:
        wake_up = self.seconds + seconds
        while self.seconds < wake_up:
            await self._moved.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everybody do what is to be done then."""
        self.seconds += seconds
        self._moved.set()
        self._moved = asyncio.Event()
        await self.settle()

    @staticmethod
    async def settle() -> None:
        """Let every task go on until it waits for something that only the test can bring about."""
        for _ in range(100):
            await asyncio.sleep(0)
