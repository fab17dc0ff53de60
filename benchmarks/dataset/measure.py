"""A dataset in one task beside a mapped task for each prompt, in the same Airflow; and a large dataset in one task."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.dataset.contestants import in_one_task, side_by_side
from benchmarks.dataset.report import figures_of, report_of

if TYPE_CHECKING:
    from benchmarks.measurement import Report

__all__ = ["measure"]

#: Rows that are compared, and rows in one task.
_ROWS: Final = (1_000, 10_000)
_QUICK_ROWS: Final = (60, 500)


def measure(*, runs: int, quick: bool) -> Report:  # noqa: ARG001 - they take long, and run once
    """Let the contestants run one after the other, in an Airflow that has nothing else to do."""
    from benchmarks.dataset.surroundings import running  # needs tests/ on the path

    few, many = _QUICK_ROWS if quick else _ROWS
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as surroundings:
        figures = [
            (contestant, figures_of(contestant, surroundings.observe(contestant)))
            for contestant in (*side_by_side(few), in_one_task(many))
        ]
    *compared, alone = figures
    return report_of(compared, alone)
