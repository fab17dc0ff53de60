"""
How busy one dataset task keeps the gateway, and for how long it holds a worker, in a real Airflow.

A call is in flight from its acceptance until its picture is finished at the gateway. The area under the calls in
flight, divided by ``max_in_flight`` times the wall time of the DAG run, is the share of the slots that is in use. It
cannot reach 1: the last pictures leave slots empty, as does Airflow before the first submit and after the last copy.
The table also has the share that the same durations allow if each slot is taken again as soon as it is free.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.dataset.surroundings import Job, ObservedRun
from benchmarks.measurement import Bar, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.measurement import Figures

__all__ = ["CASES", "Case", "bars_of", "figures_of", "in_flight_over_time", "quick", "shortest_wall", "table_of"]

_LEDGER_REQUESTS: Final = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A dataset, and what the project promises for it.

    :param least_used: share of the slots that must be in use.
    :param most_held: share of the wall time for which a worker may be held.
    :param most_over_ideal: wall time, divided by what the calls take with all slots in use.
    """

    job: Job
    least_used: float | None = None
    most_held: float | None = None
    most_over_ideal: float | None = None

    @property
    def title(self) -> str:
        """The name of the case in tables."""
        return f"{self.job.rows:,} rows of {self.job.mean:g} s"


CASES: Final = (
    Case(job=Job(name="slots_45", rows=2_000, mean=45.0, sigma=0.35, cut_off=1_500), least_used=0.8),
    Case(job=Job(name="slots_300", rows=1_000, mean=300.0, sigma=0.35, cut_off=4_500), least_used=0.75, most_held=0.25),
    Case(job=Job(name="slots_5", rows=10_000, mean=5.0, cut_off=1_200), most_over_ideal=1.25),
)


def quick(case: Case) -> Case:
    """Return a small version of a case, without its promises."""
    job = case.job
    return Case(job=Job(name=job.name, rows=40, mean=job.mean / 60, sigma=job.sigma, in_flight=20, cut_off=job.cut_off))


def figures_of(job: Job, run: ObservedRun) -> Figures:
    """Return the figures of a DAG run."""
    wall = run.end - run.begin
    durations = [end - begin for begin, end in run.calls]
    ideal = sum(durations) / job.in_flight
    held = sum(session.end - session.begin for session in run.sessions)
    return {
        "rows": job.rows,
        "wall": wall,
        "used": ideal / wall,
        "usable": ideal / shortest_wall(durations, job.in_flight) if durations else 0.0,
        "over_ideal": wall / ideal if ideal else float("inf"),
        "most_in_flight": max((count for _, count in in_flight_over_time(run, step=0.0)), default=0),
        "held": held / wall,
        "sessions": len(run.sessions),
        "cpu": sum(session.cpu for session in run.sessions),
        "peak_rss": max(session.peak_rss for session in run.sessions),
        "ledger_requests": sum(session.ledger_requests for session in run.sessions) / job.rows,
        "missing": job.rows - min(run.pictures, run.copied),
        "wrong_submits": abs(job.rows - run.submits),
        "most_per_row": run.most_per_row,
    }


def shortest_wall(durations: Iterable[float], in_flight: int) -> float:
    """Return the seconds that calls take in their order where a slot is never empty while calls are left."""
    slots = [0.0] * in_flight
    for duration in durations:
        heapq.heapreplace(slots, slots[0] + duration)
    return max(slots)


def in_flight_over_time(run: ObservedRun, *, step: float) -> list[tuple[float, int]]:
    """
    Return the calls in flight at the gateway over the wall time of a run.

    :param step: seconds between two moments, counted from the beginning of the run; 0 for each change.
    """
    changes = sorted([(begin, 1) for begin, _ in run.calls] + [(end, -1) for _, end in run.calls])
    moments: list[tuple[float, int]] = []
    count, due = 0, 0.0
    for at, change in changes:
        while step and due < at - run.begin:
            moments.append((due, count))
            due += step
        count += change
        if not step:
            moments.append((at - run.begin, count))
    return moments


def table_of(results: Sequence[tuple[Case, Figures]]) -> Table:
    """Return the table of all cases."""
    columns = [
        Column("wall s", lambda figures: figures["wall"], digits=0),
        Column("slots in use, %", lambda figures: 100 * figures["used"], digits=1),
        Column("usable, %", lambda figures: 100 * figures["usable"], digits=1),
        Column("wall ÷ ideal", lambda figures: figures["over_ideal"]),
        Column("most in flight", lambda figures: figures["most_in_flight"], digits=0),
        Column("worker held, %", lambda figures: 100 * figures["held"], digits=1),
        Column("worker sessions", lambda figures: figures["sessions"], digits=0),
        Column("CPU s per 1,000 rows", lambda figures: figures["cpu"] / figures["rows"] * 1_000, digits=1),
        Column("peak RSS, MiB", lambda figures: figures["peak_rss"], digits=0),
        Column("ledger requests per row", lambda figures: figures["ledger_requests"], digits=3),
    ]
    return Table("One dataset task in Airflow, one run", columns, {case.title: figures for case, figures in results})


def bars_of(case: Case, figures: Figures) -> list[Bar]:
    """Hold the figures of a case against what is promised."""
    what = case.title
    bars = []
    if case.least_used is not None:
        bars.append(Bar(f"{what}: share of the slots in use", figures["used"], case.least_used, at_most=False))
    if case.most_held is not None:
        bars.append(Bar(f"{what}: share of the time with a worker", figures["held"], case.most_held))
    if case.most_over_ideal is not None:
        bars.append(Bar(f"{what}: wall ÷ (rows x duration ÷ in flight)", figures["over_ideal"], case.most_over_ideal))
    return [
        *bars,
        Bar(f"{what}: S3 requests for the ledger, per row", figures["ledger_requests"], _LEDGER_REQUESTS),
        Bar(f"{what}: rows without picture or entry", figures["missing"], 0),
        Bar(f"{what}: submits too many or too few", figures["wrong_submits"], 0),
        Bar(f"{what}: calls of the row with the most", figures["most_per_row"], 1),
    ]
