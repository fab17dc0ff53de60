"""A gateway and an S3 server as models, and a worker between them that does what the plan says."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.response import StreamingBody

from airflow_provider_apimart.dataset.claiming import claim, objection_to
from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.dataset.outcome import copied, ending_of, failed, submitted, unknown
from airflow_provider_apimart.dataset.part import parts_of
from airflow_provider_apimart.dataset.row import row_of
from airflow_provider_apimart.dataset.survey import Next, survey, verdict
from airflow_provider_apimart.exceptions import (
    ApimartError,
    RateLimitError,
    RecordUnavailableError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.submission import Submission
from airflow_provider_apimart.gateway.task import Image, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataset.turns import Worker

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Rules

__all__ = ["PRICE", "World", "rows"]

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
    run_id: str
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

    def post(self, worker: Worker, entry: Entry) -> Submission | ApimartError:
        def effect() -> Submission | ApimartError:
            if worker.suffers("refuse"):
                return RateLimitError("too many requests")
            known = self.by_key.get(entry.idempotency_key) if self.honours_keys else None
            purchase = known or self._sold(entry)
            if worker.suffers("lose"):
                return SubmitOutcomeUnknownError("the answer was lost")
            task = Task(task_id=purchase.task_id, status="submitted", state=TaskState.RUNNING)
            return Submission((task,), replayed=known is not None)

        return worker.step(effect)

    def _sold(self, entry: Entry) -> Purchase:
        earlier = sum(it.prompt == entry.prompt for it in self.purchases)
        is_free = earlier < self.failures.get(entry.prompt, 0)
        purchase = Purchase(f"task-{len(self.purchases)}", entry.prompt, entry.run_id, is_free)
        self.purchases.append(purchase)
        self.by_key[entry.idempotency_key] = purchase
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
            return [{"Contents": [{"Key": key, "ETag": etag(it), "Size": len(it)} for key, it in listed]}]

        return SimpleNamespace(
            put_object=put,
            get_object=get,
            delete_object=delete,
            get_paginator=lambda _: SimpleNamespace(paginate=paginate),
            exceptions=SimpleNamespace(NoSuchKey=NoSuchKeyError),
        )

    def _put(self, key: str, content: bytes) -> None:
        self.objects[key] = content
        if key.endswith(".jsonl"):
            self.written += content.splitlines()

    def work(self, worker: Worker, parts: list[Part], rules: Rules) -> None:
        """Do what a task does, from its start to its end."""
        objects = LedgerObjects(self.s3(worker), "bucket", "prefix")
        journal = Journal(objects, at_once=1, clock=lambda: self.clock(worker))
        task = _Task(self, worker, journal, Ledger(), rules, parts)
        task.ledger.add(journal.read())
        while task.goes_on():
            compact(objects, at_once=1, clock=lambda: self.clock(worker))


@dataclass
class _Task:
    world: World
    worker: Worker
    journal: Journal
    ledger: Ledger
    rules: Rules
    parts: list[Part]

    def goes_on(self) -> bool:
        found = survey(self.parts, self.ledger, self.rules, now=self._now(), belongs=lambda _: True)
        for entry in found.lost:
            self._note(unknown(entry, SubmitOutcomeUnknownError("an earlier try died"), now=self._now()))
        for _, entry in found.resubmit:
            self._submit(entry, again=True)
        try:
            bought = claim(
                found.buy[: max(0, self.rules.max_in_flight - found.in_flight)],
                self.journal,
                self.ledger,
                self.rules,
                listed_price=self._price,
                clock=self._now,
                sleep=lambda _: None,
            )
        except RecordUnavailableError:
            return True
        for _, entry in bought:
            self._submit(entry, again=False)
        self._collect()
        found = survey(self.parts, self.ledger, self.rules, now=self._now(), belongs=lambda _: True)
        objection = None
        if found.buy:
            objection = objection_to(found.buy[0], self.ledger, self.rules, listed_price=self._price)
        following = verdict(found, self.rules, objection=objection)
        if found.waiting and not found.in_flight:
            self.world.now = max(self.world.now, found.look_again_at)
        return following.next in {Next.BUY, Next.DEFER}

    def _price(self, _: ImageRequest) -> float | None:
        return PRICE

    def _now(self) -> float:
        return self.world.clock(self.worker)

    def _submit(self, entry: Entry, *, again: bool) -> None:
        answer = self.world.post(self.worker, entry)
        self._note(submitted(entry, answer, again=again, now=self._now()))

    def _collect(self) -> None:
        found = survey(self.parts, self.ledger, self.rules, now=self._now(), belongs=lambda _: True)
        for entry in found.ask:
            ending = ending_of(entry, {it: self.world.ask(self.worker, it) for it in entry.task_ids})
            if ending is None:
                continue
            if ending.has_pictures:
                objects = [self.world.copy(self.worker, it) for it in entry.task_ids]
                self._note(copied(entry, ending, objects, now=self._now()))
            else:
                self._note(failed(entry, ending, now=self._now()))

    def _note(self, entry: Entry) -> None:
        self.journal.append([entry])
        self.ledger.add([entry])


def etag(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
