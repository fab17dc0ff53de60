"""
The operators under observation: they note how long they hold a worker, and what that costs.

The DAG run's ``conf`` says where: ``notes`` is the path of a file, and ``profiles``, if given, that of a folder.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import psutil

from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.operators.image import ApimartImageOperator
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator
from benchmarks.copying.profiling import profiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import Context

__all__ = ["ObservedDataset", "ObservedImage", "ObservedTransfer", "WorkerSession", "peak_memory", "read_sessions"]


@dataclass(frozen=True, slots=True)
class WorkerSession:
    """
    One stay of a task on a worker.

    :param begin: Unix seconds at which its process was created; ``end`` those at which its work was done.
    :param is_resumed: whether it continued after a deferral.
    :param cpu: seconds that the process has used.
    :param peak_rss: MiB that the process held at most.
    :param ledger_requests: S3 requests for the ledger.
    """

    begin: float
    end: float
    is_resumed: bool
    cpu: float
    peak_rss: float
    ledger_requests: int


class ObservedDataset(ApimartImageDatasetOperator):
    """The dataset operator, with as many calls in flight as the DAG run's ``conf`` says."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the first stay on a worker."""
        self.max_in_flight = context["dag_run"].conf["in_flight"]
        with _noted(context):
            return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Note a later stay on a worker."""
        with _noted(context, is_resumed=True):
            return super().execute_complete(context, event)


class ObservedImage(ApimartImageOperator):
    """The operator for one picture."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the first stay on a worker."""
        with _noted(context):
            return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Note the second stay on a worker."""
        with _noted(context, is_resumed=True):
            return super().execute_complete(context, event)


class ObservedTransfer(ApimartToS3Operator):
    """The transfer."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Note the stay on a worker."""
        with _noted(context):
            return super().execute(context)


def read_sessions(path: Path) -> list[WorkerSession]:
    """Return what all processes of a DAG run have noted."""
    return [WorkerSession(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def peak_memory() -> float:
    """Return the MiB that this process has held at most, by Linux's word."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


@contextmanager
def _noted(context: Context, *, is_resumed: bool = False) -> Iterator[None]:
    """Note a stay on a worker, however it ends."""
    conf, process = context["dag_run"].conf, psutil.Process()
    profiles = conf.get("profiles")
    with _ledger_requests() as requests:
        try:
            with profiled(Path(profiles, f"{process.pid}.prof")) if profiles else nullcontext():
                yield
        finally:
            session = WorkerSession(
                process.create_time(), time.time(), is_resumed, time.process_time(), peak_memory(), len(requests)
            )
            # A short write at the end of the file is whole: lines of several processes do not mix.
            with Path(conf["notes"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(session)) + "\n")


@contextmanager
def _ledger_requests() -> Iterator[list[str]]:
    """Collect the requests for the ledger, repeated ones too, for the length of a ``with`` statement."""
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

    requests: list[str] = []
    prepare = LedgerStore.__post_init__

    def count(request: Any, **_: Any) -> None:
        # A request that deletes many objects names them in its body.
        if "/ledger/" in unquote(request.url) or request.url.endswith("?delete"):
            requests.append(request.url)

    def observed(store: LedgerStore) -> None:
        prepare(store)
        store.client.meta.events.register("before-send.s3", count)

    LedgerStore.__post_init__ = observed
    try:
        yield requests
    finally:
        LedgerStore.__post_init__ = prepare
