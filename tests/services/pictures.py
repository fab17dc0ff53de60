"""The pictures of one run of the example DAG with mapped prompts, read from Airflow and checked against S3."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.box import SIMPLE
from rich.table import Table

from services.waiting import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3 import S3Client

    from services.dag_run import DagRun

__all__ = ["Picture", "describe", "pictures_of", "table_of", "total_cost", "verify"]

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One delivered picture."""

    prompt: str
    task_id: str
    cost: Decimal | None
    uri: str
    bytes: int
    width: int
    height: int


def pictures_of(run: DagRun) -> list[Picture]:
    """Join what the mapped task and the transfer task have left in XCom."""
    prompts = run.xcom("read_prompts")
    objects = {item["task_id"]: item for item in run.xcom("copy_to_s3")["objects"]}
    pictures = []
    for instance in run.task_instances("generate"):
        map_index = instance["map_index"]
        for task in run.xcom("generate", map_index=map_index)["tasks"]:
            copied = objects[task["task_id"]]
            pictures.append(
                Picture(
                    prompt=prompts[map_index]["prompt"],
                    task_id=task["task_id"],
                    cost=None if task["cost"] is None else Decimal(str(task["cost"])),
                    **{field: copied[field] for field in ("uri", "bytes", "width", "height")},
                )
            )
    return pictures


def describe(run: DagRun) -> str:
    """Say in one line how far the run is."""
    states = Counter(instance["state"] or "none" for instance in run.task_instances("generate"))
    pictures = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    transfer = run.task_instances("copy_to_s3")[0]["state"] or "none"
    return f"generate: {pictures}; copy_to_s3: {transfer}"


def verify(pictures: Sequence[Picture], s3: S3Client) -> None:
    """:raises ServiceError: when an object is not in S3, or of another size than Airflow says."""
    if not pictures:
        raise ServiceError("The run has delivered no picture.")
    for picture in pictures:
        address = urlsplit(picture.uri)
        head = s3.head_object(Bucket=address.netloc, Key=address.path.lstrip("/"))
        if head["ContentLength"] != picture.bytes:
            raise ServiceError(f"{picture.uri} has {head['ContentLength']} bytes, Airflow says {picture.bytes}.")


def total_cost(pictures: Sequence[Picture]) -> Decimal | None:
    """Return the sum in US dollars, or ``None`` where a cost is unknown."""
    costs: list[Any] = [picture.cost for picture in pictures]
    return None if None in costs else sum(costs, start=Decimal(0))


def table_of(pictures: Sequence[Picture]) -> Table:
    table = Table(box=SIMPLE)
    table.add_column("Prompt", max_width=30, no_wrap=True)
    table.add_column("Task id", no_wrap=True)
    table.add_column("USD", no_wrap=True, justify="right")
    table.add_column("Pixels", no_wrap=True, justify="right")
    table.add_column("KiB", no_wrap=True, justify="right")
    table.add_column("S3 address", overflow="fold")
    for picture in pictures:
        table.add_row(
            picture.prompt,
            picture.task_id,
            UNKNOWN if picture.cost is None else str(picture.cost),
            f"{picture.width}x{picture.height}",
            f"{picture.bytes / 1024:.0f}",
            picture.uri,
        )
    return table
