"""The process of one contestant: ``python -m benchmarks.copying.run NAME JOB [PROFILE]`` prints its figures."""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.copying.contestants import CONTESTANTS
from benchmarks.copying.job import Job
from benchmarks.copying.profiling import profiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measurement import Figures

__all__ = ["figures_of"]

_STATUS: Final = Path("/proc/self/status")
_RESET_PEAK: Final = Path("/proc/self/clear_refs")


def figures_of(copy: Callable[[], object]) -> Figures:
    """Copy everything once, and return seconds and MiB."""
    _RESET_PEAK.write_text("5", encoding="ascii")
    before, started, cpu = _memory("VmRSS"), time.perf_counter(), time.process_time()
    copy()
    return {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "rss_before": before,
        "peak_rss": _memory("VmHWM"),
    }


def _memory(name: str) -> float:
    """Return what Linux says of this process's memory, in MiB."""
    lines = (line.split() for line in _STATUS.read_text(encoding="ascii").splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == f"{name}:")


if __name__ == "__main__":
    name, job, *profile = sys.argv[1:]
    copy = CONTESTANTS[name](Job.from_json(job))
    with profiled(Path(profile[0])) if profile else nullcontext():
        figures = figures_of(copy)
    print(json.dumps(figures))
