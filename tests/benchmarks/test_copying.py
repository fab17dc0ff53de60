from __future__ import annotations

import hashlib
import io

from PIL import Image

from benchmarks.copying import pictures
from benchmarks.copying.measure import Goal, measure, report_of
from benchmarks.copying.scenario import MEBIBYTE, Scenario

SCENARIO = Scenario(images=200, size=4, target="sink")
GOAL = Goal(SCENARIO, speed={"raw copy": 0.8}, memory=150)


def figures(**changes: float) -> dict[str, float]:
    defaults = {"wall": 2.0, "cpu": 1.0, "rss_before": 100.0, "peak_rss": 140.0, "objects": 200.0, "complete": 1.0}
    return {**defaults, "bytes": 800.0 * MEBIBYTE, **changes}


def picture(number: int, size: int) -> bytes:
    return pictures.beginning(number) + pictures.ending(size)


def test_the_pictures_have_the_size_that_was_asked_for_and_differ() -> None:
    made = [picture(number, MEBIBYTE) for number in range(10)]

    assert {len(content) for content in made} == {MEBIBYTE}
    assert len({hashlib.sha256(content).digest() for content in made}) == len(made)


def test_the_pictures_are_valid() -> None:
    with Image.open(io.BytesIO(picture(7, MEBIBYTE))) as image:
        image.verify()

        assert (image.format, image.size) == ("PNG", (1, 1))


def test_every_contestant_stores_every_byte() -> None:
    report = measure(runs=1, quick=True)

    stored = {table.title: {(row["objects"], row["bytes"]) for row in table.rows.values()} for table in report.tables}
    assert stored == {
        "4 x 1 MiB into sink": {(4, 4 * MEBIBYTE)},
        "1 x 24 MiB into sink": {(1, 24 * MEBIBYTE)},
        "4 x 1 MiB into SeaweedFS": {(4, 4 * MEBIBYTE)},
    }
    assert [bar.promise for bar in report.bars if not bar.is_kept] == []


def test_rates_and_memory_are_held_against_the_goals() -> None:
    report = report_of([(GOAL, {"ours": [figures(peak_rss=160)], "raw copy": [figures(wall=1.5)]})])

    kept = {bar.promise: (bar.measured, bar.limit, bar.is_kept) for bar in report.bars}
    assert kept == {
        "200 x 4 MiB into sink: our rate ÷ that of raw copy": (0.75, 0.8, False),
        "200 x 4 MiB into sink: our peak RSS, MiB": (160, 150, False),
        "200 x 4 MiB into sink: our runs after which something was missing": (0, 0, True),
    }


def test_a_single_run_after_which_something_is_missing_breaks_a_bar() -> None:
    runs = [figures(), figures(complete=0.0), figures()]

    report = report_of([(Goal(SCENARIO), {"ours": runs})])

    assert [(bar.measured, bar.is_kept) for bar in report.bars] == [(1, False)]


def test_the_table_shows_rate_cpu_and_what_was_stored() -> None:
    (table,) = report_of([(Goal(SCENARIO), {"ours": [figures()]})]).tables

    shown = {column.title: column.value(table.rows["ours"]) for column in table.columns}
    assert (shown["MiB/s"], shown["CPU s/GiB"]) == (400, 1.28)
    assert (shown["pictures stored"], shown["MiB stored"]) == (200, 800)
