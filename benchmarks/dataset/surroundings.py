"""What the contestants run in: a real Airflow, a real S3 server, and a gateway for each of them."""

from __future__ import annotations

import gzip
import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from services.airflow import AirflowComponents
from services.airflow_home import AirflowHome
from services.seaweedfs import SeaweedFS
from services.simulator import SimulatorProcess
from services.waiting import ServiceError

from benchmarks.dataset.notes import Notes
from benchmarks.dataset.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.dag_run import DagRun

    from benchmarks.dataset.contestants import Contestant

__all__ = ["Surroundings", "running"]

_CHECKOUT: Final = Path(__file__).parents[2]
_DAGS: Final = Path(__file__).parent / "dags"
_BUCKET: Final = "pictures"
_LEDGER: Final = "ledger/ledger.jsonl.gz"
#: As many as one DAG may have by default, so that nothing but the machine holds the mapped tasks back.
_TASK_PROCESSES: Final = 16


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What is running.

    :param folder: for all files.
    """

    folder: Path
    s3: SeaweedFS
    airflow: AirflowComponents

    def observe(self, contestant: Contestant, *, profiles: Path | None = None) -> Observed:
        """
        Let a contestant run, alone and with a gateway of its own.

        :param profiles: folder for a profile of each stay on a worker.
        :raises ServiceError: when its run fails.
        """
        name, api = contestant.name, self.airflow.api
        rows, notes = self.folder / f"{name}.rows.jsonl", self.folder / f"{name}.notes.jsonl"
        conf = {"name": name, "rows": str(rows), "notes": str(notes)}
        if profiles is not None:
            profiles.mkdir(parents=True, exist_ok=True)
            conf["profiles"] = str(profiles.resolve())
        _write_rows(rows, contestant.rows)
        api.wait_for_dag(contestant.dag_id)
        with SimulatorProcess(self.folder / name, speed=contestant.speed) as gateway:
            api.add_connection(name, gateway.connection)
            run = api.trigger(contestant.dag_id, **conf)
            details = self._wait(run, contestant.cut_off)
            tasks, counted = gateway.tasks(), gateway.stats()
        noted = Notes.read(notes)
        return Observed(
            run=(_moment(details["queued_at"]), _moment(details["end_date"])),
            finished=details["state"] == "success",
            sessions=noted.sessions,
            copying=noted.copying,
            generating=[(task["created"], task["created"] + task["duration"]) for task in tasks],
            submits=counted["submits"]["received"],
            most_per_row=max(counted["tasks_per_prompt"].values(), default=0),
            pictures=sum(key.endswith(".png") for key in self._keys(name)),
            ledger=self._rows_in_ledger(name),
        )

    def _wait(self, run: DagRun, cut_off: float) -> dict[str, Any]:
        try:
            run.wait(within=cut_off, while_waiting=self.airflow.require_alive)
        except ServiceError:
            if run.details()["state"] != "running":
                raise
            # Cut off. What it has done until now is reported, and the next contestant must be alone.
            self.airflow.api.patch(f"/dags/{run.dag_id}/dagRuns/{run.run_id}", state="failed")
        return run.details()

    def _rows_in_ledger(self, name: str) -> int:
        key = f"{name}/{_LEDGER}"
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


def _write_rows(path: Path, rows: int) -> None:
    lines = [json.dumps({"id": f"row-{number:05}", "prompt": f"picture {number}"}) for number in range(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
