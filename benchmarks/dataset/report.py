"""From what was seen to tables and bars. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.dataset.intervals import length, merged, overlap
from benchmarks.measurement import Bar, Column, Report, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.dataset.contestants import Contestant
    from benchmarks.dataset.observed import Observed
    from benchmarks.measurement import Figures

__all__ = ["figures_of", "report_of"]

_TIMES_FASTER: Final = 15
_MEMORY: Final = 300
_RESUMES: Final = 60


def figures_of(contestant: Contestant, observed: Observed) -> Figures:
    """Return what a run of a contestant came to."""
    begin, end = observed.run
    copying = merged(observed.copying)
    # A second in which half of what may be in flight is being made is half a second of making pictures.
    at_once = min(contestant.in_flight, contestant.rows)
    making = sum(length([task]) - overlap(task, copying) for task in observed.generating) / at_once
    held = sum(session.end - session.begin for session in observed.sessions)
    return {
        "finished": observed.finished,
        "wall": end - begin,
        "copying": length(copying),
        "making": making,
        "neither": end - begin - length(copying) - making,
        "sessions": len(observed.sessions),
        "resumes": sum(session.resumed for session in observed.sessions),
        "held": held,
        "held_per_thousand": held / contestant.rows * 1000,
        "rss_before": max(session.rss_before for session in observed.sessions),
        "peak_rss": max(session.peak_rss for session in observed.sessions),
        "submits": observed.submits,
        "most_per_row": observed.most_per_row,
        "pictures": observed.pictures,
        "ledger": observed.ledger,
    }


def report_of(compared: Sequence[tuple[Contestant, Figures]], alone: tuple[Contestant, Figures]) -> Report:
    """
    Return tables, and hold the dataset operator against the goals.

    :param compared: mapping, and then the dataset operator with all rows in flight and as it is by default.
    :param alone: the dataset operator with many rows.
    """
    large, figures = alone
    (mapping, mapped), (all_in_flight, ours), *_ = compared
    what, which = f"{large.rows:,} rows", f"{all_in_flight.rows:,} rows"
    bars = [
        Bar(f"{what}: peak RSS, MiB", figures["peak_rss"], _MEMORY),
        Bar(f"{what}: resumes on a worker", figures["resumes"], _RESUMES),
        Bar(f"{what}: missing in the ledger", large.rows - figures["ledger"], 0),
        Bar(f"{what}: submits too many or too few", abs(large.rows - figures["submits"]), 0),
        Bar(f"{what}: submits for the row with the most", figures["most_per_row"], 1),
        Bar(
            f"{which}: {mapping.title} ÷ {all_in_flight.title}",
            mapped["wall"] / ours["wall"],
            _TIMES_FASTER,
            at_most=False,
        ),
        Bar(f"{which}: pictures missing in S3, worst contestant", _most_missing(compared), 0),
    ]
    tables = [
        _table(f"{what} in one task, one run", [alone], ours=figures),
        _table(f"{which}, one run", compared, ours=ours),
    ]
    return Report(tables, bars)


def _most_missing(results: Sequence[tuple[Contestant, Figures]]) -> float:
    return max(contestant.rows - figures["pictures"] for contestant, figures in results)


def _table(title: str, results: Sequence[tuple[Contestant, Figures]], *, ours: Figures) -> Table:
    columns = [
        Column("wall s", lambda figures: figures["wall"], digits=0),
        Column("÷ ours", lambda figures: figures["wall"] / ours["wall"], digits=1),
        Column("copying s", lambda figures: figures["copying"], digits=1),
        Column("generating s", lambda figures: figures["making"], digits=1),
        Column("neither, % of wall", lambda figures: 100 * figures["neither"] / figures["wall"], digits=0),
        Column("worker sessions", lambda figures: figures["sessions"], digits=0),
        Column("worker s per 1,000 rows", lambda figures: figures["held_per_thousand"], digits=0),
        Column("RSS before, MiB", lambda figures: figures["rss_before"], digits=0),
        Column("peak RSS, MiB", lambda figures: figures["peak_rss"], digits=0),
        Column("submits", lambda figures: figures["submits"], digits=0),
        Column("pictures in S3", lambda figures: figures["pictures"], digits=0),
        Column("rows in the ledger", lambda figures: figures["ledger"], digits=0),
    ]
    return Table(title, columns, {_name(contestant, figures): figures for contestant, figures in results})


def _name(contestant: Contestant, figures: Figures) -> str:
    """Return what a contestant is called, and that it was cut off, if it was: its time is too short then."""
    return contestant.title if figures["finished"] else f"{contestant.title}, **cut off**"
