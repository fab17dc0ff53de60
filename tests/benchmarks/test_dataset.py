from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from operators.task_instance import TaskInstance

from benchmarks.dataset.contestants import in_one_task, side_by_side
from benchmarks.dataset.intervals import length, merged, overlap
from benchmarks.dataset.notes import Notes
from benchmarks.dataset.observed import Observed, Session
from benchmarks.dataset.report import figures_of, report_of

DAGS_FOLDER = Path(__file__).parents[2] / "benchmarks" / "dataset" / "dags"
MAPPING, ALL_IN_FLIGHT, DEFAULT = side_by_side(1_000)
LARGE = in_one_task(10_000)


def observed(**changes: Any) -> Observed:
    sessions = [
        Session(begin=102.0, end=104.0, resumed=False, rss_before=139.0, peak_rss=170.0),
        Session(begin=110.0, end=116.0, resumed=True, rss_before=140.0, peak_rss=180.0),
    ]
    defaults = {"run": (100.0, 120.0), "finished": True, "sessions": sessions, "copying": [], "generating": []}
    counted = {"submits": 1_000, "most_per_row": 1, "pictures": 1_000, "ledger": 1_000}
    return Observed(**{**defaults, **counted, **changes})


def figures(**changes: float) -> dict[str, float]:
    return {**figures_of(ALL_IN_FLIGHT, observed()), **changes}


def large(**changes: float) -> dict[str, float]:
    return figures(**{"submits": 10_000, "pictures": 10_000, "ledger": 10_000, **changes})


def test_overlapping_time_counts_once() -> None:
    assert merged([(5, 6), (1, 3), (2, 4)]) == [(1, 4), (5, 6)]
    assert length(merged([(1, 3), (2, 4), (5, 6)])) == 4
    assert overlap((3, 10), [(1, 4), (5, 6), (9, 12)]) == 3


def test_time_is_shared_out_between_copying_generation_and_neither() -> None:
    # For two seconds all of what may be in flight is generated, the second of them while others are copied.
    generating = [(103.0, 105.0)] * 1_000

    shares = figures_of(ALL_IN_FLIGHT, observed(copying=[(104.0, 106.0), (105.0, 107.0)], generating=generating))

    assert (shares["wall"], shares["copying"], shares["making"], shares["neither"]) == (20, 3, 1, 16)


def test_a_worker_is_held_from_the_beginning_of_each_process() -> None:
    held = figures()

    assert (held["sessions"], held["resumes"], held["held"]) == (2, 1, 8)
    assert (held["rss_before"], held["peak_rss"]) == (140, 180)


def test_mapping_is_held_against_the_dataset_operator() -> None:
    compared = [(MAPPING, figures(wall=300)), (ALL_IN_FLIGHT, figures(wall=20)), (DEFAULT, figures(wall=40))]

    report = report_of(compared, (LARGE, large()))

    assert [bar.promise for bar in report.bars if not bar.is_kept] == []
    assert [bar.measured for bar in report.bars if not bar.at_most] == [15]
    assert [list(table.rows) for table in report.tables] == [
        ["dataset operator, 200 in flight"],
        ["mapped image operator", "dataset operator, 1,000 in flight", "dataset operator, 200 in flight"],
    ]


@pytest.mark.parametrize(
    ("changes", "measured"),
    [
        ({"peak_rss": 301}, 301),
        ({"resumes": 61}, 61),
        ({"ledger": 9_999}, 1),
        ({"submits": 9_999}, 1),
        ({"submits": 10_001}, 1),
        ({"most_per_row": 2}, 2),
    ],
)
def test_a_large_dataset_has_bars_of_its_own(changes: dict[str, float], measured: float) -> None:
    compared = [(MAPPING, figures(wall=300)), (ALL_IN_FLIGHT, figures(wall=20))]

    report = report_of(compared, (LARGE, large(**changes)))

    assert [bar.measured for bar in report.bars if not bar.is_kept] == [measured]


def test_a_contestant_that_was_cut_off_is_called_that_and_breaks_a_bar() -> None:
    cut_off = figures_of(MAPPING, observed(run=(0.0, 900.0), finished=False, pictures=0))

    report = report_of([(MAPPING, cut_off), (ALL_IN_FLIGHT, figures(wall=20))], (LARGE, large()))

    assert "mapped image operator, **cut off**" in report.tables[1].rows
    assert [bar.measured for bar in report.bars if not bar.is_kept] == [1_000]


def test_all_columns_have_figures() -> None:
    report = report_of([(MAPPING, figures()), (ALL_IN_FLIGHT, figures())], (LARGE, large()))

    shown = {
        column.title: column.value(row)
        for table in report.tables
        for column in table.columns
        for row in table.rows.values()
    }
    assert shown["÷ ours"] == 1
    assert shown["neither, % of wall"] == 100


def test_airflow_finds_a_dag_for_each_contestant() -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(DAGS_FOLDER)

    assert bag.import_errors == {}
    assert {dag_id: dag.task_ids for dag_id, dag in bag.dags.items()} == {
        "mapping": ["read_prompts", "generate", "copy"],
        "dataset": ["pictures"],
        "dataset_all_in_flight": ["pictures"],
    }


def test_the_observed_operators_note_when_they_hold_a_worker_and_when_they_copy(
    apimart_connection: str, aws_connection: str, bucket: str, tmp_path: Path
) -> None:
    from benchmarks.dataset.operators import ObservedDataset

    class Task(TaskInstance):
        conf: ClassVar = {"notes": str(tmp_path / "notes.jsonl")}

    def operator() -> ObservedDataset:
        return ObservedDataset(
            task_id="pictures",
            prompts=["a tree", "a house"],
            s3_bucket=bucket,
            s3_prefix="here",
            size="256x256",
            initial_delay=0,
            poll_interval=0.2,
            apimart_conn_id=apimart_connection,
            aws_conn_id=aws_connection,
        )

    result = Task().run(operator)

    notes = Notes.read(tmp_path / "notes.jsonl")
    assert result["done"] == 2
    assert [session.resumed for session in notes.sessions] == [False, *[True] * (len(notes.sessions) - 1)]
    assert all(session.begin < session.end and 0 < session.rss_before <= session.peak_rss for session in notes.sessions)
    assert notes.copying
