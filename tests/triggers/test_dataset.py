"""The trigger of a dataset, against the simulator."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from airflow_provider_apimart.exceptions import ApimartError
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.triggers.dataset import ApimartDatasetTrigger, due_at
from airflow_provider_apimart.triggers.poller import TaskPoller

if TYPE_CHECKING:
    from collections.abc import Callable

    from triggers.polling import Polling

    from airflow_provider_apimart.simulator import Simulator


SETTINGS = {"bucket": "pictures", "prefix": "birds", "shard": [0, 2], "max_cost": None}


def trigger_of(task_ids: list[str], **changes: Any) -> ApimartDatasetTrigger:
    usual: dict[str, Any] = {
        "apimart_conn_id": "apimart_default",
        "task_ids": task_ids,
        "linger": 300.0,
        "deadline": time.time() + 60,
        "wake_at": None,
        "began_at": 1_750_000_000.0,
        "settings": SETTINGS,
        "poll_interval": 0.1,
    }
    return ApimartDatasetTrigger(**{**usual, **changes})


async def event_of(trigger: ApimartDatasetTrigger) -> dict[str, Any]:
    """Return what the trigger fires, after a journey to another triggerer."""
    _, kwargs = trigger.serialize()
    moved = ApimartDatasetTrigger(**json.loads(json.dumps(kwargs, allow_nan=False)))
    events = [event.payload async for event in moved.run()]
    assert len(events) == 1
    payload: dict[str, Any] = events[0]
    return payload


async def test_it_fires_when_all_have_ended_and_its_event_has_no_list_of_them(buy: Callable[..., list[str]]) -> None:
    event = await event_of(trigger_of(buy(12)))

    assert event == {
        "status": "all",
        "ended": 12,
        "of": 12,
        "without_picture": [],
        "began_at": 1_750_000_000.0,
        "settings": SETTINGS,
    }


async def test_it_fires_when_the_first_have_waited_long_enough_for_the_others(
    simulator: Simulator, buy: Callable[..., list[str]]
) -> None:
    simulator.add_fault({"fault": "never_finishes", "match": {"prompt": "picture [01]$"}})

    event = await event_of(trigger_of(buy(12), linger=1.5))

    assert (event["status"], event["of"]) == ("due", 12)
    assert 0 < event["ended"] <= 10


async def test_its_event_names_no_task_that_has_failed(simulator: Simulator, buy: Callable[..., list[str]]) -> None:
    simulator.add_fault({"fault": "task_failed"})

    event = await event_of(trigger_of(buy(3)))

    assert (event["ended"], event["without_picture"]) == (3, [])


async def test_a_task_that_failed_has_ended_too(simulator: Simulator, buy: Callable[..., list[str]]) -> None:
    simulator.add_fault({"fault": "task_failed", "times": 1})

    event = await event_of(trigger_of(buy(2)))

    assert (event["status"], event["ended"]) == ("all", 2)


async def test_a_task_that_the_gateway_denies_for_minutes_has_ended_too(polling: Polling) -> None:
    polling.gateway.unknown = {"task_unheard_of"}
    waiting = asyncio.create_task(trigger_of(["task_unheard_of"], poll_interval=0.01).wait(polling.poller))
    await polling.until(lambda: polling.gateway.times_asked["task_unheard_of"] >= 5)

    polling.clock.seconds += 120

    assert ((await waiting)["status"], waiting.result()["ended"]) == ("all", 1)


async def test_it_gives_up_at_the_deadline(simulator: Simulator, buy: Callable[..., list[str]]) -> None:
    simulator.add_fault({"fault": "never_finishes"})

    event = await event_of(trigger_of(buy(2), deadline=time.time() + 0.5))

    assert (event["status"], event["ended"]) == ("timeout", 0)


@pytest.mark.parametrize("task_ids", [[], ["task_1"]])
async def test_it_waits_no_longer_than_its_timeout_whatever_the_clock_says(
    simulator: Simulator, apimart_connection: str, task_ids: list[str]
) -> None:
    trigger = trigger_of(
        task_ids,
        apimart_conn_id=apimart_connection,
        deadline=time.time() + 3600,
        wake_at=time.time() + 3600,
        timeout=0.5,
        not_before=time.time() - 1,
    )

    event = await event_of(trigger)

    assert event["status"] == ("timeout" if task_ids else "due")
    assert simulator.stats()["submits"]["received"] == 0


async def test_it_fires_when_there_is_something_else_to_do(simulator: Simulator, buy: Callable[..., list[str]]) -> None:
    simulator.add_fault({"fault": "never_finishes"})

    event = await event_of(trigger_of(buy(2), wake_at=time.time() + 0.5))

    assert event["status"] == "due"


async def test_it_may_wait_for_nothing_but_the_time_and_needs_no_gateway_for_that() -> None:
    event = await event_of(trigger_of([], wake_at=time.time() + 0.1))

    assert (event["status"], event["ended"], event["of"], event["without_picture"]) == ("due", 0, 0, [])
    assert TaskPoller.of("apimart_default")._runner is None


async def test_no_event_fires_before_its_time(buy: Callable[..., list[str]]) -> None:
    not_before = time.time() + 1

    await event_of(trigger_of(buy(1), not_before=not_before))

    assert time.time() >= not_before


async def test_it_ends_when_nobody_can_look_any_more(simulator: Simulator, buy: Callable[..., list[str]]) -> None:
    simulator.add_fault({"fault": "never_finishes"})
    waiting = asyncio.create_task(event_of(trigger_of(buy(1))))
    await asyncio.sleep(0.2)

    await TaskPoller.of("apimart_default").aclose()

    with pytest.raises(ApimartError, match="stopped"):
        await waiting


async def test_it_says_what_becomes_of_the_money_when_it_is_killed(buy: Callable[..., list[str]]) -> None:
    with capture_logs() as logs:
        await trigger_of(buy(3)).on_kill()

    assert "will be charged" in logs[0]["event"]


@pytest.mark.parametrize(
    ("wake_at", "first_ended_at", "expiry", "expected"),
    [
        (None, math.inf, None, math.inf),
        (500.0, math.inf, None, 500.0),
        (None, 1_000.0, None, 1_300.0),
        (None, 1_000.0, 90_000, 1_300.0),
        (None, 1_000.0, 1_700, 1_100.0),
        (1_050.0, 1_000.0, 1_700, 1_050.0),
    ],
)
def test_a_finished_picture_waits_a_while_for_others_but_never_until_its_url_dies(
    wake_at: float | None, first_ended_at: float, expiry: int | None, expected: float
) -> None:
    image = Image("https://example.com/a.png", expiry)
    task = Task(task_id="task_1", status="completed", state=TaskState.COMPLETED, images=(image,))

    assert due_at([task], wake_at=wake_at, linger=300.0, first_ended_at=first_ended_at) == expected
