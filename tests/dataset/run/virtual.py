"""A gateway, an S3 server and a clock as models, and a session between them, which is the real one."""

from __future__ import annotations

import hashlib
import io
import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from logging import getLogger
from threading import Event, Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from airflow_provider_apimart.dataset.input import read_dataset
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.run.buying import JUDGED_CALLS, Buyer
from airflow_provider_apimart.dataset.run.collecting import Collector
from airflow_provider_apimart.dataset.run.session import Session
from airflow_provider_apimart.dataset.run.settings import Rules
from airflow_provider_apimart.dataset.run.tally import Tally
from airflow_provider_apimart.exceptions import TaskNotFoundError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.task import Image, Submission, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from airflow_provider_apimart.dataset.run.waves import DatasetWait
    from airflow_provider_apimart.exceptions import ApimartError
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.transfers.source import Picture

PRICE = 0.01
BEGIN = 1_790_000_000.0


@dataclass
class ModelS3:
    """What the ledger uses of a boto3 client; it counts requests."""

    now: Callable[[], float]
    objects: dict[str, tuple[bytes, float, dict[str, str]]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def client(self) -> Any:
        return SimpleNamespace(
            put_object=self.put,
            get_object=self.get,
            head_object=lambda **arguments: self.get(**arguments, is_head=True),
            delete_object=lambda *, Key, **_: self.delete([Key]),  # noqa: N803 - boto3's names
            delete_objects=lambda *, Delete, **_: self.delete([item["Key"] for item in Delete["Objects"]]),  # noqa: N803
            get_paginator=lambda _: SimpleNamespace(paginate=self.paginate),
        )

    def put(self, *, Key: str, Body: Any, Metadata: Any = None, **arguments: Any) -> dict[str, Any]:  # noqa: N803
        content = Body.read()
        with self.lock:
            self.requests.append(("PUT", Key))
            held = self.objects.get(Key)
            if (arguments.get("IfNoneMatch") and held) or (
                "IfMatch" in arguments and (held is None or etag(held[0]) != arguments["IfMatch"])
            ):
                raise self.error(412, "PreconditionFailed")
            self.objects[Key] = (content, self.now(), dict(Metadata or {}))
        return {"ETag": etag(content), **self.meta()}

    def get(self, *, Key: str, Range: str = "", is_head: bool = False, **_: Any) -> dict[str, Any]:  # noqa: N803
        with self.lock:
            self.requests.append(("HEAD" if is_head else "GET", Key))
            if Key not in self.objects:
                raise self.error(404, "NoSuchKey")
            content, modified, metadata = self.objects[Key]
        if Range:
            start, _, end = Range.removeprefix("bytes=").partition("-")
            content = content[int(start) : int(end) + 1 if end else None]
        body = io.BytesIO(content)
        body.iter_lines = lambda chunk_size: iter(content.splitlines())  # type: ignore[attr-defined]  # noqa: ARG005 - boto3's name
        stamp = datetime.fromtimestamp(modified, UTC)
        return {"Body": body, "ETag": etag(content), "LastModified": stamp, "Metadata": metadata, **self.meta()}

    def delete(self, keys: list[str]) -> dict[str, Any]:
        with self.lock:
            for key in keys:
                self.requests.append(("DELETE", key))
                self.objects.pop(key, None)
        return self.meta()

    def paginate(self, *, Prefix: str, StartAfter: str = "", **_: Any) -> list[dict[str, Any]]:  # noqa: N803
        with self.lock:
            self.requests.append(("LIST", Prefix))
            found = sorted(item for item in self.objects.items() if item[0].startswith(Prefix) and item[0] > StartAfter)
        contents = [
            {
                "Key": key,
                "ETag": etag(content),
                "Size": len(content),
                "LastModified": datetime.fromtimestamp(modified, UTC),
            }
            for key, (content, modified, _) in found
        ]
        return [{"Contents": contents, **self.meta()}]

    def meta(self, status: int = 200) -> dict[str, Any]:
        date = formatdate(self.now(), usegmt=True)
        return {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"date": date}}}

    def error(self, status: int, code: str) -> ClientError:
        return ClientError({"Error": {"Code": code}, **self.meta(status)}, "request")  # type: ignore[typeddict-item]


def etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class ModelGateway:
    """
    A gateway whose pictures take as long as ``duration`` draws.

    :param respond: returns an error in place of an acceptance, or after one, by the number of the submit.
    """

    now: Callable[[], float]
    duration: Callable[[], float] = lambda: 45.0
    respond: Callable[[int], ApimartError | None] = lambda _: None
    fail: Callable[[str], bool] = lambda _: False
    price: Callable[[], float] = lambda: PRICE
    submit_seconds: float = 0.0
    pause: Callable[[float], None] = lambda _: None
    submits: list[tuple[float, str, str]] = field(default_factory=list)
    tasks: dict[str, tuple[float, float, str, float]] = field(default_factory=dict)
    denied: set[str] = field(default_factory=set)
    queries: int = 0
    most_running: int = 0
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(gateway=Gateway.APIMART, max_concurrency=16, submit_lifetime=300.0)
    )

    def submit_many(
        self,
        purchases: Iterable[tuple[ImageRequest, str]],
        *,
        on_unread: Any = None,  # noqa: ARG002 - as the hook's
    ) -> Generator[tuple[int, Any], None, None]:
        drawn = list(purchases)
        self.pause(self.submit_seconds)
        for place, (request, key) in enumerate(drawn):
            number = len(self.submits)
            self.submits.append((self.now(), request.prompt, key))
            error = self.respond(number)
            if error is not None and error.charged == "no":
                yield place, error
                continue
            task_id = f"task_{number}"
            self.tasks[task_id] = (self.now(), self.now() + self.duration(), request.prompt, self.price())
            running = sum(end > self.now() for _, end, _, _ in self.tasks.values())
            self.most_running = max(self.most_running, running)
            task = Task(task_id=task_id, status="submitted", state=TaskState.RUNNING)
            yield place, error or Submission((task,), replayed=False)

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Task | TaskNotFoundError]:
        self.queries += 1
        unknown = TaskNotFoundError("unknown", charged="unknown")
        return {task_id: unknown if task_id in self.denied else self._task(task_id) for task_id in task_ids}

    def get_price(self, model: str) -> Price:
        return Price(model, {"paid_price": PRICE})

    def _task(self, task_id: str) -> Task:
        created, completed, prompt, price = self.tasks[task_id]
        if self.now() < completed:
            return Task(task_id=task_id, status="processing", state=TaskState.RUNNING)
        times: dict[str, Any] = {"created": int(created), "completed": int(completed)}
        if self.fail(prompt):
            return Task(task_id=task_id, status="failed", state=TaskState.FAILED, **times)
        image = Image(f"https://example.com/{task_id}", int(completed) + 86_400)
        return Task(
            task_id=task_id, status="completed", state=TaskState.COMPLETED, images=(image,), cost=price, **times
        )


@dataclass
class ModelCopier:
    """Stores pictures; a picture is copied once its thread runs."""

    copied: list[str]
    lock: Lock = field(default_factory=Lock)
    key_template: str = ""

    def copy(self, picture: Picture) -> dict[str, Any]:
        with self.lock:
            self.copied.append(picture.task_id)
        return {
            "uri": f"s3://bucket/{picture.task_id}.png",
            "bytes": 1,
            "sha256": "0",
            "content_type": "image/png",
            "width": 1,
            "height": 1,
            "outcome": "copied",
        }


