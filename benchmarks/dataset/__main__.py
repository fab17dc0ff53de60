"""One contestant with any number of rows, for looking closer: ``python -m benchmarks.dataset --dag dataset``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.dataset.contestants import IN_FLIGHT, MAPPING, Contestant
from benchmarks.dataset.report import figures_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of what the command line says."""
    from benchmarks.dataset.surroundings import running  # needs tests/ on the path

    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    parser.add_argument("--dag", choices=[MAPPING, *IN_FLIGHT], default="dataset")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--speed", type=float, default=20.0, help="divides the 12 s that the median picture takes")
    parser.add_argument("--profiles", type=Path, help="folder for a cProfile of each worker session; slows them down")
    options = parser.parse_args(arguments)
    contestant = Contestant(dag_id=options.dag, rows=options.rows, speed=options.speed)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as surroundings:
        observed = surroundings.observe(contestant, profiles=options.profiles)
    for name, figure in figures_of(contestant, observed).items():
        print(f"{name:>18} {figure:12.3f}")
    for session in observed.sessions:
        print(f"worker held from {session.begin - observed.run[0]:8.2f} s to {session.end - observed.run[0]:8.2f} s")


if __name__ == "__main__":
    # Whatever was started is then stopped, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main()
