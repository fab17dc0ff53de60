"""A dataset task as Airflow runs it, and its bucket as a person looks into it."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from laws.airflow_task import AirflowTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_s3 import S3Client
    from services.plain_gateway import PlainGateway

__all__ = ["PREFIX", "Dataset", "DatasetTask", "event_of", "rows", "wait_until"]

PREFIX = "catalogue"


@dataclass
class DatasetTask(AirflowTask):
    """
    A task instance that waits in no triggerer: its event comes at once, or when the gateway has finished something.

    :param most_waits: deferrals after which a test gives up.
    """

    most_waits: int = 60
    waits: list[Any] = field(default_factory=list)

    def finish(self, make_operator: Callable[[], Any], trigger: Any) -> Any:
        """Run a try on from its deferral to its end."""
        from airflow.sdk.exceptions import TaskDeferred

        while not isinstance(trigger, dict):
            self.waits.append(trigger)
            assert len(self.waits) <= self.most_waits, "the task is never done"
            time.sleep(0.1)
            try:
                return self.resume(make_operator, event_of(trigger))
            except TaskDeferred as deferred:
                trigger = deferred.trigger
        return trigger


def event_of(trigger: Any) -> dict[str, Any]:
    """Return the event of a dataset's trigger, after it has passed through Airflow's database."""
    _, kwargs = trigger.serialize()
    kwargs = json.loads(json.dumps(kwargs))
    event = {"status": "due", "ended": 0, "of": len(kwargs["task_ids"])}
    return {**event, "began_at": kwargs["began_at"], "settings": kwargs["settings"]}


@dataclass
class Dataset:
    """
    A prefix of a bucket, read without the provider.

    :param parameters: of each operator, unless it says otherwise.
    """

    client: S3Client
    bucket: str
    gateway: PlainGateway
    parameters: dict[str, Any]

    def operator(
        self, prompts: Any, *, rendered: Callable[[], Mapping[str, Any]] = dict[str, Any], **parameters: Any
    ) -> Callable[[], Any]:
        """
        Describe an operator, made and rendered again in each worker process.

        :param prompts: the rows, or a function that returns them each time.
        :param rendered: gives what the templates of some parameters render to each time.
        """
        from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

        def make() -> ApimartImageDatasetOperator:
            values = rendered()
            rows = prompts() if callable(prompts) else prompts
            templates = {name: f"{{{{ {name} }}}}" for name in values}
            given = {**self.parameters, "prompts": rows, **parameters, **templates}
            operator = ApimartImageDatasetOperator(task_id="a_task", **given)
            for name, value in values.items():
                setattr(operator, name, value)
            return operator

        return make

    def keys(self, folder: str = "") -> list[str]:
        """Return the keys of the objects below a folder of the bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=folder)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def images(self, prefix: str = PREFIX) -> list[str]:
        return self.keys(f"{prefix}/images/")

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def put(self, key: str, body: bytes | str) -> str:
        """Write an object, and return its address."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body.encode() if isinstance(body, str) else body)
        return f"s3://{self.bucket}/{key}"

    def put_rows(self, rows: list[dict[str, Any]], key: str = "rows.jsonl") -> str:
        """Write a file of rows, and return its address."""
        return self.put(key, "".join(json.dumps(row) + "\n" for row in rows))

    def table(self, prefix: str = PREFIX) -> list[dict[str, Any]]:
        """Return the lines of the ledger as people open it."""
        return [
            json.loads(line) for line in gzip.decompress(self.body(f"{prefix}/ledger/ledger.jsonl.gz")).splitlines()
        ]

    def lines(self, prefix: str = PREFIX) -> list[dict[str, Any]]:
        """Return every line that was ever written, in the order of the log."""
        logs = sorted(self.keys(f"{prefix}/ledger/log/"))
        return [json.loads(line) for key in logs for line in gzip.decompress(self.body(key)).splitlines()[1:]]

    def tasks_in_books(self, prefix: str = PREFIX) -> set[str]:
        """Return the ids of all gateway tasks that the ledger names."""
        return {task_id for line in self.lines(prefix) for task_id in line["task_ids"]}

    @property
    def bought(self) -> Counter[str]:
        """How often each prompt was bought."""
        return Counter(purchase.prompt for purchase in self.gateway.purchases)

    @property
    def spent(self) -> float:
        """US dollars, at the gateway's usual price."""
        return 0.0085 * sum(int(purchase.call.body.get("n") or 1) for purchase in self.gateway.purchases)


def rows(count: int, first: int = 0, **fields: Any) -> list[dict[str, Any]]:
    """Return rows with ids."""
    return [{"id": f"sku-{number}", "prompt": f"picture {number}", **fields} for number in range(first, first + count)]


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)
