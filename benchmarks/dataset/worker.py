"""
One worker process of a large dataset, in virtual time, for the part :mod:`~benchmarks.dataset.scale`.

Run as ``python -m benchmarks.dataset.worker STEP ROWS FOLDER [PROFILE]``; prints figures as its last line.

Operator, ledger, input and S3 server are the real ones. The gateway and the copies of pictures are stubs that cost next
to nothing, and time passes only while the worker sleeps: hours of log-normal pictures of 45 s are over in minutes.

===========  =======================================================================================================
Step         The worker
===========  =======================================================================================================
buy          buys all rows; the last 150 pictures are not finished, so that it leaves at the end
resume       finds none of them finished, and leaves again
finish       finds all of them finished, and ends the task
unchanged    is that of the next DAG run, which has nothing to buy
===========  =======================================================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from unittest.mock import patch

from airflow.sdk.exceptions import TaskDeferred
from operators.task_instance import TaskInstance

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.run.collecting import Collector
from airflow_provider_apimart.dataset.run.session import Session
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Image, Submission, Task, TaskState
from airflow_provider_apimart.operators import dataset_session
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.transfers.keys import key_of
from airflow_provider_apimart.transfers.s3_bucket import open_bucket
from benchmarks.copying.profiling import profiled
from benchmarks.dataset.gateway import draw_duration
from benchmarks.dataset.operators import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.transfers.s3_bucket import S3Bucket
    from airflow_provider_apimart.transfers.source import Picture

__all__ = ["BUCKET", "PREFIX", "VirtualTime", "main"]

BUCKET, PREFIX = "pictures", "catalogue"
#: Calls whose pictures are not finished when the worker has bought all rows.
_UNFINISHED: Final = 150
#: Seconds that a deferral takes.
_DEFERRED: Final = 10.0
_MEAN, _SIGMA, _COST = 45.0, 0.35, 0.0085


@dataclass
class VirtualTime:
    """A clock that moves only when somebody sleeps, and the timers that it fires meanwhile."""

    now: float
    timers: list[VirtualTimer] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ends_at = self.now + seconds
        while due := [timer for timer in self.timers if timer.due_at <= ends_at]:
            timer = min(due, key=lambda each: each.due_at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.due_at)
            timer.function()
        self.now = ends_at

    def timer(self, interval: float, function: Callable[[], None]) -> VirtualTimer:
        """Stand in for :class:`threading.Timer`."""
        return VirtualTimer(self, interval, function)


@dataclass(eq=False)
class VirtualTimer:
    """A timer of the virtual time."""

    time: VirtualTime
    interval: float
    function: Callable[[], None]
    daemon: bool = False
    due_at: float = math.inf

    def start(self) -> None:
        """Fire after the interval."""
        self.due_at = self.time.now + self.interval
        self.time.timers.append(self)

    def cancel(self) -> None:
        """Fire no more."""
        if self in self.time.timers:
            self.time.timers.remove(self)


@dataclass
class StubGateway:
    """
    Stands in for the hook.

    :param ends: when each unfinished call began and ends, by its task id.
    :param finite: number of calls whose pictures are finished at some time; later ones never are.
    """

    time: VirtualTime
    finite: float
    submits: int = 0
    ends: dict[str, tuple[float, float]] = field(default_factory=dict)
    settings: GatewaySettings = field(
        default_factory=lambda: GatewaySettings(api_key="sk-bench", base_url="http://127.0.0.1:9")
    )
    source: random.Random = field(default_factory=lambda: random.Random(7))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit_many(
        self,
        purchases: Iterable[tuple[ImageRequest, str]],
        *,
        on_unread: object = None,  # noqa: ARG002 - as the hook's
    ) -> Iterator[tuple[int, Submission]]:
        """Accept everything at once."""
        for place, _ in enumerate(purchases):
            task_id = f"task_{self.submits:08}"
            duration = draw_duration(self.source, mean=_MEAN, sigma=_SIGMA) if self.submits < self.finite else math.inf
            self.ends[task_id] = (self.time.now, self.time.now + duration)
            self.submits += 1
            task = Task(task_id=task_id, status="submitted", state=TaskState.RUNNING)
            yield place, Submission((task,), replayed=False)

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Task]:
        """Describe calls; one that has ended is not queried again."""
        return {task_id: self._task(task_id) for task_id in task_ids}

    def get_price(self, model: str) -> Price:
        """Return the price table."""
        return Price(model, {"paid_price": _COST})

    def _task(self, task_id: str) -> Task:
        begin, end = self.ends[task_id]
        if self.time.now < end:
            return Task(task_id=task_id, status="processing", state=TaskState.RUNNING)
        del self.ends[task_id]
        return Task(
            task_id=task_id,
            status="completed",
            state=TaskState.COMPLETED,
            images=(Image(f"http://127.0.0.1:9/f/image/{task_id}.png", int(end) + 86_400),),
            cost=_COST,
            created=int(begin),
            completed=int(end),
        )


@dataclass(frozen=True)
class StubCopier:
    """Describes pictures as if they had been copied."""

    bucket: S3Bucket
    key_template: str = ""

    def copy(self, picture: Picture) -> dict[str, Any]:
        """Return the description of a picture's object."""
        return {
            "uri": f"s3://{BUCKET}/{key_of(self.key_template, picture, 'png')}",
            "bytes": 1_500_000,
            "sha256": hashlib.sha256(picture.task_id.encode()).hexdigest(),
            "content_type": "image/png",
            "width": 1024,
            "height": 1024,
            "outcome": "copied",
        }


