"""One scenario of the copy benchmark, freely chosen; ``python -m benchmarks copying`` runs those that are published."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from benchmarks.copying.contestants import CONTESTANTS
from benchmarks.copying.scenario import Scenario
from benchmarks.copying.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copying", description=__doc__)
    parser.add_argument("--contestant", choices=CONTESTANTS, action="append", help="may be repeated; all by default")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=4, help="of each picture in MiB")
    parser.add_argument("--target", choices=TARGETS, default="sink")
    parser.add_argument("--profile", default="", metavar="FILE", help="for pstats, of all threads; slows it down")
    options = parser.parse_args(arguments)
    scenario = Scenario(images=options.images, size=options.size, target=options.target)
    for contestant in options.contestant or CONTESTANTS:
        figures = scenario.run(contestant, profile=options.profile)
        print(f"{contestant:18}", ", ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
