from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks.dataset import mapping, scale, slots, worker
from benchmarks.dataset.gateway import Gateway, draw_duration
from benchmarks.dataset.operators import WorkerSession, read_sessions
from benchmarks.dataset.surroundings import Job, ObservedRun, write_rows
from benchmarks.https_server import Request

DAGS_FOLDER = Path(__file__).parents[2] / "benchmarks" / "dataset" / "dags"
JOB = Job(name="slots", rows=4, mean=5.0, in_flight=2, cut_off=60.0)


def observed(**changes: Any) -> ObservedRun:
    sessions = [
        WorkerSession(begin=100.0, end=104.0, is_resumed=False, cpu=1.5, peak_rss=150.0, ledger_requests=3),
        WorkerSession(begin=112.0, end=113.0, is_resumed=True, cpu=0.5, peak_rss=160.0, ledger_requests=1),
    ]
    defaults = {"begin": 100.0, "end": 120.0, "is_finished": True, "sessions": sessions, "most_per_row": 1}
    calls = [(102.0, 107.0), (103.0, 108.0), (107.0, 112.0), (108.0, 113.0)]
    return ObservedRun(**{**defaults, "calls": calls, "submits": 4, "pictures": 4, "copied": 4, **changes})


def request(method: str, target: str, body: object = None, **headers: str) -> Request:
    return Request(method, target, {"host": "127.0.0.1:1", **headers}, attachment=json.dumps(body).encode())


def ask(gateway: Gateway, *arguments: Any, **headers: str) -> Any:
    return json.loads(b"".join(gateway.answer(request(*arguments, **headers)).body))


def steps(rows: int, **changes: float) -> dict[str, dict[str, float]]:
    figures = {"cpu": 1.0, "peak_rss": 150.0, "requests": 4, "bytes_read": 1e6, "bytes_kept": 0, "hours": 1.0}
    each = {**figures, "rows": rows, "done": rows, "submits": rows, **changes}
    return {"buy": {**each, "cpu": rows / 2_000}, "resume": each, "finish": each, "unchanged": each}


def test_durations_have_the_mean_that_was_requested() -> None:
    source = random.Random(1)  # noqa: S311 - repeatable

    drawn = [draw_duration(source, mean=45.0, sigma=0.35) for _ in range(20_000)]

    assert statistics.mean(drawn) == pytest.approx(45.0, rel=0.02)
    assert statistics.stdev(map(math.log, drawn)) == pytest.approx(0.35, rel=0.02)
    assert draw_duration(source, mean=5.0, sigma=0.0) == pytest.approx(5.0)


def test_the_gateway_accepts_a_key_once_and_counts_what_it_receives() -> None:
    gateway = Gateway(mean=60.0, sigma=0.0)
    submit = ("POST", "/v1/images/generations", {"prompt": "a tree"})

    responses = [ask(gateway, *submit, **{"idempotency-key": key}) for key in ("one", "one", "two")]

    assert [response["data"][0]["task_id"] for response in responses] == ["task_0", "task_0", "task_1"]
    counted = ask(gateway, "GET", "/")
    assert (counted["submits"], counted["prompts"]) == (3, {"a tree": 2})
    assert [end - begin for begin, end in counted["calls"]] == pytest.approx([60.0, 60.0])


@pytest.mark.parametrize("is_batch", [True, False])
def test_the_gateway_describes_a_call_until_its_picture_is_finished(is_batch: bool) -> None:
    gateway = Gateway(mean=60.0, sigma=0.0)
    ask(gateway, "POST", "/v1/images/generations", {"prompt": "a tree"}, **{"idempotency-key": "one"})

    def described() -> Any:
        if is_batch:
            (data,) = ask(gateway, "POST", "/v1/tasks/batch", {"task_ids": ["task_0"]})["data"]
            return data
        return ask(gateway, "GET", "/v1/tasks/task_0?language=en")["data"]

    assert described()["status"] == "processing"

    gateway.observed.calls[0] = (0.0, 60.0)

    (image,) = described()["result"]["images"]
    picture = gateway.answer(request("GET", image["url"][0].removeprefix("http://127.0.0.1:1")))
    assert bytes(picture.body[0]).startswith(b"\x89PNG")


