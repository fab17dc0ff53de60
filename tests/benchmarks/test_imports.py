from __future__ import annotations

from benchmarks.imports.measure import measure, report_of


def figures(wall: float, modules: int) -> dict[str, float]:
    return {"wall": wall, "cpu": wall, "modules": modules, "rss": 1.0}


def test_the_operators_are_really_loaded() -> None:
    (table,) = measure(runs=1, quick=True).tables

    ours = table.rows["ours"]
    assert ours["modules"] > 0
    assert ours["wall"] > 0


def test_ours_is_held_against_the_lightest_peer_in_each_respect() -> None:
    peers = {"quick one": [figures(0.1, 300)], "small one": [figures(0.2, 100)]}

    report = report_of({"ours": [figures(0.03, 20)], **peers})

    assert [(round(bar.measured, 3), bar.is_kept) for bar in report.bars] == [(0.3, False), (0.2, True)]


def test_one_slow_interpreter_does_not_change_the_median() -> None:
    runs = [figures(0.02, 20), figures(5.0, 20), figures(0.02, 20)]

    (table,) = report_of({"ours": runs}).tables

    assert table.rows["ours"]["wall"] == 0.02
