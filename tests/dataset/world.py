"""A gateway and an S3 server as models, and a worker between them, which is the real one."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from logging import getLogger
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.response import StreamingBody

from airflow_provider_apimart.dataset.buying import Buyer
from airflow_provider_apimart.dataset.collecting import Collector
from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.intake import Intake
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.dataset.part import parts_of
from airflow_provider_apimart.dataset.queue import Queue
from airflow_provider_apimart.dataset.recorder import Recorder
from airflow_provider_apimart.dataset.row import row_of
from airflow_provider_apimart.dataset.session import Session, Wait
from airflow_provider_apimart.dataset.spool import Spool
from airflow_provider_apimart.exceptions import (
    ApimartError,
    RateLimitError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import Image, Submission, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dataset.turns import Worker

    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Rules
    from airflow_provider_apimart.transfers.source import Picture

PRICE = 1.0


class NoSuchKeyError(Exception):
    pass


def rows(count: int) -> list[Part]:
    return [
        part
        for number in range(1, count + 1)
        for part in parts_of(row_of(number, f"row-{number}", ImageRequest(prompt=f"picture {number}")), 1)
    ]


@dataclass
class Purchase:
    """A paid call that the gateway has accepted."""

    task_id: str
    prompt: str
    is_free: bool


@dataclass
class World:
    """
    Everything outside the workers. Each of its methods is one step of a worker.

    :param honours_keys: whether the gateway recognises an idempotency key.
    :param failures: how many purchases of a prompt end without a picture and without cost, before one succeeds.
    :param written: every line that was ever put into the ledger.
    """

    honours_keys: bool = True
    failures: Mapping[str, int] = field(default_factory=dict)
    now: float = 1_750_000_000.0
    objects: dict[str, bytes] = field(default_factory=dict)
    modified: dict[str, float] = field(default_factory=dict)
    purchases: list[Purchase] = field(default_factory=list)
    by_key: dict[str, Purchase] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    written: list[bytes] = field(default_factory=list)

    def paid(self, prompt: str | None = None) -> list[Purchase]:
        """Return the purchases that cost money."""
        return [it for it in self.purchases if not it.is_free and prompt in {None, it.prompt}]

    def clock(self, worker: Worker) -> float:
        self.now += 0.25
        return self.now + worker.skew

    def sleep(self, seconds: float) -> None:
        """Let more time pass than somebody sleeps, so that what a dead worker has left is soon old."""
        self.now += 20 * seconds

    def post(self, worker: Worker, prompt: str, key: str) -> Submission | ApimartError:
        def effect() -> Submission | ApimartError:
            if worker.suffers("refuse"):
                return RateLimitError("too many requests")
            known = self.by_key.get(key) if self.honours_keys else None
            purchase = known or self._sold(prompt, key)
            if worker.suffers("lose"):
                return SubmitOutcomeUnknownError("the answer was lost")
            task = Task(task_id=purchase.task_id, status="submitted", state=TaskState.RUNNING)
            return Submission((task,), replayed=known is not None)

        return worker.step(effect)

    def _sold(self, prompt: str, key: str) -> Purchase:
        earlier = sum(it.prompt == prompt for it in self.purchases)
        purchase = Purchase(f"task-{len(self.purchases)}", prompt, earlier < self.failures.get(prompt, 0))
        self.purchases.append(purchase)
        self.by_key[key] = purchase
        return purchase

    def ask(self, worker: Worker, task_id: str) -> Task:
        def effect() -> Task:
            (purchase,) = (it for it in self.purchases if it.task_id == task_id)
            if worker.suffers("run on"):
                return Task(task_id=task_id, status="processing", state=TaskState.RUNNING)
            if purchase.is_free:
                return Task(task_id=task_id, status="failed", state=TaskState.FAILED)
            image = Image(f"https://example.com/{task_id}", None)
            return Task(task_id=task_id, status="completed", state=TaskState.COMPLETED, images=(image,), cost=PRICE)

        return worker.step(effect)

    def copy(self, worker: Worker, task_id: str) -> dict[str, Any]:
        def effect() -> dict[str, Any]:
            self.pictures[task_id] = self.pictures.get(task_id, 0) + 1
            uri = f"s3://bucket/{task_id}.png"
            return {
                "uri": uri,
                "bytes": 1,
                "sha256": "0",
                "content_type": "image/png",
                "width": 1,
                "height": 1,
                "outcome": "copied",
            }

        return worker.step(effect)

    def s3(self, worker: Worker) -> Any:
        """Return what of a boto3 client the ledger uses."""

        def put(*, Key: str, Body: Any, **_: object) -> dict[str, str]:  # noqa: N803 - boto3's names
            content = Body.read()
            worker.step(lambda: self._put(Key, content))
            return {"ETag": etag(content)}

        def get(*, Key: str, **_: object) -> dict[str, Any]:  # noqa: N803
            content = worker.step(lambda: self.objects.get(Key))
            if content is None:
                raise NoSuchKeyError(Key)
            return {"Body": StreamingBody(io.BytesIO(content), len(content))}

        def delete(*, Key: str, **_: object) -> None:  # noqa: N803
            worker.step(lambda: self.objects.pop(Key, None))

        def paginate(*, Prefix: str, **_: object) -> list[dict[str, Any]]:  # noqa: N803
            listed = worker.step(lambda: sorted(item for item in self.objects.items() if item[0].startswith(Prefix)))
            return [{"Contents": [self._described(key, content) for key, content in listed]}]

        return SimpleNamespace(
            put_object=put,
            get_object=get,
            delete_object=delete,
            get_paginator=lambda _: SimpleNamespace(paginate=paginate),
            exceptions=SimpleNamespace(NoSuchKey=NoSuchKeyError),
        )

    def _described(self, key: str, content: bytes) -> dict[str, Any]:
        modified = datetime.fromtimestamp(self.modified.get(key, self.now), UTC)
        return {"Key": key, "ETag": etag(content), "Size": len(content), "LastModified": modified}

    def _put(self, key: str, content: bytes) -> None:
        self.objects[key] = content
        self.modified[key] = self.now
        if key.endswith(".jsonl"):
            self.written += content.splitlines()

    def work(self, worker: Worker, parts: list[Part], rules: Rules) -> None:
        """Do what a task does, from its start to its end, with a new session after each wait."""
        objects = LedgerObjects(self.s3(worker), "bucket", "prefix")
        wait: Wait | None = Wait([], 0, 0.0, 0.0)
        while wait is not None:
            session = self._session(worker, objects, parts, rules)
            try:
                wait = session.work()
            except ApimartError as error:
                if error.retryable:
                    continue
                wait = None
            compact(objects, at_once=1, clock=lambda: self.clock(worker))
            if wait is not None and not wait.task_ids:
                self.now = max(self.now, wait.wake_at)

    def _session(self, worker: Worker, objects: LedgerObjects, parts: list[Part], rules: Rules) -> Session:
        journal = Journal(objects, at_once=1, clock=lambda: self.clock(worker))
        recorder = Recorder(journal, Ledger(), held=0)
        recorder.ledger.add(journal.read())
        hook: Any = Hook(self, worker)
        stopping = Event()
        now = partial(self.clock, worker)
        queue = Queue(journal, rules.run_id, clock=now, elapsed=lambda: self.now, sleep=self.sleep)
        buyer = Buyer(hook, recorder, queue, rules, AsTheyAre(), stopping, clock=now)
        copier: Any = ModelCopier(self, worker)
        log: Any = getLogger(__name__)
        return Session(
            intake=Intake(spool_of(parts)),
            recorder=recorder,
            rules=rules,
            buyer=buyer,
            collector=Collector(hook, copier, recorder, "prefix", 1, stopping, log, clock=now),
            writer="a_task",
            belongs=lambda _: True,
            began_at=self.now,
            timeout=math.inf,
            ends_at=math.inf,
            report=lambda _: None,
            warn=lambda _: None,
            stopping=stopping,
            clock=now,
        )


@dataclass
class Hook:
    """What of the hook a session uses, one call after the other."""

    world: World
    worker: Worker
    settings: Any = field(default_factory=lambda: SimpleNamespace(gateway="apimart"))

    def submit_many(self, purchases: Iterable[tuple[ImageRequest, str]]) -> Iterator[tuple[int, Any]]:
        for place, (request, key) in enumerate(purchases):
            yield place, self.world.post(self.worker, request.prompt, key)

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, Task]:
        return {task_id: self.world.ask(self.worker, task_id) for task_id in task_ids}

    def get_price(self, model: str) -> Price:
        return Price(model, {"paid_price": PRICE})


@dataclass
class AsTheyAre:
    """References of a dataset that has none."""

    def resolved(self, requests: list[ImageRequest]) -> list[ImageRequest]:
        return requests


@dataclass
class ModelCopier:
    world: World
    worker: Worker
    key_template: str = ""

    def copy(self, picture: Picture) -> dict[str, Any]:
        return self.world.copy(self.worker, picture.task_id)


def spool_of(parts: Iterable[Part]) -> Spool:
    spool = Spool(io.BytesIO())
    for part in parts:
        spool.add(part)
    return spool


def etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