def test_the_area_under_the_calls_is_what_was_used_of_the_slots() -> None:
    figures = slots.figures_of(JOB, observed())

    assert (figures["wall"], figures["used"], figures["over_ideal"]) == (20.0, 0.5, 2.0)
    assert figures["most_in_flight"] == 2


def test_the_last_calls_leave_slots_empty_whoever_makes_them() -> None:
    assert slots.shortest_wall([4.0, 1.0, 1.0, 3.0], in_flight=2) == 5.0
    assert slots.figures_of(JOB, observed())["usable"] == 1.0


def test_a_worker_is_held_from_the_beginning_of_each_process() -> None:
    figures = slots.figures_of(JOB, observed())

    assert (figures["held"], figures["sessions"], figures["cpu"]) == (0.25, 2, 2.0)
    assert (figures["peak_rss"], figures["ledger_requests"]) == (160.0, 1.0)


def test_the_calls_in_flight_are_shown_over_time() -> None:
    assert slots.in_flight_over_time(observed(), step=2.5) == [
        (0.0, 0),
        (2.5, 1),
        (5.0, 2),
        (7.5, 2),
        (10.0, 2),
        (12.5, 1),
    ]


@pytest.mark.parametrize(
    ("case", "changes", "missed"),
    [
        (slots.CASES[0], {"end": 140.0}, "2,000 rows of 45 s: share of the slots in use"),
        (slots.CASES[1], {"begin": 117.0}, "1,000 rows of 300 s: share of the time with a worker"),
        (slots.CASES[2], {"end": 140.0}, "10,000 rows of 5 s: wall ÷ (rows x duration ÷ in flight)"),
        (slots.CASES[0], {"copied": 3}, "2,000 rows of 45 s: rows without picture or entry"),
        (slots.CASES[0], {"submits": 5}, "2,000 rows of 45 s: submits too many or too few"),
        (slots.CASES[0], {"most_per_row": 2}, "2,000 rows of 45 s: calls of the row with the most"),
    ],
)
def test_each_case_has_bars_of_its_own(case: slots.Case, changes: dict[str, Any], missed: str) -> None:
    sessions = [WorkerSession(begin=100.0, end=101.0, is_resumed=False, cpu=0.1, peak_rss=150.0, ledger_requests=0)]
    kept = {"sessions": sessions, "calls": [(101.0, 119.5)] * 2}

    bars = slots.bars_of(case, slots.figures_of(JOB, observed(**kept)))
    changed = slots.bars_of(case, slots.figures_of(JOB, observed(**{**kept, **changes})))

    assert [bar.promise for bar in bars if not bar.is_kept] == []
    assert missed in [bar.promise for bar in changed if not bar.is_kept]


def test_ledger_requests_are_held_against_the_rows() -> None:
    bars = slots.bars_of(slots.CASES[0], slots.figures_of(JOB, observed()))

    assert {bar.promise: bar.measured for bar in bars}["2,000 rows of 45 s: S3 requests for the ledger, per row"] == 1.0


def test_mapping_is_held_against_the_dataset_operator() -> None:
    mapped, ours = mapping.contestants(4)
    results = [
        (mapped, mapping.figures_of(mapped, observed(end=400.0))),
        (ours, mapping.figures_of(ours, observed())),
    ]

    assert [bar.is_kept for bar in mapping.bars_of(results)] == [True, True]
    assert [bar.measured for bar in mapping.bars_of(results)] == [15, 0]
    assert list(mapping.table_of(results).rows) == ["mapped image operator", "dataset operator"]


