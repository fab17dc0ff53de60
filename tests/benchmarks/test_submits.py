from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.submits.measure import measure, report_of

if TYPE_CHECKING:
    from benchmarks.measurement import Table


def figures(**changes: float) -> dict[str, float]:
    defaults = {
        "wall": 4.0,
        "cpu": 1.0,
        "submits": 1000,
        "keys": 1000,
        "tasks": 1000,
        "connections": 16,
        "ideal": 3.125,
    }
    return {**defaults, **changes}


@pytest.fixture(scope="module")
def measured() -> Table:
    (table,) = measure(runs=1, quick=True).tables
    return table


def test_every_contestant_submits_everything_once_under_a_key_of_its_own(measured: Table) -> None:
    counted = {name: (row["submits"], row["keys"], row["tasks"]) for name, row in measured.rows.items()}
    assert counted == dict.fromkeys(["ours", "httpx", "requests + threads", "httpx.AsyncClient"], (40, 40, 40))


def test_contestants_keep_to_their_concurrency(measured: Table) -> None:
    assert measured.rows["httpx"]["connections"] == 1
    assert measured.rows["ours"]["connections"] <= 16


def test_ours_is_held_against_the_time_that_the_gateway_takes() -> None:
    bar, *_ = report_of({"ours": [figures(wall=6.25)]}, 1000).bars

    assert (bar.measured, bar.is_kept) == (2.0, False)


def test_a_single_run_with_a_submit_too_many_breaks_a_bar() -> None:
    runs = [figures(), figures(submits=1001), figures()]

    report = report_of({"ours": runs}, 1000)

    assert [bar.promise for bar in report.bars if not bar.is_kept] == ["our submits too many or too few, worst run"]
