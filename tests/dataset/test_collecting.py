"""What has ended at the gateway is copied and noted; gateway, image hosts and bucket answer as they are told to."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import NOW, entry

from airflow_provider_apimart.dataset.collecting import Collector
from airflow_provider_apimart.dataset.entry import Entry, Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.recorder import Recorder
from airflow_provider_apimart.exceptions import ApimartError, ImageRejectedError, TaskNotFoundError, TransferError
from airflow_provider_apimart.gateway.task import Image, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
    from airflow_provider_apimart.transfers.source import Picture

LASTING = ImageRejectedError("no picture", retryable=False)


def running(task_id: str) -> Task:
    return Task(task_id=task_id, status="processing", state=TaskState.RUNNING)


def completed(task_id: str, *expiries: int | None, cost: float | None = 0.5) -> Task:
    images = tuple(Image(f"https://example.com/{task_id}/{place}", expiry) for place, expiry in enumerate(expiries))
    return Task(task_id=task_id, status="completed", state=TaskState.COMPLETED, images=images, cost=cost)


def failed(task_id: str) -> Task:
    return Task(task_id=task_id, status="failed", state=TaskState.FAILED)


def bought(row_id: str, *task_ids: str, **changes: Any) -> Entry:
    return entry(id=row_id, status=Status.ACCEPTED, charged="unknown", task_ids=task_ids, **changes)


@dataclass
class Hook:
    tasks: dict[str, Task | ApimartError]
    asked: list[str] = field(default_factory=list)
    settings: Any = field(default_factory=lambda: SimpleNamespace(gateway="apimart"))

    def get_tasks(self, task_ids: Iterable[str]) -> Mapping[str, Task | ApimartError]:
        wanted = list(task_ids)
        self.asked += wanted
        return {task_id: self.tasks[task_id] for task_id in wanted}


@dataclass
class Copier:
    """
    Copies everything but what is to fail, by URL.

    :param copied: keys and pictures.
    """

    failures: dict[str, ApimartError] = field(default_factory=dict)
    copied: list[tuple[str, Picture]] = field(default_factory=list)
    key_template: str = ""

    def copy(self, picture: Picture) -> dict[str, Any]:
        path = picture.url.removeprefix("https://example.com/")
        if path in self.failures:
            raise self.failures[path]
        key = self.key_template.format(task_id=picture.task_id, index=picture.index, ext="png")
        self.copied.append((key, picture))
        facts = {"bytes": 1, "sha256": "0", "content_type": "image/png", "width": 1, "height": 1}
        return {"uri": f"s3://bucket/{key}", "outcome": "copied", **facts}


@pytest.fixture
def collector(objects: LedgerObjects) -> Callable[..., Collector]:
    def make(tasks: Iterable[Task] = (), **failures: ApimartError) -> Collector:
        hook: Any = Hook({task.task_id: task for task in tasks})
        copier: Any = Copier({path.replace("_", "/"): error for path, error in failures.items()})
        log: Any = logging.getLogger(__name__)
        recorder = Recorder(Journal(objects), Ledger())
        return Collector(hook, copier, recorder, "catalogue", 1, Event(), log, clock=lambda: NOW, sleep=lambda _: None)

    return make


def collected(one: Collector, *entries: Entry) -> dict[str, Entry]:
    """Return what is noted, by the ids of the rows."""
    one.collect(one.ended(entries))
    return {noted.id: noted for noted in Journal(one.recorder.journal.objects).read()}


def test_calls_that_have_ended_are_copied_and_the_others_wait(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None), running("t2")])

    noted = collected(one, bought("lamp", "t1"), bought("chair", "t2"))

    assert list(noted) == ["lamp"]
    lamp = noted["lamp"]
    assert (lamp.status, lamp.cost, lamp.charged) == (Status.COPIED, 0.5, "yes")
    assert [held["uri"] for held in lamp.objects] == ["s3://bucket/catalogue/images/lamp-t1-0.png"]


def test_all_tasks_of_a_call_must_have_ended(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None), running("t2")])

    assert one.ended([bought("lamp", "t1", "t2")]) == []


def test_what_dies_first_is_copied_first(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None), completed("t2", 300), completed("t3", 400, 200)])

    collected(one, bought("a", "t1"), bought("b", "t2"), bought("c", "t3"))

    assert [picture.task_id for _, picture in one.copier.copied] == ["t3", "t3", "t2", "t1"]  # type: ignore[attr-defined]


def test_a_picture_carries_the_facts_of_its_making(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None)])

    collected(one, bought("lamp", "t1"))

    ((_, picture),) = one.copier.copied  # type: ignore[attr-defined]
    assert dict(picture.facts) == {"gateway": "apimart", "model": "gpt-image-2", "row": "lamp", "cost": "0.5"}


def test_a_call_without_a_picture_is_noted_with_what_it_has_cost(collector: Callable[..., Collector]) -> None:
    noted = collected(collector([failed("t1")]), bought("lamp", "t1"))

    assert (noted["lamp"].status, noted["lamp"].charged, noted["lamp"].cost) == (Status.FAILED, "no", 0.0)


def test_a_task_that_the_gateway_has_forgotten_is_no_reason_to_wait(collector: Callable[..., Collector]) -> None:
    one = collector()
    one.hook.tasks["t1"] = TaskNotFoundError("unknown")  # type: ignore[attr-defined]

    noted = collected(one, bought("lamp", "t1", updated_at=NOW - 120))

    assert (noted["lamp"].status, noted["lamp"].charged, noted["lamp"].cost) == (Status.FAILED, "unknown", None)
    assert one.hook.asked == ["t1"] * 5  # type: ignore[attr-defined]


def test_a_task_that_is_new_may_not_be_visible_yet(collector: Callable[..., Collector]) -> None:
    one = collector()
    one.hook.tasks["t1"] = TaskNotFoundError("unknown")  # type: ignore[attr-defined]

    assert one.ended([bought("lamp", "t1", updated_at=NOW - 119)]) == []


def test_a_gateway_that_denies_a_task_once_is_not_believed(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None)])
    finished = one.hook.tasks["t1"]  # type: ignore[attr-defined]
    one.hook.tasks["t1"] = TaskNotFoundError("unknown")  # type: ignore[attr-defined]
    one.sleep = lambda _: one.hook.tasks.update(t1=finished)  # type: ignore[attr-defined]

    noted = collected(one, bought("lamp", "t1", updated_at=NOW - 3600))

    assert noted["lamp"].status is Status.COPIED


def test_what_cannot_be_copied_now_keeps_no_other_from_it_and_is_left_to_the_next_worker(
    collector: Callable[..., Collector],
) -> None:
    one = collector([completed("t1", None), completed("t2", None)], t1_0=TransferError("the host is away"))
    lamp, chair = bought("lamp", "t1"), bought("chair", "t2")

    noted = collected(one, lamp, chair)

    assert list(noted) == ["chair"]
    assert list(one.uncopied) == [lamp.key]
    assert one.ended([lamp]) == []


def test_one_picture_of_several_that_is_lost_for_good_takes_no_other_with_it(
    collector: Callable[..., Collector], caplog: pytest.LogCaptureFixture
) -> None:
    one = collector([completed("t1", None, None)], t1_0=LASTING)

    noted = collected(one, bought("lamp", "t1"))

    assert noted["lamp"].status is Status.COPIED
    assert [held["uri"] for held in noted["lamp"].objects] == ["s3://bucket/catalogue/images/lamp-t1-1.png"]
    assert "A picture of row lamp is lost, although it was paid for: no picture" in caplog.text


def test_a_row_whose_only_picture_is_lost_for_good_has_failed_and_was_charged(
    collector: Callable[..., Collector],
) -> None:
    noted = collected(collector([completed("t1", None)], t1_0=LASTING), bought("lamp", "t1"))

    assert (noted["lamp"].status, noted["lamp"].charged, noted["lamp"].cost) == (Status.FAILED, "yes", 0.5)


def test_what_came_with_the_answer_is_not_asked_after(collector: Callable[..., Collector]) -> None:
    one = collector()

    noted = collected(one, bought("lamp", "t1", delivered=(completed("t1", None).to_json(),)))

    assert noted["lamp"].status is Status.COPIED
    assert one.hook.asked == []  # type: ignore[attr-defined]


def test_no_copy_begins_when_the_worker_is_about_to_be_killed(collector: Callable[..., Collector]) -> None:
    one = collector([completed("t1", None)])
    ended = one.ended([bought("lamp", "t1")])
    one.stopping.set()

    one.collect(ended)

    assert one.copier.copied == []  # type: ignore[attr-defined]
    assert one.uncopied == {}