@dataclass
class World:
    """
    Everything outside the worker, and a clock that only moves when somebody sleeps.

    :param resume_seconds: from a deferral's end until a worker works again.
    """

    resume_seconds: float = 8.0
    time: float = BEGIN
    copied: list[str] = field(default_factory=list)
    worker_seconds: float = 0.0
    longest_idle: float = 0.0
    sessions: int = 0
    random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - repeatable

    def __post_init__(self) -> None:
        self.s3 = ModelS3(self.now)
        self.gateway = ModelGateway(self.now)

    def now(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def run(self, prompts: Any, *, may_leave: bool = True, most_sessions: int = 500, **options: Any) -> dict[str, int]:
        """Work on a dataset as a task does, with a new session after each wait, and return the counts at the end."""
        began_at, failures, refused_since = self.time, deque[bool](), 0.0
        losses: deque[bool] = deque(maxlen=JUDGED_CALLS)
        denied: set[str] = set()
        while True:
            self.sessions += 1
            assert self.sessions < most_sessions
            session = self.session(prompts, began_at=began_at, may_leave=may_leave, losses=losses, **options)
            session.collector.believe(denied)
            session.recent_failures.extend(failures)
            session.refused_since = refused_since
            failures = session.recent_failures
            started, before = self.time, self._actions()
            last = [started]

            def pause(seconds: float) -> None:
                nonlocal before
                if self._actions() != before:
                    before, last[0] = self._actions(), self.time  # noqa: B023 - used before the next one
                self.time += seconds
                self.longest_idle = max(self.longest_idle, self.time - last[0])  # noqa: B023

            session.pause = pause
            try:
                session.begin()
                wait = session.work()
            finally:
                session.collector.close()
                session.tally.rows.close()
                self.worker_seconds += self.time - started
                session.ledger.close(is_finished=not session.is_waiting)
                refused_since = session.refused_since
            if wait is None:
                tally = session.tally
                return {"total": tally.total, "done": tally.done, "failed": tally.failed, "left": tally.left}
            self._wait(wait)
            denied = self.gateway.denied.intersection(wait.task_ids)

    def session(
        self,
        prompts: Any,
        *,
        began_at: float | None = None,
        may_leave: bool = True,
        writer: str = "0" * 16,
        run_id: str = "dag/monday",
        try_number: int = 1,
        warn: Callable[[str], None] = lambda _: None,
        client: Any = None,
        hook: Any = None,
        copier: Any = None,
        held: float = 1.0,
        losses: deque[bool] | None = None,
        **rules: Any,
    ) -> Session:
        """
        Return a worker's session.

        :param client: of the store, ``hook`` of the gateway, and ``copier``, in place of those of this world.
        :param held: real seconds for which the ledger may hold an outcome back.
        """
        store = LedgerStore(client or self.s3.client(), "bucket", "prefix", clock=self.now)
        log: Any = getLogger(__name__)
        ledger = Ledger.open(
            store, writer=writer, try_number=try_number, warn=log.warning, held=held, sleep=lambda _: None
        )
        rows = read_dataset(
            prompts, defaults={"model": "gpt-image-2"}, gateway=Gateway.APIMART, aws_conn_id=None, on_invalid="fail"
        )
        begin = self.time if began_at is None else began_at
        all_rules = Rules(
            ledger=store.address,
            writer=writer,
            try_number=try_number,
            run_id=run_id,
            **{"run_began_at": begin, "try_began_at": begin, "max_tries": 0, **rules},
        )
        stopping = Event()
        hook = hook or self.gateway
        copier = copier or ModelCopier(self.copied)
        references: Any = SimpleNamespace(resolve=lambda requests: requests)
        collector = Collector(hook, copier, ledger, all_rules, "prefix", 16, stopping, log, clock=self.now)
        return Session(
            tally=Tally(rows, ledger, all_rules, is_own_shard=lambda _: True),
            ledger=ledger,
            rules=all_rules,
            buyer=Buyer(
                hook,
                ledger,
                all_rules,
                references,
                stopping,
                recent_losses=deque(maxlen=JUDGED_CALLS) if losses is None else losses,
            ),
            collector=collector,
            may_leave=may_leave,
            report=lambda _: None,
            warn=warn,
            stopping=stopping,
            clock=self.now,
            pause=self.pause,
        )

    def _actions(self) -> tuple[int, int]:
        return len(self.gateway.submits), len(self.copied)

    def _wait(self, wait: DatasetWait) -> None:
        """Let the time pass that the triggerer waits, as its trigger decides it."""
        deferred_at = self.time
        ends = sorted(self.gateway.tasks[task_id][1] for task_id in wait.task_ids)
        due = wait.wake_at if not ends else min(wait.wake_at, max(ends[0], self.time) + wait.linger, ends[-1])
        self.time = max(deferred_at + 10.0, min(due, wait.deadline)) + self.resume_seconds
