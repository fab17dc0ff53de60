"""Ten thousand waits in one event loop, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest
from services.waiting import PATIENCE, wait_until
from triggers.gateway_server import GatewayServer
from triggers.waiting import event_of, waiting_for

from airflow_provider_apimart.triggers.poller import TaskPoller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from triggers.polling import Polling

WAVES = 10
WAITS_PER_WAVE = 1000
#: As many as a poller may have by default. Both ends of each are in this process.
CONNECTIONS = 16
#: Bytes. If each wait left no more than an entry in a dictionary behind, ten thousand would leave four times as much.
TOLERANCE = 256 * 1024


@dataclass(frozen=True)
class Held:
    """What the process holds at a moment: event loop's tasks, sockets and files, entries of the poller, bytes."""

    tasks: int
    files: int
    entries: int
    memory: int

    @classmethod
    async def now(cls, poller: TaskPoller) -> Held:
        await asyncio.sleep(0)  # The event loop lets go of what woke this coroutine.
        gc.collect()
        schedule = poller._schedule
        looked_after = (
            poller._waiters,
            poller._suspects,
            poller._singly,
            schedule._intervals,
            schedule._due,
            schedule._heap,
        )
        return cls(
            tasks=len(asyncio.all_tasks()),
            files=psutil.Process().num_fds(),
            entries=sum(map(len, looked_after)),
            memory=tracemalloc.get_traced_memory()[0],
        )


@pytest.fixture(autouse=True)
def _traced_memory(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.WARNING)  # pytest keeps what is logged.
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def server(connect: Callable[..., None]) -> Iterator[GatewayServer]:
    with GatewayServer() as server:
        connect(host=server.url)
        yield server


async def test_ten_thousand_waits_leave_nothing(server: GatewayServer) -> None:
    async def wave(number: int) -> None:
        triggers = [waiting_for([f"task_{number}_{place}"]) for place in range(WAITS_PER_WAVE)]
        events = await asyncio.gather(*map(event_of, triggers))
        assert {event["status"] for event in events} == {"finished"}

    before = await Held.now(TaskPoller.of("apimart_default"))
    await wave(0)
    poller = TaskPoller.of("apimart_default")
    warm = await Held.now(poller)
    assert warm.tasks == 2, "this test and the poller"

    for number in range(1, WAVES + 1):
        await wave(number)

    after = await Held.now(poller)
    assert TaskPoller.of("apimart_default") is poller
    assert (after.tasks, after.entries) == (warm.tasks, 0)
    # On a slow machine the poller has some more of the connections that it may have. They are gone when it closes.
    wait_for_files(warm.files + 2 * CONNECTIONS)
    assert after.memory - warm.memory < TOLERANCE
    assert server.requests <= (WAVES + 1) * WAITS_PER_WAVE / 50

    await poller.aclose()
    assert (await Held.now(poller)).tasks == 1
    wait_for_files(before.files)


def wait_for_files(number: int) -> None:
    """Wait until no more are open: the server, a thread of this process, closes connections in its own time."""
    wait_until(lambda: psutil.Process().num_fds() <= number, what=f"no more than {number} open files", within=PATIENCE)


def is_between_looks() -> bool:
    """Whether nothing runs but the test and the poller."""
    return len(asyncio.all_tasks()) == 2


@pytest.mark.parametrize("times_at_once", [1, 100])
async def test_a_task_for_which_ten_thousand_come_and_go_leaves_nothing(polling: Polling, times_at_once: int) -> None:
    polling.gateway.running = {"task_hot", "task_other"}
    other = polling.wait_for("task_other")
    await polling.until(lambda: polling.gateway.looks and is_between_looks())

    async def come_and_go(number: int) -> Held:
        for _ in range(number // times_at_once):
            waiters = [polling.wait_for("task_hot") for _ in range(times_at_once)]
            await asyncio.sleep(0)
            for waiter in waiters:
                polling.poller.unregister(waiter)
        del waiters, waiter
        polling.gateway.looks.clear()
        await polling.until(is_between_looks)
        return await Held.now(polling.poller)

    warm = await come_and_go(1_000)
    after = await come_and_go(10_000)
    assert after.files <= warm.files, "fewer where something of an earlier test was closed meanwhile"
    assert after.entries <= 100, "one that is waited for, and moments that are out of date"
    assert after.memory - warm.memory < TOLERANCE
    polling.gateway.running.clear()
    assert await polling.ended(other) == [None]
    assert polling.is_idle()
