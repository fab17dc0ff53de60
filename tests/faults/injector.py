"""Faults inside the process of one try: it ends, stops or stumbles when it comes by a point for the n-th time."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["BrokenStoreError", "Injector"]


class BrokenStoreError(Exception):
    """An error of Airflow's API server."""


class Injector:
    """
    The faults of one process.

    Each is an object with an ``id``, the ``point`` at which it happens, the how-manieth passing of that point it means
    (``nth``), and an ``action``: ``kill``, ``kill_later`` (with ``seconds``), ``stop``, ``raise``, ``away`` (raises at
    every access to Airflow for some ``seconds``) or ``lose``.

    :param directory: where a fault leaves the file ``fired-<id>`` before it happens: the process may not live to tell.
    """

    def __init__(self, faults: Sequence[Mapping[str, Any]], directory: Path) -> None:
        self._faults = list(faults)
        self._directory = directory
        self._passed: Counter[str] = Counter()
        self._doomed = False
        self._away_until = 0.0

    def reach(self, point: str) -> bool:
        """Come by a point. Returns whether what is done there shall be lost."""
        self._passed[point] += 1
        for fault in self._faults:
            if fault["point"] == point and fault.get("nth", 1) == self._passed[point]:
                return self._happen(fault)
        if not point.endswith("done") and point.startswith(("store.", "xcom")) and time.monotonic() < self._away_until:
            raise BrokenStoreError("the API server does not answer")
        return False

    def end(self) -> None:
        """Come to the end. A process that is to be killed at a random moment does not outlive it."""
        self.reach("return")
        if self._doomed:
            signal.pause()

    def _happen(self, fault: Mapping[str, Any]) -> bool:
        (self._directory / f"fired-{fault['id']}").touch()
        match fault["action"]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill_later":
                self._doomed = True
                threading.Timer(fault["seconds"], os.kill, (os.getpid(), signal.SIGKILL)).start()
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise" | "away":
                self._away_until = time.monotonic() + fault.get("seconds", 0.0)
                raise BrokenStoreError("the API server does not answer")
        return fault["action"] == "lose"
