"""Tables and bars of waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.measurement import Bar, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.measurement import Figures
    from benchmarks.triggerer.scenario import Scenario

__all__ = ["all_reported", "bars_of_a_day", "bars_when_crowded", "bars_when_full", "table_of"]

_OURS: Final = "apimart"
_WITHOUT_BATCH: Final = "apimart without batch endpoint"
_FLOOR: Final = "sleep only"
_PEERS: Final = ("dbt-cloud", "http", "openai", "anthropic")


def table_of(scenario: Scenario, rows: Mapping[str, Figures], *, runs: int) -> Table:
    """
    Return the figures of all contestants in one scenario, beside ours and beside mere sleeping.

    :param runs: of which the figures are medians.
    """
    ours, floor = rows[_OURS]["runner_cpu"], rows[_FLOOR]["runner_cpu"]
    columns = [
        Column("finished", lambda figures: figures["finished"], digits=0),
        Column("runner CPU s", lambda figures: figures["runner_cpu"]),
        Column("÷ ours", lambda figures: figures["runner_cpu"] / ours, digits=1),
        Column("÷ sleep only", lambda figures: figures["runner_cpu"] / floor, digits=1),
        Column("supervisor CPU s", lambda figures: figures["supervisor_cpu"]),
        Column("requests", lambda figures: figures["requests"], digits=0),
        Column("connections", lambda figures: figures["connections"], digits=0),
        Column("look-ups of the connection", lambda figures: figures["lookups"], digits=0),
        Column("peak RSS MiB", lambda figures: figures["peak_rss"], digits=0),
        Column("KiB per task", lambda figures: figures["memory_per_task"], digits=1),
        Column("latency p50 s", lambda figures: figures["latency_p50"]),
        Column("p95 s", lambda figures: figures["latency_p95"]),
        Column("p99 s", lambda figures: figures["latency_p99"]),
        Column("longest stall s", lambda figures: figures["longest_stall"]),
        Column("longest garbage collection s", lambda figures: figures["longest_collection"]),
        Column("wall s", lambda figures: figures["wall"], digits=1),
        Column("gateway busy", lambda figures: figures["gateway_cpu"] / figures["wall"]),
    ]
    return Table(_title(scenario, runs), columns, rows)


def _title(scenario: Scenario, runs: int) -> str:
    arriving = f"arriving over {scenario.arriving_over:g} s" if scenario.arriving_over else "all at once"
    return (
        f"{scenario.tasks:,} tasks, a look every {scenario.interval:g} s, {arriving}, "
        f"each answer after {scenario.latency * 1000:g} ms, {f'{runs} runs' if runs > 1 else 'one run'}"
    )


def all_reported(scenario: Scenario, rows: Mapping[str, Figures]) -> Iterator[Bar]:
    """Yield what holds in every scenario."""
    for name in (_OURS, _WITHOUT_BATCH):
        if name in rows:
            yield Bar(f"{_what(scenario, name)}: tasks not reported", scenario.tasks - rows[name]["finished"], 0)


def bars_when_full(scenario: Scenario, rows: Mapping[str, Figures]) -> Iterator[Bar]:
    """Yield what we promise for as many tasks as a triggerer takes by default."""
    ours, without_batch, what = rows[_OURS], rows[_WITHOUT_BATCH], _what(scenario, _OURS)
    yield from all_reported(scenario, rows)
    yield Bar(f"{what}: runner CPU ÷ best peer's", ours["runner_cpu"] / _best_peer(rows), 1 / 10)
    yield Bar(f"{what}: runner CPU ÷ sleep only's", ours["runner_cpu"] / rows[_FLOOR]["runner_cpu"], 1.5)
    yield Bar(f"{what}: requests ÷ one per task and interval", ours["requests"] / scenario.single_looks(), 1 / 40)
    yield Bar(f"{what}: connections", ours["connections"], 2)
    yield Bar(f"{what}: latency p95 ÷ interval", ours["latency_p95"] / scenario.interval, 1.1)
    yield Bar(f"{what}: KiB per waiting task", ours["memory_per_task"], 40)
    what = _what(scenario, _WITHOUT_BATCH)
    yield Bar(f"{what}: runner CPU ÷ best peer's", without_batch["runner_cpu"] / _best_peer(rows), 1 / 2)
    yield Bar(f"{what}: connections", without_batch["connections"], 100)


def bars_when_crowded(scenario: Scenario, rows: Mapping[str, Figures]) -> Iterator[Bar]:
    """Yield what we promise for many more tasks than that."""
    ours, what = rows[_OURS], _what(scenario, _OURS)
    yield from all_reported(scenario, rows)
    yield Bar(f"{what}: runner CPU ÷ best peer's", ours["runner_cpu"] / _best_peer(rows), 1 / 8)
    yield Bar(f"{what}: longest stall s", ours["longest_stall"], 0.25)


def bars_of_a_day(scenario: Scenario, rows: Mapping[str, Figures]) -> Iterator[Bar]:
    """Yield what we promise for a usual day."""
    yield from all_reported(scenario, rows)
    latency = rows[_OURS]["latency_p95"] / scenario.interval
    yield Bar(f"{_what(scenario, _OURS)}: latency p95 ÷ interval", latency, 1.1)


def _best_peer(rows: Mapping[str, Figures]) -> float:
    return min(rows[name]["runner_cpu"] for name in _PEERS if name in rows)


def _what(scenario: Scenario, contestant: str) -> str:
    return f"{contestant}, {scenario.tasks:,} tasks at {scenario.interval:g} s"
