"""One dataset task beside one mapped task for each prompt, with a transfer behind it, in the same Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.dataset.surroundings import Job
from benchmarks.measurement import Bar, Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.dataset.surroundings import ObservedRun
    from benchmarks.measurement import Figures

__all__ = ["bars_of", "contestants", "figures_of", "table_of"]

_TIMES_FASTER: Final = 15
#: Seconds that a picture takes: so few that the time that Airflow needs is what shows.
_MEAN: Final = 0.6
_CUT_OFF: Final = 900.0


def contestants(rows: int) -> list[Job]:
    """Return the mapped operator, and the dataset operator as it is by default."""
    return [
        Job(name=f"{dag_id}_{rows}", dag_id=dag_id, rows=rows, mean=_MEAN, sigma=0.2, cut_off=_CUT_OFF)
        for dag_id in ("mapping", "dataset")
    ]


def figures_of(job: Job, run: ObservedRun) -> Figures:
    """Return the figures of a DAG run."""
    held = sum(session.end - session.begin for session in run.sessions)
    return {
        "is_finished": run.is_finished,
        "wall": run.end - run.begin,
        "sessions": len(run.sessions),
        "held_per_thousand": held / job.rows * 1_000,
        "cpu_per_thousand": sum(session.cpu for session in run.sessions) / job.rows * 1_000,
        "submits": run.submits,
        "pictures": run.pictures,
        "missing": job.rows - run.pictures,
    }


def table_of(results: Sequence[tuple[Job, Figures]]) -> Table:
    """Return the table of both contestants."""
    (_, _), (dataset, ours) = results
    columns = [
        Column("wall s", lambda figures: figures["wall"], digits=0),
        Column("÷ ours", lambda figures: figures["wall"] / ours["wall"], digits=1),
        Column("worker sessions", lambda figures: figures["sessions"], digits=0),
        Column("worker s per 1,000 rows", lambda figures: figures["held_per_thousand"], digits=0),
        Column("CPU s per 1,000 rows", lambda figures: figures["cpu_per_thousand"], digits=0),
        Column("submits", lambda figures: figures["submits"], digits=0),
        Column("pictures in S3", lambda figures: figures["pictures"], digits=0),
    ]
    return Table(
        f"{dataset.rows:,} rows of {dataset.mean:g} s, one run",
        columns,
        {_name(job, figures): figures for job, figures in results},
    )


def bars_of(results: Sequence[tuple[Job, Figures]]) -> list[Bar]:
    """Hold the dataset operator against the mapped one."""
    (_, mapped), (dataset, ours) = results
    what = f"{dataset.rows:,} rows of {dataset.mean:g} s"
    return [
        Bar(f"{what}: mapped operator ÷ dataset operator", mapped["wall"] / ours["wall"], _TIMES_FASTER, at_most=False),
        Bar(f"{what}: pictures missing in S3, worst contestant", max(mapped["missing"], ours["missing"]), 0),
    ]


def _name(job: Job, figures: Figures) -> str:
    """Return the name of a contestant, and that it was cut off where it was: its time is too short then."""
    name = "mapped image operator" if job.dag_id == "mapping" else "dataset operator"
    return name if figures["is_finished"] else f"{name}, **cut off**"
