"""An event loop whose time a test can put forward, for those who would wait for long."""

from __future__ import annotations

import asyncio

__all__ = ["SkippingLoop"]


class SkippingLoop(asyncio.SelectorEventLoop):
    """Its timers go off early when seconds are skipped; what comes over sockets takes the time that it takes."""

    def __init__(self) -> None:
        self._skipped = 0.0
        super().__init__()

    def time(self) -> float:
        return super().time() + self._skipped

    def skip(self, seconds: float) -> None:
        self._skipped += seconds
