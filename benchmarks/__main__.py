"""All benchmarks, or some of them: prints tables of medians and holds them against the bars."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measurement import Bar, Report

__all__ = ["main"]

BENCHMARKS: Final = ("triggerer", "copying", "imports", "submits", "dataset")
PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run what the command line says.

    :return: 1 if ``--check`` was given and a bar was missed, otherwise 0.
    """
    options = _parser().parse_args(arguments)
    bars: list[Bar] = []
    for name in options.benchmarks or BENCHMARKS:
        report: Report = importlib.import_module(f"benchmarks.{name}.measure").measure(
            runs=options.runs, quick=options.quick
        )
        text = markdown.section(report, date=datetime.now(UTC).date(), runs=options.runs)
        print(f"## {name}\n\n{text}\n", flush=True)
        if options.write:
            options.page.write_text(markdown.splice(options.page.read_text(encoding="utf-8"), name, text), "utf-8")
        bars += report.bars
    return int(options.check and not all(bar.is_kept for bar in bars))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmarks", nargs="*", type=_benchmark, help=f"{', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--runs", type=int, default=3, help="of each contestant; 3 by default")
    parser.add_argument("--quick", action="store_true", help="a small version that shows only that it works")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--page", type=Path, default=PAGE, help="write into this page instead")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bar is missed")
    return parser


def _benchmark(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is {', '.join(BENCHMARKS)}, but no {name}")
    return name


if __name__ == "__main__":
    # Whatever was started is then stopped, as at Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
