"""
One part of the dataset benchmark, for looking closer.

``python -m benchmarks.dataset slots_5 --rows 2000 --profiles /tmp/profiles`` prints the figures of a case, the calls in
flight at the gateway over time, and when a worker was held; ``python -m benchmarks.dataset scale --rows 2000`` the
figures of each worker process. The environment must find ``tests/``: ``PYTHONPATH=tests``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.dataset.measure import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.dataset.surroundings import Job, ObservedRun

__all__ = ["main"]

_BAR = 50


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of what the command line says."""
    from benchmarks.dataset import mapping, scale, slots  # need tests/ on the path

    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before the gateway answers a submit")
    parser.add_argument("--profiles", type=Path, help="folder for a cProfile of each worker session; slows them down")
    options = parser.parse_args(arguments)
    if options.part == "scale":
        for step, figures in scale.measure_size(options.rows, profiles=options.profiles).items():
            _print(step, figures)
    elif options.part == "mapping":
        for job in mapping.contestants(options.rows):
            _print(job.dag_id, mapping.figures_of(job, _observe(job, options.profiles)))
    else:
        case = next(case for case in slots.CASES if case.job.name == options.part)
        job = replace(case.job, rows=options.rows, latency=options.latency)
        run = _observe(job, options.profiles)
        _print(options.part, slots.figures_of(job, run))
        step = (run.end - run.begin) / 40
        for moment, count in slots.in_flight_over_time(run, step=step):
            print(f"{moment:8.1f} s {count:5} in flight {'#' * round(_BAR * count / job.in_flight)}")
        for session in run.sessions:
            print(f"worker held from {session.begin - run.begin:8.1f} s to {session.end - run.begin:8.1f} s")


def _observe(job: Job, profiles: Path | None) -> ObservedRun:
    from benchmarks.dataset.surroundings import running

    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as surroundings:
        return surroundings.observe(job, profiles=profiles)


def _print(title: str, figures: Mapping[str, float]) -> None:
    print(title)
    for name, figure in figures.items():
        print(f"{name:>18} {figure:14.3f}")


if __name__ == "__main__":
    # Whatever was started is then stopped, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main()