@dataclass
class Traffic:
    """The requests for the ledger, and the bytes that were read."""

    requests: int = 0
    bytes_read: int = 0

    def observe(self, http_response: Any, parsed: Any, model: Any, **_: Any) -> None:
        """Count a response, and take its date away: the ledger's clock is the virtual one."""
        self.requests += 1
        if model.name == "GetObject" and "Body" in parsed:
            parsed["Body"]._raw_stream = CountedStream(parsed["Body"]._raw_stream, self)  # noqa: SLF001
        else:
            self.bytes_read += len(http_response.content)
        parsed["ResponseMetadata"]["HTTPHeaders"].pop("date", None)


@dataclass
class CountedStream:
    """A body that counts what is read of it: a manifest is not always read to its end."""

    stream: Any
    traffic: Traffic

    def read(self, *arguments: Any) -> bytes:
        """Read, and count the bytes."""
        content: bytes = self.stream.read(*arguments)
        self.traffic.bytes_read += len(content)
        return content

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the stream."""
        return getattr(self.stream, name)


@contextmanager
def _in_virtual_time(clock: VirtualTime, gateway: StubGateway, traffic: Traffic) -> Iterator[None]:
    """Replace the gateway, the copies and all clocks of a dataset session."""

    @contextmanager
    def open_copier(_: object, *, bucket: str, aws_conn_id: str, at_once: int, **__: Any) -> Iterator[StubCopier]:
        with open_bucket(bucket, aws_conn_id=aws_conn_id, extra_args={}, at_once=at_once) as opened:
            yield StubCopier(opened)

    def open_store(client: Any, *arguments: Any) -> LedgerStore:
        client.meta.events.register("after-call.s3", traffic.observe)
        return LedgerStore(client, *arguments, clock=now)

    def now() -> float:
        return clock.now

    def session(**arguments: Any) -> Session:
        return Session(**{**arguments, "clock": now, "pause": clock.sleep})

    with (
        patch.multiple(
            dataset_session,
            ApimartHook=lambda _: gateway,
            open_copier=open_copier,
            LedgerStore=open_store,
            Collector=partial(Collector, clock=now),
            Session=session,
        ),
        patch("airflow_provider_apimart.dataset.ledger.ledger.Timer", clock.timer),
    ):
        yield


def _stay(
    operator: ApimartImageDatasetOperator, ti: TaskInstance, event: dict[str, Any] | None
) -> dict[str, Any] | int:
    """Return the event after which the task continues, or the number of rows that are done at its end."""
    context: Any = ti.context
    try:
        result = operator.execute(context) if event is None else operator.execute_complete(context, event)
    except TaskDeferred as deferred:
        _, kwargs = deferred.trigger.serialize()
        known = {"began_at": kwargs["began_at"], "settings": kwargs["settings"]}
        return {"status": "due", "ended": 0, "of": len(kwargs["task_ids"]), **known}
    return int(result["done"])


def run_step(step: str, rows: int, folder: Path) -> dict[str, float]:
    """Run one step, and return its figures; ``state.json`` in the folder holds what the next one needs."""
    file = folder / "state.json"
    state = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"now": time.time(), "gateway": {}}
    clock = VirtualTime(state["now"])
    gateway, traffic = StubGateway(clock, rows - min(_UNFINISHED, rows // 2), **state["gateway"]), Traffic()
    if step == "finish":
        gateway.ends = {task_id: (begin, clock.now) for task_id, (begin, _) in gateway.ends.items()}
    ti = TaskInstance(run_id=step if step == "unchanged" else "buy", store=None)
    ti.start_date = datetime.fromtimestamp(state.setdefault("began_at", clock.now), UTC)
    if step == "unchanged":
        ti.start_date = datetime.fromtimestamp(clock.now, UTC)
    operator = ApimartImageDatasetOperator(
        task_id="pictures", prompts=str(folder / "rows.jsonl"), s3_bucket=BUCKET, s3_prefix=PREFIX, timeout=3600
    )
    with _in_virtual_time(clock, gateway, traffic):
        begin = time.process_time()
        event = None if step in {"buy", "unchanged"} else state["event"]
        while isinstance(event := _stay(operator, ti, event), dict):
            state["event"] = event
            if step == "resume" or (step == "buy" and gateway.submits == rows):
                break
            clock.sleep(_DEFERRED)
        cpu = time.process_time() - begin
    done = rows - event["of"] if isinstance(event, dict) else event
    state |= {"now": clock.now + _DEFERRED, "gateway": {"submits": gateway.submits, "ends": gateway.ends}}
    file.write_text(json.dumps(state), encoding="utf-8")
    return {
        "cpu": cpu,
        "peak_rss": peak_memory(),
        "requests": traffic.requests,
        "bytes_read": traffic.bytes_read,
        "done": done,
        "submits": gateway.submits,
        "hours": (clock.now - state["began_at"]) / 3600,
    }


def main() -> None:
    """Run what the command line says."""
    step, rows, folder, *profile = sys.argv[1:]
    with profiled(Path(profile[0])) if profile else nullcontext():
        figures = run_step(step, int(rows), Path(folder))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
