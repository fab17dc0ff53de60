"""A limit on how many do something at the same time: nobody gets by it, and no slot is ever lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from gateway.clock import HeldClock

from airflow_provider_apimart.gateway.throttle import Slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: Seconds after which a test gives up that would wait for ever.
PATIENCE = 10


@pytest.fixture
def slots() -> Slots:
    return Slots(2)


@contextmanager
def taken(slots: Slots, count: int = 1) -> Iterator[None]:
    """Have so many of them."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(slots.one()).wait()
        yield


async def hold(slots: Slots) -> None:
    """Take one, and keep it until cancelled."""
    with slots.one() as slot:
        await slot.async_wait()
        await asyncio.Event().wait()


async def test_threads_and_event_loops_wait_for_the_same_slots(slots: Slots) -> None:
    passed = []

    def in_a_thread() -> None:
        with taken(slots):
            passed.append("thread")

    async def in_the_loop() -> None:
        with slots.one() as slot:
            await slot.async_wait()
            passed.append("loop")

    with taken(slots, 2):
        both = asyncio.gather(asyncio.to_thread(in_a_thread), in_the_loop())
        await HeldClock.settle()
        assert passed == []

    await asyncio.wait_for(both, PATIENCE)
    assert sorted(passed) == ["loop", "thread"]


def test_many_threads_and_event_loops_never_have_more_than_there_are(slots: Slots) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def count(change: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += change
            most = max(most, under_way)

    def in_a_thread() -> None:
        for _ in range(50):
            with taken(slots):
                count(1)
                count(-1)

    def in_a_loop() -> None:
        async def use() -> None:
            with slots.one() as slot:
                await slot.async_wait()
                count(1)
                await asyncio.sleep(0)
                count(-1)

        async def use_often() -> None:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(use() for _ in range(50)))

        asyncio.run(use_often())

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(way) for way in [in_a_thread, in_a_loop] * 3]:
            done.result(PATIENCE)

    assert most == 2
    assert slots._taken == 0


async def test_they_are_given_out_in_the_order_in_which_they_are_asked_for(slots: Slots) -> None:
    passed = []

    async def use(number: int) -> None:
        with slots.one() as slot:
            await slot.async_wait()
            passed.append(number)

    with taken(slots, 2):
        all_of_them = asyncio.gather(*map(use, range(10)))
        await HeldClock.settle()
    await all_of_them

    assert passed == list(range(10))


async def test_nobody_is_interrupted_when_there_are_fewer_and_newcomers_wait(slots: Slots) -> None:
    with taken(slots):
        with taken(slots):
            slots.size = 1
            newcomer = asyncio.create_task(hold(slots))
            await HeldClock.settle()
            assert slots._taken == 2
        await HeldClock.settle()
        assert slots._taken == 1

    await HeldClock.settle()
    assert slots._taken == 1, "now it is the newcomer's"
    newcomer.cancel()
    await asyncio.wait([newcomer])
    assert slots._taken == 0


async def test_a_slot_is_kept_for_the_next_attempt(slots: Slots) -> None:
    with slots.one() as slot, taken(slots):
        await slot.async_wait()
        newcomer = asyncio.create_task(hold(slots))

        await asyncio.wait_for(slot.async_wait(), PATIENCE)

        assert slots._taken == 2
        newcomer.cancel()
        await asyncio.wait([newcomer])


async def test_when_there_are_too_many_the_next_attempt_waits_ahead_of_newcomers(slots: Slots) -> None:
    passed = []

    async def attempt_again() -> None:
        await slot.async_wait()
        passed.append("second attempt")
        slot.give_back()

    async def come() -> None:
        with slots.one() as own:
            await own.async_wait()
            passed.append("newcomer")

    with slots.one() as slot, taken(slots):
        slot.wait()
        newcomer = asyncio.create_task(come())
        await HeldClock.settle()
        slots.size = 1
        again = asyncio.create_task(attempt_again())
        await HeldClock.settle()
        assert slots._taken == 1
        assert passed == []

    await asyncio.wait_for(asyncio.gather(again, newcomer), PATIENCE)
    assert passed == ["second attempt", "newcomer"]
    assert slots._taken == 0


async def test_when_there_are_more_those_who_wait_get_them_with_the_next_that_is_given_back(slots: Slots) -> None:
    waiting = [asyncio.create_task(hold(slots)) for _ in range(6)]
    await HeldClock.settle()
    slots.size = 4
    waiting[0].cancel()
    await HeldClock.settle()

    assert slots._taken == 4

    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert slots._taken == 0


def test_one_that_fails_gives_its_slot_back(slots: Slots) -> None:
    with pytest.raises(KeyError), taken(slots):
        raise KeyError

    assert slots._taken == 0


def test_one_that_never_waited_has_none_to_give_back(slots: Slots) -> None:
    with slots.one():
        assert slots._taken == 0

    assert slots._taken == 0


async def test_one_that_is_cancelled_while_it_waits_takes_none(slots: Slots) -> None:
    with taken(slots, 2):
        waiting = asyncio.create_task(hold(slots))
        await HeldClock.settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert slots._taken == 2

    assert waiting.cancelled()
    assert slots._taken == 0


async def test_one_that_is_cancelled_when_its_turn_has_come_gives_it_back(slots: Slots) -> None:
    with taken(slots):
        with taken(slots):
            waiting = asyncio.create_task(hold(slots))
            await HeldClock.settle()
        assert slots._taken == 2, "it has its turn, and does not know it yet"
        waiting.cancel()
        await asyncio.wait([waiting])
        assert slots._taken == 1

    assert waiting.cancelled()


def test_one_whose_event_loop_is_gone_gives_its_slot_back(slots: Slots) -> None:
    async def submit() -> None:
        with slots.one() as slot:
            await slot.async_wait()
            await asyncio.sleep(0)

    abandoned = submit()
    abandoned.send(None)
    assert slots._taken == 1

    abandoned.close()

    assert slots._taken == 0


@pytest.fixture
def _interrupted_when_it_waits() -> Iterator[None]:
    """Interrupt this thread as soon as it waits for another."""

    def interrupt(_number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code is threading.Condition.wait.__code__:
            raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_interrupted_when_it_waits")
def test_a_thread_that_is_interrupted_while_it_waits_takes_none(slots: Slots) -> None:
    with taken(slots, 2):
        with pytest.raises(TimeoutError), taken(slots):
            pass
        assert slots._taken == 2

    assert slots._taken == 0
