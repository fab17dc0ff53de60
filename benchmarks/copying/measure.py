"""The scenarios that are published, and what the project promises of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.copying.scenario import MEBIBYTE, Scenario
from benchmarks.measurement import Bar, Column, Report, Table, medians

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measurement import Figures

__all__ = ["Goal", "measure", "report_of"]

_OURS: Final = "ours"
_MIB_PER_GIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Goal:
    """
    What is promised of a scenario.

    :param contestants: who takes part.
    :param speed: how many times the rate of others ours must reach, by contestant.
    :param memory: MiB that our process may hold at its peak.
    """

    scenario: Scenario
    contestants: Sequence[str] = (_OURS, "HttpToS3Operator", "threads + boto3", "raw copy")
    speed: Mapping[str, float] = field(default_factory=dict)
    memory: float | None = None


_GOALS: Final = (
    Goal(
        Scenario(images=200, size=4, target="sink"), speed={"HttpToS3Operator": 15, "threads + boto3": 1.5}, memory=150
    ),
    Goal(Scenario(images=20, size=24, target="sink"), speed={"HttpToS3Operator": 4}, memory=150),
    Goal(Scenario(images=200, size=4, target="SeaweedFS"), speed={"raw copy": 0.8}),
)
#: Small, and without a contestant that needs a provider which the tests' environment has not got.
_QUICK_GOALS: Final = (
    Goal(Scenario(images=4, size=1, target="sink"), (_OURS, "threads + boto3", "raw copy")),
    Goal(Scenario(images=1, size=24, target="sink"), (_OURS, "threads + boto3")),
    Goal(Scenario(images=4, size=1, target="SeaweedFS"), (_OURS, "raw copy")),
)


def measure(*, runs: int, quick: bool) -> Report:
    """Let the contestants copy in turn, in every scenario."""
    goals = _QUICK_GOALS if quick else _GOALS
    results: list[tuple[Goal, Mapping[str, Sequence[Figures]]]] = []
    for goal in goals:
        figures: dict[str, list[Figures]] = {name: [] for name in goal.contestants}
        for _ in range(runs):
            for name, measured in figures.items():
                measured.append(goal.scenario.run(name))
        results.append((goal, figures))
    return report_of(results)


def report_of(results: Sequence[tuple[Goal, Mapping[str, Sequence[Figures]]]]) -> Report:
    """
    Return medians, and hold them against the goals.

    :param results: each goal with the figures of all runs by contestant.
    """
    tables: list[Table] = []
    bars: list[Bar] = []
    for goal, runs in results:
        rows = {name: medians(figures) for name, figures in runs.items()}
        tables.append(_table(goal.scenario, rows))
        bars += _bars(goal, rows, incomplete=sum(not run["complete"] for run in runs[_OURS]))
    return Report(tables, bars)


def _table(scenario: Scenario, rows: Mapping[str, Figures]) -> Table:
    ours = rows[_OURS]
    columns = [
        Column("wall s", lambda figures: figures["wall"]),
        Column("÷ ours", lambda figures: figures["wall"] / ours["wall"]),
        Column("MiB/s", lambda figures: _mebibytes(figures) / figures["wall"], digits=0),
        Column("CPU s", lambda figures: figures["cpu"]),
        Column("CPU s/GiB", lambda figures: figures["cpu"] / _mebibytes(figures) * _MIB_PER_GIB),
        Column("RSS before, MiB", lambda figures: figures["rss_before"], digits=0),
        Column("peak RSS, MiB", lambda figures: figures["peak_rss"], digits=0),
        Column("pictures stored", lambda figures: figures["objects"], digits=0),
        Column("MiB stored", _mebibytes, digits=0),
    ]
    return Table(scenario.title, columns, rows)


def _bars(goal: Goal, rows: Mapping[str, Figures], *, incomplete: int) -> list[Bar]:
    title, ours = goal.scenario.title, rows[_OURS]
    bars = [
        Bar(f"{title}: our rate ÷ that of {name}", rows[name]["wall"] / ours["wall"], times, at_most=False)
        for name, times in goal.speed.items()
    ]
    if goal.memory is not None:
        bars.append(Bar(f"{title}: our peak RSS, MiB", ours["peak_rss"], goal.memory))
    return [*bars, Bar(f"{title}: our runs after which something was missing", incomplete, 0)]


def _mebibytes(figures: Figures) -> float:
    return figures["bytes"] / MEBIBYTE
