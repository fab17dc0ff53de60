"""Reports as Markdown, and their place in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmarks.machine import describe_machine, describe_versions

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from benchmarks.measurement import Bar, Report, Table

__all__ = ["section", "splice"]


def section(report: Report, *, date: dt.date, runs: int) -> str:
    """
    Return what one benchmark found out: its tables, its bars, and what it was measured on.

    :param runs: of which the figures are medians.
    """
    tables = [f"### {table.title}\n\n{_table(table)}" for table in report.tables]
    taken = "One run" if runs == 1 or not report.is_repeated else f"Medians of {runs} runs"
    measured = f"Measured on {date.isoformat()}: {describe_machine()}; {describe_versions()}. {taken}."
    return "\n\n".join([*tables, *filter(None, [_bars(report.bars)]), measured])


def splice(page: str, name: str, text: str) -> str:
    """
    Return a page with the text between its markers ``<!-- name:begin -->`` and ``<!-- name:end -->``.

    :raises ValueError: when the page has no such markers.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the page has no markers {begin.strip()} and {end}")
    return f"{before}{begin}\n{text}\n\n{end}{after}"


def _table(table: Table) -> str:
    headers = ["contestant", *(column.title for column in table.columns)]
    rows = [
        [name, *(f"{column.value(figures):,.{column.digits}f}" for column in table.columns)]
        for name, figures in table.rows.items()
    ]
    return _markdown(rows, headers)


def _bars(bars: Sequence[Bar]) -> str:
    rows = [
        [bar.promise, f"{bar.measured:.4g}", f"{'≤' if bar.at_most else '≥'} {bar.limit:g}", _verdict(bar)]
        for bar in bars
    ]
    return _markdown(rows, ["what", "measured", "bar", ""]) if rows else ""


def _verdict(bar: Bar) -> str:
    return "kept" if bar.is_kept else "**missed**"


def _markdown(rows: list[list[str]], headers: list[str]) -> str:
    alignment = ["left", *["right"] * (len(headers) - 1)]
    text: str = tabulate(rows, headers, tablefmt="pipe", colalign=alignment, disable_numparse=True)
    return text
