"""What a benchmark reports: figures, medians, tables, and the bars that they are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Column", "Figures", "Report", "Table", "medians"]

#: What one run of one contestant measured, by name.
Figures = Mapping[str, float]


def medians(runs: Sequence[Figures]) -> Figures:
    """Return each figure's median over repeated runs of the same contestant."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column of a table.

    :param value: computes it from a contestant's figures; a ratio takes the reference's figures by closure.
    :param digits: after the decimal point.
    """

    title: str
    value: Callable[[Figures], float]
    digits: int = 2


@dataclass(frozen=True, slots=True)
class Table:
    """Medians of all contestants at one task, one row each."""

    title: str
    columns: Sequence[Column]
    rows: Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Bar:
    """
    What the project promises of itself.

    :param at_most: whether the limit must not be exceeded; otherwise it must be reached.
    """

    promise: str
    measured: float
    limit: float
    at_most: bool = True

    @property
    def is_kept(self) -> bool:
        """Whether the measured value is on the right side of the limit."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit


@dataclass(frozen=True, slots=True)
class Report:
    """
    What one benchmark found out.

    :param is_repeated: whether the figures are medians of as many runs as the command line says; otherwise of one run.
    """

    tables: Sequence[Table]
    bars: Sequence[Bar]
    is_repeated: bool = True
