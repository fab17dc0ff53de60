"""What a trigger's event says, and for how long a trigger waits, at a gateway in this process."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import error_response, html
from triggers.polling import ids
from triggers.waiting import waiting_for

from airflow_provider_apimart.exceptions import TaskNotFoundError
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.triggers.apimart import event_of, seconds_until
from airflow_provider_apimart.triggers.waiter import Waiter

if TYPE_CHECKING:
    import httpx
    from triggers.polling import Polling

KIB = 1024


def completed(task_id: str, *urls: str) -> Task:
    images = tuple(Image(url, None) for url in urls)
    return Task(task_id=task_id, status="completed", state=TaskState.COMPLETED, images=images)


def settled(*tasks: Task) -> Waiter:
    waiter = Waiter([task.task_id for task in tasks], lambda _: None)
    for task in tasks:
        waiter.settle(task.task_id, task)
    return waiter


def data_url(size: int) -> str:
    return "data:image/png;base64,".ljust(size, "A")


class TestTheEnd:
    async def test_of_a_task_that_the_gateway_denies_for_minutes_names_it(self, polling: Polling) -> None:
        polling.gateway.unknown = {"task_bad"}
        waiting = asyncio.create_task(waiting_for(["task_000", "task_bad"], poll_interval=0.01).wait(polling.poller))
        await polling.until(lambda: polling.gateway.times_asked["task_bad"] >= 5)
        assert not waiting.done()

        polling.clock.seconds += 120

        event = await waiting
        assert (event["status"], list(event["failures"]), event["left"]) == ("finished", ["task_bad"], {})
        assert [task["id"] for task in event["tasks"]] == ["task_000"]

    @pytest.mark.parametrize(
        ("status", "refusals", "left"),
        [
            ("processing", [], {"status": "processing", "quote": "", "error": ""}),
            ("dreaming", [], {"status": "dreaming", "error": ""}),
            ("processing", [error_response(401, message="key expired")], {"error": "key expired"}),
            ("processing", [html(403)], {"error": "403"}),
            ("processing", [OSError("bad record")] * 5, {"error": "OSError: bad record"}),
        ],
    )
    async def test_at_the_deadline_says_what_is_known_of_each_task_that_is_left(
        self, polling: Polling, status: str, refusals: list[httpx.Response | Exception], left: dict[str, str]
    ) -> None:
        polling.gateway.running = {"task_000"}
        polling.gateway.running_status = status
        trigger = waiting_for(["task_000"], deadline=time.time() + 1.5, poll_interval=0.01)
        waiting = asyncio.create_task(trigger.wait(polling.poller))
        await polling.until(lambda: polling.gateway.looks)
        polling.gateway.refusals = [*refusals]

        event = await waiting

        assert event["status"] == "timeout"
        assert list(event["left"]) == ["task_000"]
        assert all(text in event["left"]["task_000"][name] for name, text in left.items())

    async def test_of_many_waits_is_small(self) -> None:
        waiter = Waiter(ids(1000), lambda _: None)
        for task_id in ids(1000)[:500]:
            waiter.observe(task_id, "x" * 500)
            waiter.observe(task_id, Task.from_json({"id": task_id, "status": "y" * 5000}))
            waiter.observe(task_id, "x" * 500)
        for task_id in ids(1000)[500:]:
            waiter.settle(task_id, TaskNotFoundError("z" * 5000))

        event = event_of(ids(1000), [], waiter)

        assert len(json.dumps(event)) < 256 * KIB
        assert len(event["left"]) == len(event["failures"]) == 500

    @pytest.mark.parametrize(
        ("tasks", "large"),
        [
            ([completed("a", data_url(60 * KIB))], []),
            ([completed("a", data_url(65 * KIB))], ["a"]),
            ([completed("a", data_url(40 * KIB), data_url(40 * KIB))], ["a"]),
            ([completed("a", data_url(40 * KIB)), completed("b", data_url(40 * KIB))], ["b"]),
            ([completed("a", data_url(4_000 * KIB)), completed("b", "https://cdn.example/b.png")], ["a"]),
            ([completed(name, "https://cdn.example/".ljust(2 * KIB, "a")) for name in ids(50)], []),
        ],
    )
    async def test_leaves_pictures_that_are_too_large_for_it_to_the_worker(
        self, tasks: list[Task], large: list[str]
    ) -> None:
        event = event_of([task.task_id for task in tasks], [], settled(*tasks))

        assert event["large"] == large
        assert [task["id"] for task in event["tasks"]] == [task.task_id for task in tasks if task.task_id not in large]
        assert event["status"] == "finished"
        assert len(json.dumps(event)) < 256 * KIB


class TestTheClock:
    @pytest.mark.parametrize(
        ("moment", "limit", "seconds"),
        [
            (1_010, 600, 10),
            (1_010, None, 10),
            (4_610, 600, 600),
            (4_610, None, 3_610),
            (-2_590, 600, 0),
            (-2_590, None, 0),
        ],
    )
    def test_of_another_machine_does_not_stretch_a_wait(
        self, moment: float, limit: float | None, seconds: float
    ) -> None:
        assert seconds_until(moment, now=1_000, limit=limit) == seconds

    @pytest.mark.parametrize("skew", [-3600, 3600, 86_400])
    async def test_that_was_set_since_the_deferral_neither_stretches_the_wait_nor_delays_the_first_query(
        self, polling: Polling, skew: float
    ) -> None:
        polling.gateway.running = {"task_000"}
        then = time.time() + skew
        times: dict[str, Any] = {"deadline": then + 1, "first_look": then, "timeout": 1.0, "poll_interval": 0.01}

        event = await asyncio.wait_for(waiting_for(["task_000"], **times).wait(polling.poller), 20)

        assert event["status"] == "timeout"
        assert bool(polling.gateway.looks) == (skew > 0)

    async def test_that_was_set_back_does_not_hold_the_event_for_longer_than_ten_seconds(self) -> None:
        trigger = waiting_for([], not_before=time.time() + 3600)

        event = await asyncio.wait_for(anext(trigger.run()), 30)

        assert event.payload["status"] == "finished"
