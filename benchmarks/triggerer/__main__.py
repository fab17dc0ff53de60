"""One contestant in one scenario, for looking closer: ``python -m benchmarks.triggerer --tasks 1000 --interval 1``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from benchmarks.triggerer.contestants import CONTESTANTS
from benchmarks.triggerer.measure import figures_of
from benchmarks.triggerer.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contestant", choices=CONTESTANTS, default="apimart")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks at a task")
    parser.add_argument("--arriving-over", type=float, default=0.0, help="seconds; 0 for all at once")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that the gateway takes for an answer")
    parser.add_argument("--median", type=float, default=12.0, help="seconds that the median task lasts")
    parser.add_argument("--cut-off", type=float, default=120.0, help="seconds after which the run is ended")
    parser.add_argument("--profile", help="file for the runner's cProfile; its CPU time is worthless then")
    options = vars(parser.parse_args(arguments))
    contestant, profile = options.pop("contestant"), options.pop("profile")
    for name, figure in figures_of(contestant, Scenario(**options), profile=profile).items():
        print(f"{name:>16} {figure:12.3f}")


if __name__ == "__main__":
    main()
