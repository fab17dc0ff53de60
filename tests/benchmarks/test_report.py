from __future__ import annotations

import datetime as dt
import platform
from typing import TYPE_CHECKING

import pytest

from benchmarks import markdown
from benchmarks.__main__ import BENCHMARKS, PAGE, main
from benchmarks.measurement import Bar, Column, Report, Table, medians

if TYPE_CHECKING:
    from pathlib import Path

REPORT = Report(
    tables=[
        Table("A task", [Column("wall s", lambda row: row["wall"])], {"ours": {"wall": 1.5}, "peer": {"wall": 1234}})
    ],
    bars=[Bar("seconds", 1.5, 2), Bar("times faster", 3, 4, at_most=False)],
)


@pytest.fixture
def text() -> str:
    return markdown.section(REPORT, date=dt.date(2026, 1, 31), runs=3)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "performance.md"
    path.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    return path


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_medians_are_taken_figure_by_figure() -> None:
    runs = [{"wall": 1, "cpu": 9}, {"wall": 2, "cpu": 8}, {"wall": 30, "cpu": 7}]

    assert medians(runs) == {"wall": 2, "cpu": 8}


def test_a_table_has_a_row_for_each_contestant(text: str) -> None:
    assert ["contestant", "wall s"] in rows(text)
    assert ["ours", "1.50"] in rows(text)
    assert ["peer", "1,234.00"] in rows(text)


def test_a_bar_says_whether_it_was_kept(text: str) -> None:
    assert ["seconds", "1.5", "≤ 2", "kept"] in rows(text)
    assert ["times faster", "3", "≥ 4", "**missed**"] in rows(text)


def test_the_section_says_when_how_often_and_on_what_it_was_measured(text: str) -> None:
    last = text.splitlines()[-1]

    assert last.startswith("Measured on 2026-01-31: ")
    assert last.endswith("Medians of 3 runs.")
    assert f"Python {platform.python_version()}, airflow-provider-apimart" in last


def test_the_section_of_a_benchmark_that_runs_once_says_so() -> None:
    once = Report(REPORT.tables, REPORT.bars, is_repeated=False)

    assert markdown.section(once, date=dt.date(2026, 1, 31), runs=3).endswith("One run.")


def test_a_section_without_bars_is_only_tables() -> None:
    text = markdown.section(Report(REPORT.tables, []), date=dt.date(2026, 1, 31), runs=1)

    assert "kept" not in text


def test_splicing_replaces_what_is_between_the_markers_and_nothing_else() -> None:
    page = "before\n<!-- a:begin -->\nold\n<!-- a:end -->\nbetween\n<!-- b:begin -->\nother\n<!-- b:end -->\n"

    spliced = markdown.splice(page, "a", "new")

    assert spliced == page.replace("old", "\nnew\n")
    assert markdown.splice(spliced, "a", "new") == spliced


@pytest.mark.parametrize("page", ["", "<!-- a:end -->\n<!-- a:begin -->\n", "<!-- a:begin -->\n"])
def test_a_page_without_both_markers_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match="no markers <!-- a:begin --> and <!-- a:end -->"):
        markdown.splice(page, "a", "new")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_has_a_place_for_every_benchmark(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert "new" in markdown.splice(page, name, "new")


def test_a_measured_section_is_printed_and_written(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.read_text(encoding="utf-8")

    status = main(["imports", "--quick", "--runs", "1", "--write", "--page", str(page)])

    printed, written = capsys.readouterr().out, page.read_text(encoding="utf-8")
    (ours,) = (row for row in rows(printed) if row[0] == "ours")
    assert status == 0
    assert ours in rows(written)
    assert written.partition("<!-- imports:begin -->")[0] == before.partition("<!-- imports:begin -->")[0]
    assert written.partition("<!-- imports:end -->")[2] == before.partition("<!-- imports:end -->")[2]


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["unheard-of"])

    assert "triggerer, copying, imports, submits" in capsys.readouterr().err