def test_a_run_that_was_cut_off_is_named_and_breaks_a_bar() -> None:
    mapped, ours = mapping.contestants(4)
    cut_off = mapping.figures_of(mapped, observed(end=1_000.0, is_finished=False, pictures=1))

    results = [(mapped, cut_off), (ours, mapping.figures_of(ours, observed()))]

    assert "mapped image operator, **cut off**" in mapping.table_of(results).rows
    assert [bar.measured for bar in mapping.bars_of(results) if not bar.is_kept] == [3]


def test_a_large_dataset_is_held_against_smaller_ones() -> None:
    small, middle = steps(1_000), steps(2_000)

    assert [bar.promise for bar in scale.bars_of([small, middle, steps(100_000)]) if not bar.is_kept] == []


@pytest.mark.parametrize(
    ("changes", "measured"),
    [
        ({"peak_rss": 211.0}, [61.0]),
        ({"bytes_read": 7e6}, [7.0]),
        ({"bytes_kept": 12}, [12]),
        ({"done": 99_999}, [2]),
        ({"submits": 100_001}, [2]),
    ],
)
def test_what_grows_with_the_rows_breaks_a_bar(changes: dict[str, float], measured: list[float]) -> None:
    bars = scale.bars_of([steps(1_000), steps(2_000), steps(100_000, **changes)])

    assert [bar.measured for bar in bars if not bar.is_kept] == measured


def test_all_columns_have_figures() -> None:
    job = mapping.contestants(4)[0]
    tables = [
        slots.table_of([(slots.CASES[0], slots.figures_of(JOB, observed()))]),
        mapping.table_of([(job, mapping.figures_of(job, observed()))] * 2),
        scale.table_of([steps(1_000)]),
    ]

    shown = [column.value(row) for table in tables for column in table.columns for row in table.rows.values()]
    assert all(value >= 0 for value in shown)


def test_timers_fire_in_their_order_while_somebody_sleeps() -> None:
    time = worker.VirtualTime(100.0)
    fired: list[float] = []
    for interval in (5.0, 2.0, 3.0):
        timer = time.timer(interval, lambda: fired.append(time.now))
        timer.start()
    timer.cancel()

    time.sleep(4.0)
    time.sleep(4.0)

    assert (fired, time.now) == ([102.0, 105.0], 108.0)


@pytest.mark.usefixtures("aws_connection")
def test_the_steps_of_a_large_dataset_follow_each_other(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BUCKET", bucket)
    write_rows(tmp_path / "rows.jsonl", 40)

    figures = {step: worker.run_step(step, 40, tmp_path) for step in ("buy", "resume", "finish", "unchanged")}

    assert [row["submits"] for row in figures.values()] == [40] * 4
    assert figures["buy"]["done"] < 40
    assert figures["finish"]["done"] == figures["unchanged"]["done"] == 40
    assert all(row["requests"] and row["bytes_read"] for row in figures.values())
    assert figures["unchanged"]["hours"] > figures["buy"]["hours"] > 0


def test_airflow_finds_a_dag_for_each_job() -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(DAGS_FOLDER)

    assert bag.import_errors == {}
    assert {dag_id: dag.task_ids for dag_id, dag in bag.dags.items()} == {
        "mapping": ["read_prompts", "generate", "copy"],
        "dataset": ["pictures"],
    }


def test_the_observed_operator_notes_each_stay_on_a_worker(
    apimart_connection: str, aws_connection: str, bucket: str, tmp_path: Path
) -> None:
    from operators.task_instance import TaskInstance

    from benchmarks.dataset.operators import ObservedDataset

    class Task(TaskInstance):
        conf: ClassVar = {"notes": str(tmp_path / "notes.jsonl"), "in_flight": 2}

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

    sessions = read_sessions(tmp_path / "notes.jsonl")
    assert result["done"] == 2
    assert [session.is_resumed for session in sessions] == [False, *[True] * (len(sessions) - 1)]
    assert all(session.begin < session.end and session.cpu > 0 and session.peak_rss > 0 for session in sessions)
    assert all(session.ledger_requests > 0 for session in sessions)
