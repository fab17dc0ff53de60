"""How the CPU time, the memory and the traffic of a dataset task grow with its rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.environment import clean_environment
from services.seaweedfs import SeaweedFS

from benchmarks.child import run_contestant
from benchmarks.dataset.surroundings import write_rows
from benchmarks.dataset.worker import BUCKET, PREFIX
from benchmarks.measurement import Bar, Column, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measurement import Figures

    #: Figures by step, of one size.
    Steps = Mapping[str, Figures]

__all__ = ["PURCHASE", "QUICK_SIZES", "SIZES", "STEPS", "bars_of", "measure_size", "table_of"]

#: Numbers of rows: of the memory that is compared, of the CPU time that is compared, and of a large dataset.
SIZES: Final = (1_000, 2_000, 100_000)
QUICK_SIZES: Final = (50, 100, 400)
#: The steps of :mod:`~benchmarks.dataset.worker`, and those without which CPU time and memory cannot be compared.
STEPS: Final = ("buy", "resume", "finish", "unchanged")
PURCHASE: Final = STEPS[:3]
_CUT_OFF: Final = 1_800.0
_MEGABYTE: Final = 1e6


def measure_size(rows: int, *, steps: Sequence[str] = STEPS, profiles: Path | None = None) -> dict[str, Figures]:
    """
    Return the figures of each step of a dataset, each in a process of its own, with a new S3 server.

    :param profiles: folder for a profile of each step; slows them down.
    """
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", rows)
        with SeaweedFS(folder / "s3", buckets=[BUCKET]) as s3:
            airflow = {"AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(s3.connection)}
            environment = clean_environment(**airflow, AIRFLOW__CORE__LOAD_EXAMPLES="False")
            for step in steps:
                before = _objects(s3)
                arguments = [step, str(rows), name, *([str(profiles / f"{step}.prof")] if profiles else [])]
                measured = run_contestant(
                    "benchmarks.dataset.worker", *arguments, environment=environment, timeout=_CUT_OFF
                )
                kept = sum(size for (key, tag), size in _objects(s3).items() if (key, tag) not in before)
                figures[step] = {**measured, "rows": rows, "bytes_kept": kept}
    return figures


def table_of(results: Sequence[Steps]) -> Table:
    """Return the table of all steps of all sizes."""
    columns = [
        Column("CPU s", lambda figures: figures["cpu"]),
        Column("CPU s per 1,000 rows", lambda figures: figures["cpu"] / figures["rows"] * 1_000),
        Column("peak RSS, MiB", lambda figures: figures["peak_rss"], digits=0),
        Column("ledger requests", lambda figures: figures["requests"], digits=0),
        Column("MB read", lambda figures: figures["bytes_read"] / _MEGABYTE, digits=1),
        Column("bytes kept", lambda figures: figures["bytes_kept"], digits=0),
        Column("virtual hours since the beginning", lambda figures: figures["hours"], digits=1),
    ]
    rows = {f"{figures['rows']:,.0f} rows: {step}": figures for steps in results for step, figures in steps.items()}
    return Table("One dataset task in virtual time, gateway and copies stubbed, one run", columns, rows)


def bars_of(results: Sequence[Steps]) -> list[Bar]:
    """
    Hold the figures against what is promised.

    :param results: of a small, a middle and a large dataset.
    """
    small, middle, large = results
    what, base = f"{large['buy']['rows']:,.0f} rows", f"{middle['buy']['rows']:,.0f} rows"
    resume, unchanged = large["resume"], large["unchanged"]
    memory = max(large[step]["peak_rss"] - small[step]["peak_rss"] for step in PURCHASE)
    incomplete = sum(
        abs(figures["submits"] - figures["rows"]) + abs(figures["rows"] - figures["done"])
        for steps in results
        for name, figures in steps.items()
        if name in {"finish", "unchanged"}
    )
    return [
        Bar(f"{base}: CPU s per 1,000 rows", _cpu(middle), 1.0),
        Bar(f"{what}: CPU s per 1,000 rows", _cpu(large), 1.0),
        Bar(f"{what}: CPU s per 1,000 rows ÷ those of {base}", _cpu(large) / _cpu(middle), 1.3),
        Bar(f"{what}: CPU s of a resume", resume["cpu"], 1.5),
        Bar(f"{what}: MB that a resume reads", resume["bytes_read"] / _MEGABYTE, 6.0),
        Bar(f"{what}: CPU s of a run that has nothing to buy", unchanged["cpu"], 6.0),
        Bar(f"{what}: MB that a run that has nothing to buy reads", unchanged["bytes_read"] / _MEGABYTE, 10.0),
        Bar(f"{what}: bytes that a run that has nothing to buy keeps", unchanged["bytes_kept"], 0),
        Bar(f"{what}: MiB of peak RSS above those of {small['buy']['rows']:,.0f} rows", memory, 60.0),
        Bar("all sizes: rows bought too often or not at all", incomplete, 0),
    ]


def _cpu(steps: Steps) -> float:
    """
    Return the CPU seconds per 1,000 rows from the first row to the end of the task.

    The process that finishes opens the ledger again, as the one does that only resumes.
    """
    cpu = steps["buy"]["cpu"] + steps["finish"]["cpu"] - steps["resume"]["cpu"]
    return cpu / steps["buy"]["rows"] * 1_000


def _objects(s3: SeaweedFS) -> dict[tuple[str, str], int]:
    pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/")
    return {(entry["Key"], entry["ETag"]): entry["Size"] for page in pages for entry in page.get("Contents", ())}
