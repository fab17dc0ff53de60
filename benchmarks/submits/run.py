"""The process of one contestant: ``python -m benchmarks.submits.run NAME URL SUBMITS`` prints its figures."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.submits.contestants import CONTESTANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measurement import Figures

__all__ = ["figures_of"]


def figures_of(submit: Callable[[], list[str]]) -> Figures:
    """Submit everything once."""
    started, cpu = time.perf_counter(), time.process_time()
    task_ids = submit()
    wall = time.perf_counter() - started
    return {"wall": wall, "cpu": time.process_time() - cpu, "tasks": len(set(task_ids))}


if __name__ == "__main__":
    name, url, submits = sys.argv[1:]
    prompts = [f"picture {number}" for number in range(int(submits))]
    print(json.dumps(figures_of(CONTESTANTS[name](url, prompts))))
