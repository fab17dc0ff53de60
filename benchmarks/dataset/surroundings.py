"""A real Airflow, a real S3 server, and a gateway for each DAG run."""

from __future__ import annotations

import gzip
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from services.airflow import AirflowComponents
from services.airflow_home import AirflowHome
from services.seaweedfs import SeaweedFS
from services.waiting import ServiceError

from benchmarks.child import Server
from benchmarks.dataset.operators import read_sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.dag_run import DagRun

    from benchmarks.dataset.operators import WorkerSession

__all__ = ["Job", "ObservedRun", "Surroundings", "running", "write_rows"]

_CHECKOUT: Final = Path(__file__).parents[2]
_DAGS: Final = Path(__file__).parent / "dags"
_BUCKET: Final = "pictures"
#: As many as one DAG may have by default, so that nothing but the machine holds mapped tasks back.
_TASK_PROCESSES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    One DAG run, and the gateway that it meets.

    :param name: of its connection, its folder in the bucket and its files.
    :param mean: seconds that a picture takes; ``sigma`` of their logarithm, 0 for the same duration each time.
    :param latency: seconds before the gateway answers a submit.
    :param in_flight: calls that may run at the gateway at once.
    :param cut_off: seconds after which the run is ended.
    """

    name: str
    rows: int
    mean: float
    cut_off: float
    dag_id: str = "dataset"
    sigma: float = 0.0
    latency: float = 0.0
    in_flight: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRun:
    """
    What was observed of a DAG run.

    :param begin: Unix seconds at which it was requested; ``end`` those at which it had ended.
    :param is_finished: whether it succeeded, and was not cut off.
    :param calls: begin and end of each call at the gateway, in Unix seconds.
    :param submits: requests that the gateway received.
    :param most_per_row: accepted calls of the row that had the most.
    :param pictures: objects in S3.
    :param copied: rows that the ledger knows as copied; 0 without a ledger.
    """

    begin: float
    end: float
    is_finished: bool
    sessions: Sequence[WorkerSession]
    calls: Sequence[tuple[float, float]]
    submits: int
    most_per_row: int
    pictures: int
    copied: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    The running services.

    :param folder: for all files.
    """

    folder: Path
    s3: SeaweedFS
    airflow: AirflowComponents

    def observe(self, job: Job, *, profiles: Path | None = None) -> ObservedRun:
        """
        Run a job alone, with a gateway of its own.

        :param profiles: folder for a profile of each stay on a worker; slows them down.
        :raises ServiceError: when its run fails.
        """
        rows, notes = self.folder / f"{job.name}.rows.jsonl", self.folder / f"{job.name}.notes.jsonl"
        conf: dict[str, Any] = {"name": job.name, "rows": str(rows), "notes": str(notes), "in_flight": job.in_flight}
        if profiles is not None:
            profiles.mkdir(parents=True, exist_ok=True)
            conf["profiles"] = str(profiles.resolve())
        write_rows(rows, job.rows)
        self.airflow.api.wait_for_dag(job.dag_id)
        options = [f"--mean={job.mean}", f"--sigma={job.sigma}", f"--latency={job.latency}"]
        with Server("benchmarks.dataset.gateway", *options) as gateway:
            url = gateway.announced["url"]
            self.airflow.api.add_connection(job.name, {"conn_type": "apimart", "host": url, "password": "sk-bench"})
            details = self._wait(self.airflow.api.trigger(job.dag_id, **conf), job.cut_off)
            observed = httpx.get(url, trust_env=False, timeout=60).raise_for_status().json()
        return ObservedRun(
            begin=_moment(details["queued_at"]),
            end=_moment(details["end_date"]),
            is_finished=details["state"] == "success",
            sessions=read_sessions(notes),
            calls=observed["calls"],
            submits=observed["submits"],
            most_per_row=max(observed["prompts"].values(), default=0),
            pictures=sum(key.endswith(".png") for key in self._keys(job.name)),
            copied=self._copied(job.name),
        )

    def _wait(self, run: DagRun, cut_off: float) -> dict[str, Any]:
        try:
            run.wait(within=cut_off, while_waiting=self.airflow.require_alive)
        except ServiceError:
            if run.details()["state"] != "running":
                raise
            # What it has done until now is reported, and the next run must be alone.
            self.airflow.api.patch(f"/dags/{run.dag_id}/dagRuns/{run.run_id}", state="failed")
        return run.details()

    def _copied(self, name: str) -> int:
        key = f"{name}/ledger/ledger.jsonl.gz"
        if key not in self._keys(name):
            return 0
        table = gzip.decompress(self.s3.client().get_object(Bucket=_BUCKET, Key=key)["Body"].read())
        return len({entry["id"] for entry in map(json.loads, table.splitlines()) if entry["status"] == "copied"})

    def _keys(self, name: str) -> list[str]:
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=f"{name}/")
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@contextmanager
def running(folder: Path) -> Iterator[Surroundings]:
    """Start an S3 server and Airflow; stop them at the end."""
    s3 = SeaweedFS(folder / "s3", buckets=[_BUCKET])
    home = AirflowHome(folder / "airflow", dags_folder=_DAGS, parallelism=_TASK_PROCESSES, PYTHONPATH=str(_CHECKOUT))
    with ExitStack() as stack:
        stack.enter_context(s3)
        airflow = stack.enter_context(AirflowComponents(home))
        airflow.api.add_connection("aws_default", s3.connection)
        yield Surroundings(folder, s3, airflow)


def write_rows(path: Path, count: int) -> None:
    """Write a dataset whose prompts are as long as those of a product catalogue."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt = f"Product picture {number}: a red enamel teapot on white, soft daylight from the left, sharp"
            file.write(json.dumps({"id": f"row-{number:06}", "prompt": prompt}) + "\n")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
