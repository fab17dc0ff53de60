from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.triggerer.measure import measure
from benchmarks.triggerer.report import all_reported, bars_when_crowded, bars_when_full, table_of
from benchmarks.triggerer.scenario import GatewayTask, Scenario

if TYPE_CHECKING:
    from benchmarks.measurement import Report

OWN = ("apimart", "apimart without batch endpoint", "sleep only", "ideal loop")
SCENARIO = Scenario(tasks=1_000, interval=1.0)


def figures(**changes: float) -> dict[str, float]:
    defaults = {"finished": 1_000, "runner_cpu": 1.0, "requests": 150, "connections": 1, "latency_p95": 1.0}
    return {**defaults, "memory_per_task": 30.0, "longest_stall": 0.1, **changes}


def rows(**ours: float) -> dict[str, dict[str, float]]:
    return {
        "apimart": figures(**ours),
        "apimart without batch endpoint": figures(runner_cpu=4.0, connections=16),
        "sleep only": figures(runner_cpu=0.8),
        "http": figures(runner_cpu=16.0),
        "anthropic": figures(runner_cpu=25.0),
    }


@pytest.fixture(scope="module")
def report() -> Report:
    return measure(runs=1, quick=True)


@pytest.fixture(scope="module")
def measured(report: Report) -> dict[str, Any]:
    (table,) = report.tables
    return dict(table.rows)


def test_every_task_is_reported_by_every_contestant(report: Report, measured: dict[str, Any]) -> None:
    finished = {name: (row["finished"], row["errors"]) for name, row in measured.items()}
    assert finished == dict.fromkeys(OWN, (50, 0))
    assert [bar.promise for bar in report.bars if not bar.is_kept] == []


def test_all_columns_have_figures(report: Report) -> None:
    (table,) = report.tables

    shown = {column.title: [column.value(row) for row in table.rows.values()] for column in table.columns}
    assert all(value >= 0 for values in shown.values() for value in values)
    assert all(value > 0 for title in ("runner CPU s", "peak RSS MiB", "wall s") for value in shown[title])


def test_the_gateway_counts_what_the_contestants_ask(measured: dict[str, Any]) -> None:
    asked = {name: (row["requests"] > 0, row["lookups"]) for name, row in measured.items()}
    assert asked == {
        "apimart": (True, 1),
        "apimart without batch endpoint": (True, 1),
        "sleep only": (False, 0),
        "ideal loop": (True, 0),
    }
    assert measured["ideal loop"]["connections"] == 1
    assert measured["apimart"]["requests"] < 50 < measured["apimart without batch endpoint"]["requests"]


def test_all_contestants_wait_for_the_same_tasks() -> None:
    assert SCENARIO.durations() == SCENARIO.durations()
    assert Scenario.from_json(SCENARIO.to_json()) == SCENARIO
    assert all(4 <= duration <= 35 for duration in SCENARIO.durations())


def test_tasks_arrive_evenly() -> None:
    tasks = Scenario(tasks=4, interval=1.0, arriving_over=2.0).gateway_tasks()

    assert [task.arrives_after for task in tasks] == [0.0, 0.5, 1.0, 1.5]
    assert [GatewayTask.number_of(task.id) for task in tasks] == [0, 1, 2, 3]


def test_a_request_per_task_and_interval_is_what_others_make() -> None:
    assert Scenario(tasks=10, interval=0.5, shortest=4.0, longest=4.0).single_looks() == 80


def test_a_task_that_nobody_reported_breaks_a_bar() -> None:
    bars = all_reported(SCENARIO, rows(finished=999))

    assert [(bar.measured, bar.is_kept) for bar in bars] == [(1, False), (0, True)]


def test_cpu_is_held_against_the_cheapest_of_the_other_providers() -> None:
    missed = {bar.promise: bar.measured for bar in bars_when_full(SCENARIO, rows(runner_cpu=2.0)) if not bar.is_kept}

    assert missed == {
        "apimart, 1,000 tasks at 1 s: runner CPU ÷ best peer's": 2.0 / 16.0,
        "apimart, 1,000 tasks at 1 s: runner CPU ÷ sleep only's": 2.0 / 0.8,
    }


def test_a_stall_is_not_allowed_in_a_crowd() -> None:
    missed = [bar for bar in bars_when_crowded(SCENARIO, rows(longest_stall=0.3)) if not bar.is_kept]

    assert [bar.measured for bar in missed] == [0.3]


def test_the_table_names_what_was_measured() -> None:
    lifelike = Scenario(tasks=1_000, interval=5.0, arriving_over=15.0, latency=0.1)

    assert table_of(lifelike, rows(), runs=1).title == (
        "1,000 tasks, a look every 5 s, arriving over 15 s, each answer after 100 ms, one run"
    )
    assert table_of(SCENARIO, rows(), runs=3).title == (
        "1,000 tasks, a look every 1 s, all at once, each answer after 0 ms, 3 runs"
    )
