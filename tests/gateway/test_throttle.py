"""The limits of one client: the adaptive limit on submits, their rate, and the pauses of all requests."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from gateway.clock import HeldClock
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import BusyError, RateLimitError
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.throttle import ConcurrencyLimit, Throttle

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What became of a submit, and how many changes ago it was sent.
histories = st.lists(st.tuples(st.sampled_from(["accepted", "refused"]), st.integers(0, 40)), max_size=200)


def limit(maximum: int = 16, current: int | None = None) -> ConcurrencyLimit:
    return ConcurrencyLimit(maximum=maximum, current=maximum if current is None else current)


def accept(limit: ConcurrencyLimit, times: int = 1) -> ConcurrencyLimit:
    """Send so many one after the other, all of which are accepted."""
    for _ in range(times):
        limit = limit.after_acceptance(limit)
    return limit


def lived(maximum: int, history: Sequence[tuple[str, int]]) -> list[ConcurrencyLimit]:
    """Every limit that there was."""
    limits = [limit(maximum)]
    for outcome, age in history:
        sent_under = limits[max(0, len(limits) - 1 - age)]
        now = limits[-1]
        limits.append(now.after_refusal(sent_under) if outcome == "refused" else now.after_acceptance(sent_under))
    return limits


@pytest.mark.parametrize(("current", "halved"), [(16, 8), (15, 7), (3, 1), (2, 1), (1, 1)])
def test_a_refusal_halves_it_down_to_one(current: int, halved: int) -> None:
    before = limit(current=current)

    assert before.after_refusal(before).current == halved


def test_refusals_of_what_was_sent_together_halve_it_once() -> None:
    before = after = limit()

    for _ in range(16):
        after = after.after_refusal(before)

    assert after.current == 8


def test_a_refusal_of_what_was_sent_after_that_halves_it_again() -> None:
    once = limit().after_refusal(limit())

    assert once.after_refusal(once).current == 4


@pytest.mark.parametrize("current", [1, 2, 7, 15])
def test_it_grows_by_one_after_as_many_accepted_submits_as_there_may_be_at_once(current: int) -> None:
    before = limit(current=current)

    assert accept(before, current - 1).current == current
    assert accept(before, current).current == current + 1
    assert accept(before, current + (current + 1)).current == min(16, current + 2)


def test_a_refusal_starts_the_count_anew() -> None:
    almost = accept(limit(current=8), 7)
    halved = almost.after_refusal(almost)

    assert accept(halved, 3).current == 4
    assert accept(halved, 4).current == 5


def test_what_was_sent_before_the_refusal_does_not_raise_it_again() -> None:
    before = limit()
    after = before.after_refusal(before)

    for _ in range(15):
        after = after.after_acceptance(before)

    assert after.current == 8


@given(maximum=st.integers(1, 64), history=histories)
def test_it_stays_between_one_and_what_the_connection_allows(maximum: int, history: list[tuple[str, int]]) -> None:
    assert all(1 <= limit.current <= maximum == limit.maximum for limit in lived(maximum, history))


@given(maximum=st.integers(1, 64), history=histories)
def test_one_outcome_never_raises_it_by_more_than_one(maximum: int, history: list[tuple[str, int]]) -> None:
    limits = lived(maximum, history)

    assert all(after.current <= before.current + 1 for before, after in pairwise(limits))


@given(maximum=st.integers(1, 64), history=histories)
def test_it_recovers_whatever_happened(maximum: int, history: list[tuple[str, int]]) -> None:
    now = lived(maximum, history)[-1]

    recovered = accept(now, sum(range(now.current, maximum)))

    assert recovered.current == maximum
    assert accept(recovered, 3).current == maximum


class Traffic:
    """Requests that pass a throttle, each for as long as the test wants."""

    def __init__(self, **settings: object) -> None:
        self.clock = HeldClock()
        self.messages: list[str] = []
        self.sent_at: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self.throttle = Throttle(
            GatewaySettings(api_key="sk-x", **settings),  # type: ignore[arg-type]
            notify=self.messages.append,
            clock=self.clock,
            sleep=self.clock.async_sleep,
        )

    async def send(self, *, paid: bool = True, seconds: float = 0, error: Exception | None = None) -> None:
        async with self.throttle.permit(paid=paid):
            self.sent_at.append(self.clock.seconds)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            try:
                await self.clock.async_sleep(seconds)
                if error is not None:
                    raise error
            finally:
                self._at_once -= 1

    async def start(self, count: int, **options: object) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.send(**options)) for _ in range(count)]  # type: ignore[arg-type]
        await self.clock.settle()
        return tasks


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize("maximum", [1, 3])
async def test_no_more_requests_are_on_the_wire_than_allowed(maximum: int, *, paid: bool) -> None:
    traffic = Traffic(max_concurrency=maximum)
    tasks = await traffic.start(7, paid=paid, seconds=1)
    for _ in range(7):
        await traffic.clock.advance(1)

    await asyncio.gather(*tasks)

    assert traffic.most_at_once == maximum
    assert len(traffic.sent_at) == 7


async def test_submits_are_spaced_and_queries_are_not() -> None:
    traffic = Traffic(requests_per_second=0.5)
    submits = await traffic.start(4)
    queries = await traffic.start(3, paid=False)
    assert traffic.sent_at == [0, 0, 0, 0]

    for _ in range(6):
        await traffic.clock.advance(1)
    await asyncio.gather(*submits, *queries)

    assert traffic.sent_at[4:] == [2, 4, 6]


@pytest.mark.parametrize("paid", [True, False])
async def test_all_requests_wait_for_the_end_of_a_pause_and_the_longest_counts(*, paid: bool) -> None:
    traffic = Traffic()
    traffic.throttle.pause(30)
    traffic.throttle.pause(10)
    tasks = await traffic.start(3, paid=paid)

    await traffic.clock.advance(29)
    assert traffic.sent_at == []
    traffic.throttle.pause(20)
    await traffic.clock.advance(1)
    assert traffic.sent_at == []

    await traffic.clock.advance(19)
    await asyncio.gather(*tasks)
    assert traffic.sent_at == [49] * 3


@pytest.mark.parametrize("paid", [True, False])
async def test_a_request_that_waited_for_a_permit_keeps_to_a_pause_that_began_meanwhile(*, paid: bool) -> None:
    traffic = Traffic(max_concurrency=1)
    tasks = await traffic.start(1, paid=False, seconds=5) + await traffic.start(2, paid=paid)
    traffic.throttle.pause(30)

    await traffic.clock.advance(5)
    assert traffic.sent_at == [0]

    await traffic.clock.advance(25)
    await asyncio.gather(*tasks)
    assert traffic.sent_at == [0, 30, 30]


async def test_spaced_submits_keep_their_distance_after_a_pause() -> None:
    traffic = Traffic(requests_per_second=1)
    tasks = await traffic.start(4)
    traffic.throttle.pause(10)

    for _ in range(15):
        await traffic.clock.advance(1)
    await asyncio.gather(*tasks)

    assert traffic.sent_at[0] == 0
    assert all(second - first >= 1 for first, second in pairwise(traffic.sent_at))
    assert all(moment >= 10 for moment in traffic.sent_at[1:])


async def test_a_refusal_for_the_rate_halves_the_submits_and_the_log_says_so() -> None:
    traffic = Traffic(max_concurrency=8)
    refused = await traffic.start(8, seconds=1, error=RateLimitError("no"))
    await traffic.clock.advance(1)
    await asyncio.gather(*refused, return_exceptions=True)
    assert traffic.throttle.concurrency == 4

    traffic.most_at_once = 0
    tasks = await traffic.start(20, seconds=1)
    assert traffic.most_at_once == 4
    for _ in range(40):
        await traffic.clock.advance(1)
    await asyncio.gather(*tasks, *await traffic.start(20))

    assert traffic.messages == [
        "The gateway accepts fewer submits: at most 4 at once, no longer 8",
        "The gateway accepts 8 submits at once again",
    ]


@pytest.mark.parametrize(
    "options", [{"error": BusyError("no")}, {"error": RateLimitError("no"), "paid": False}], ids=str
)
async def test_another_failure_halves_nothing(options: dict[str, object]) -> None:
    traffic = Traffic(max_concurrency=8)

    await asyncio.gather(*await traffic.start(8, **options), return_exceptions=True)

    assert traffic.throttle.concurrency == 8
    assert traffic.messages == []


@pytest.mark.parametrize("paid", [True, False])
async def test_a_request_that_is_cancelled_gives_its_permit_back(*, paid: bool) -> None:
    traffic = Traffic(max_concurrency=2)
    tasks = await traffic.start(6, paid=paid, seconds=100)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    await asyncio.gather(*await traffic.start(2, paid=paid))

    assert len(traffic.sent_at) == 4
