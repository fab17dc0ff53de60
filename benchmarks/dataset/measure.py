"""All questions about datasets, one after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measurement import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measurement import Bar, Table

__all__ = ["PARTS", "measure", "measure_parts"]

PARTS: Final = ("slots_45", "slots_300", "slots_5", "mapping", "scale")
_ROWS, _QUICK_ROWS = 1_000, 10


def measure(*, runs: int, quick: bool) -> Report:  # noqa: ARG001 - they take long, and run once
    """Measure everything, in an Airflow that has nothing else to do."""
    return measure_parts(PARTS, quick=quick)


def measure_parts(parts: Sequence[str], *, quick: bool) -> Report:
    """Measure some of :data:`PARTS`."""
    tables: list[Table] = []
    bars: list[Bar] = []
    if set(parts) - {"scale"}:
        _measure_in_airflow(parts, tables, bars, quick=quick)
    if "scale" in parts:
        from benchmarks.dataset import scale  # needs tests/ on the path

        *compared, large = scale.QUICK_SIZES if quick else scale.SIZES
        results = [scale.measure_size(rows, steps=scale.PURCHASE) for rows in compared]
        results.append(scale.measure_size(large))
        tables.append(scale.table_of(results))
        bars += scale.bars_of(results)
    return Report(tables, bars, is_repeated=False)


def _measure_in_airflow(parts: Sequence[str], tables: list[Table], bars: list[Bar], *, quick: bool) -> None:
    from benchmarks.dataset import mapping, slots
    from benchmarks.dataset.surroundings import running

    cases = [slots.quick(case) if quick else case for case in slots.CASES if case.job.name in parts]
    contestants = mapping.contestants(_QUICK_ROWS if quick else _ROWS) if "mapping" in parts else []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as surroundings:
        slotted = [(case, slots.figures_of(case.job, surroundings.observe(case.job))) for case in cases]
        compared = [(job, mapping.figures_of(job, surroundings.observe(job))) for job in contestants]
    if slotted:
        tables.append(slots.table_of(slotted))
        bars += [bar for case, figures in slotted for bar in slots.bars_of(case, figures)]
    if compared:
        tables.append(mapping.table_of(compared))
        bars += mapping.bars_of(compared)
