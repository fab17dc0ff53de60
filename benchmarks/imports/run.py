"""
A DAG file's imports, in a fresh interpreter.

Run as ``python -m benchmarks.imports.run MODULE...``; prints what they cost on top of what every DAG file imports.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from airflow.sdk import DAG, BaseOperator

__all__ = ["DAG", "BaseOperator", "figures_of"]


def figures_of(modules: list[str]) -> dict[str, float]:
    """Import modules, and return seconds, number of modules and MiB that this added."""
    loaded, memory = len(sys.modules), _memory()
    cpu, started = time.process_time(), time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    wall = time.perf_counter() - started
    return {
        "wall": wall,
        "cpu": time.process_time() - cpu,
        "modules": len(sys.modules) - loaded,
        "rss": _memory() - memory,
    }


def _memory() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    print(json.dumps(figures_of(sys.argv[1:])))
