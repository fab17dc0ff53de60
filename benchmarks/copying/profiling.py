"""cProfile over all threads."""

from __future__ import annotations

import cProfile
import pstats
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["profiled"]


@contextmanager
def profiled(file: Path) -> Iterator[None]:
    """
    Profile this thread and all that are started meanwhile.

    :param file: for ``pstats``. Times are CPU seconds.
    """
    profiles: list[cProfile.Profile] = []

    def begin(*_: Any) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].enable()

    threading.setprofile(begin)
    begin()
    try:
        yield
    finally:
        threading.setprofile(None)
        profiles[0].disable()
        pstats.Stats(*profiles).dump_stats(file)
