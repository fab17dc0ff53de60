"""Airflow's own trigger runner, watched."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from typing import TYPE_CHECKING

from airflow.jobs.triggerer_job_runner import TriggerEventEntry, TriggerRunner

if TYPE_CHECKING:
    from benchmarks.triggerer.observations import Observations

__all__ = ["WatchedRunner"]

#: Seconds between two beats by which a stalled event loop is seen.
_HEARTBEAT = 0.05


class _WatchedEvents(deque[TriggerEventEntry]):
    """The runner's queue of fired events, which keeps the moment of each."""

    def __init__(self, observations: Observations) -> None:
        super().__init__()
        self._observations = observations

    def append(self, entry: TriggerEventEntry) -> None:
        payload = entry.event.payload
        number = payload.get("number") if isinstance(payload, dict) else None
        self._observations.note_event(entry.trigger_id - 1 if number is None else number, time.time())
        super().append(entry)


class WatchedRunner(TriggerRunner):
    """
    Does what Airflow's runner does, and notes when events are fired and for how long the loop stalls.

    :param observations: where to note it.
    """

    def __init__(self, observations: Observations) -> None:
        super().__init__()
        self.events = _WatchedEvents(observations)
        self._observations = observations

    async def init_comms(self) -> None:
        """Begin to watch the loop with its first task."""
        await super().init_comms()
        gc.callbacks.append(self._time_collection)
        self._heartbeat = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            asleep_at = time.monotonic()
            await asyncio.sleep(_HEARTBEAT)
            self._observations.note_stall(time.monotonic() - asleep_at - _HEARTBEAT)

    def _time_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.monotonic()
        else:
            self._observations.note_collection(time.monotonic() - self._collecting_since)
