"""Many submits side by side: as many as allowed, each once, none of them lost."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.clock import HeldClock
from gateway.exchange import error_response
from hooks.hook_without_pauses import HookWithoutPauses
from hooks.shop import Shop
from structlog.testing import capture_logs

from airflow_provider_apimart.exceptions import (
    InvalidRequestError,
    RateLimitError,
    RequestRejectedError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS, AsyncGatewayClient
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import Submission
from airflow_provider_apimart.gateway.throttle import Pace
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_apimart.exceptions import ApimartError
    from airflow_provider_apimart.gateway.client import GatewayClient
    from airflow_provider_apimart.hooks._submitting import Outcome, Purchase
    from airflow_provider_apimart.simulator import Simulator

    SubmitMany = Callable[..., "Heard"]
    MakeHook = Callable[..., HookWithoutPauses]


def ids_of(outcome: Submission | ApimartError) -> list[str]:
    return [task.task_id for task in outcome.tasks] if isinstance(outcome, Submission) else []


@dataclass
class Heard:
    """
    What a caller comes to know.

    :param outcomes: what it read.
    :param warnings: what was logged as one.
    :param infos: likewise.
    :param error: what ended it.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    error: Exception | None = None

    @property
    def task_ids(self) -> list[str]:
        """The tasks that it knows, one way or the other."""
        read = itertools.chain.from_iterable(ids_of(outcome) for _, outcome in self.outcomes)
        said = (re.search("accepted as (.*) after its outcome was no longer read", line) for line in self.warnings)
        return [*read, *(match[1] for match in said if match)]

    @contextmanager
    def listening(self) -> Iterator[None]:
        with capture_logs() as logged:
            try:
                yield
            except (OSError, RuntimeError) as error:
                self.error = error
        self.warnings += [line["event"] for line in logged if line["log_level"] == "warning"]
        self.infos += [line["event"] for line in logged if line["log_level"] == "info"]


def blocking(hook: ApimartHook, purchases: Iterable[Purchase], *, read: int | None = None) -> Heard:
    """Listen to the first ``read`` outcomes, and stop then."""
    heard = Heard()
    with heard.listening(), hook, closing(hook.submit_many(purchases)) as outcomes:
        heard.outcomes.extend(itertools.islice(outcomes, read))
    return heard


def asynchronous(hook: ApimartHook, purchases: Iterable[Purchase], *, read: int | None = None) -> Heard:
    """Do the same in an event loop."""
    heard = Heard()

    async def main() -> None:
        async with hook, aclosing(hook.asubmit_many(purchases)) as outcomes:
            while len(heard.outcomes) != read:
                try:
                    heard.outcomes.append(await anext(outcomes))
                except StopAsyncIteration:
                    break

    with heard.listening():
        asyncio.run(main())
    return heard


@pytest.fixture(params=[blocking, asynchronous], ids=["blocking", "asynchronous"])
def submit_many(request: pytest.FixtureRequest) -> SubmitMany:
    way: SubmitMany = request.param
    return way


@pytest.fixture
def hook_at(connect: Callable[..., None]) -> MakeHook:
    """Make a hook that buys from a shop, with so many requests at once."""

    def make(shop: Shop, *, max_concurrency: int = 4) -> HookWithoutPauses:
        connect(extra={"max_concurrency": max_concurrency})
        return HookWithoutPauses(transport=shop, async_transport=shop)

    return make


@pytest.fixture
def account(connect: Callable[..., None]) -> Callable[..., None]:
    """Connect to an account of this test's own, about which nothing was learnt before."""
    return partial(connect, password=f"sk-{secrets.token_hex(24)}")


def purchase(number: int) -> Purchase:
    return ImageRequest(prompt=f"picture {number}"), f"key-{number}"


def purchases(count: int) -> list[Purchase]:
    return [purchase(number) for number in range(count)]


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_as_many_are_under_way_as_the_connection_allows_and_no_more(
    submit_many: SubmitMany, hook_at: MakeHook, max_concurrency: int
) -> None:
    shop = Shop(at_once=max_concurrency)

    submit_many(hook_at(shop, max_concurrency=max_concurrency), purchases(12))

    assert len(shop.requests) == 12
    assert shop.most_at_once == max_concurrency


def test_each_purchase_is_sent_once_with_its_key_and_has_an_outcome_of_its_own(
    submit_many: SubmitMany, hook_at: MakeHook
) -> None:
    shop = Shop()

    heard = submit_many(hook_at(shop), purchases(50))

    assert {place: ids_of(outcome) for place, outcome in heard.outcomes} == {
        place: [f"task of picture {place}"] for place in range(50)
    }
    assert Counter((prompt, request.headers["Idempotency-Key"]) for prompt, request in shop.received()) == {
        (f"picture {number}", f"key-{number}"): 1 for number in range(50)
    }
    assert heard.warnings == []


def test_a_purchase_may_have_no_key(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop()

    submit_many(hook_at(shop), [(ImageRequest(prompt="a cat"), None)])

    assert "Idempotency-Key" not in shop.requests[0].headers


def test_nothing_is_bought_for_nothing(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop()

    assert submit_many(hook_at(shop), []).outcomes == []
    assert shop.requests == []


def test_outcomes_come_when_they_are_known_whatever_their_place(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop(after={"picture 0": "picture 3"})

    heard = submit_many(hook_at(shop, max_concurrency=2), purchases(5))

    places = [place for place, _ in heard.outcomes]
    assert places[:2] == [1, 2], "the first is answered when the fourth has been asked for"
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert all(ids_of(outcome) == [f"task of picture {place}"] for place, outcome in heard.outcomes)


def test_an_error_is_an_outcome_and_spoils_no_other(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop(answers={"picture 1": error_response(400), "picture 2": httpx.ReadTimeout("slow")})

    heard = submit_many(hook_at(shop), [*purchases(5), (ImageRequest(prompt="picture 5"), "no key\n")])

    assert {place: type(outcome) for place, outcome in heard.outcomes} == {
        0: Submission,
        1: RequestRejectedError,
        2: SubmitOutcomeUnknownError,
        3: Submission,
        4: Submission,
        5: InvalidRequestError,
    }
    assert Counter(shop.prompts) == {f"picture {number}": 1 for number in range(5)}


def test_purchases_are_drawn_when_there_is_room_for_them(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop()
    drawn: list[int] = []

    def endless() -> Iterator[Purchase]:
        for number in itertools.count():
            drawn.append(number)
            yield purchase(number)

    heard = submit_many(hook_at(shop), endless(), read=10)

    assert len(heard.outcomes) == 10
    assert len(drawn) <= 10 + 4
    assert sorted(shop.prompts) == sorted(f"picture {number}" for number in drawn)
    assert sorted(heard.task_ids) == sorted(f"task of {prompt}" for prompt in shop.prompts)


def test_a_caller_who_stops_listening_buys_nothing_more_and_loses_nothing(
    submit_many: SubmitMany, hook_at: MakeHook
) -> None:
    shop = Shop(at_once=4)

    heard = submit_many(hook_at(shop), purchases(40), read=1)

    assert sorted(shop.prompts) == ["picture 0", "picture 1", "picture 2", "picture 3"]
    assert len(heard.warnings) == 3
    assert sorted(heard.task_ids) == sorted(f"task of {prompt}" for prompt in shop.prompts)


def test_a_caller_who_never_listens_buys_nothing(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop()

    submit_many(hook_at(shop), purchases(40), read=0)

    assert shop.requests == []


def test_what_fails_after_the_caller_stopped_listening_is_said_too(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop(at_once=2, answers={"picture 0": error_response(400), "picture 1": error_response(402)})

    heard = submit_many(hook_at(shop, max_concurrency=2), purchases(2), read=1)

    ((place, _),) = heard.outcomes
    (warning,) = heard.warnings
    assert warning.startswith(f"Request {1 - place} failed after its outcome was no longer read: The gateway answered")


@pytest.mark.parametrize("sound", [2, 4, 9])
def test_when_drawing_a_purchase_fails_what_was_sent_before_is_not_lost(
    submit_many: SubmitMany, hook_at: MakeHook, sound: int
) -> None:
    shop = Shop()

    def broken() -> Iterator[Purchase]:
        yield from purchases(sound)
        raise OSError("the dataset cannot be read")

    heard = submit_many(hook_at(shop), broken())

    assert repr(heard.error) == "OSError('the dataset cannot be read')"
    assert sorted(shop.prompts) == [f"picture {number}" for number in range(sound)]
    assert sorted(heard.task_ids) == [f"task of picture {number}" for number in range(sound)]


def test_an_error_that_nobody_expects_is_raised_and_what_was_sent_beside_it_is_not_lost(
    submit_many: SubmitMany, hook_at: MakeHook
) -> None:
    crashes = {"picture 0": RuntimeError("a bug"), "picture 1": RuntimeError("a bug")}
    shop = Shop(at_once=4, answers=crashes)

    heard = submit_many(hook_at(shop), purchases(4))

    assert repr(heard.error) == "RuntimeError('a bug')"
    assert sorted(heard.task_ids) == ["task of picture 2", "task of picture 3"]
    assert [warning.endswith("no longer read: a bug") for warning in heard.warnings].count(True) == 1


async def test_a_caller_who_is_cancelled_loses_nothing(hook_at: MakeHook) -> None:
    shop = Shop(after={"picture 0": "a picture that nobody asks for until the caller is cancelled"})
    heard = Heard()

    async def listen() -> None:
        async with aclosing(hook.asubmit_many(purchases(3))) as outcomes:
            async for outcome in outcomes:
                heard.outcomes.append(outcome)

    with heard.listening():
        async with hook_at(shop) as hook:
            await hook.get_async_conn()
            listener = asyncio.create_task(listen())
            await HeldClock.settle()
            assert len(shop.requests) == 3
            listener.cancel()
            await HeldClock.settle()
            assert not listener.done()
            await hook.asubmit(ImageRequest(prompt="a picture that nobody asks for until the caller is cancelled"))
            await asyncio.wait([listener])

    assert listener.cancelled()
    assert len(heard.warnings) == 1
    assert sorted(heard.task_ids) == ["task of picture 0", "task of picture 1", "task of picture 2"]


async def test_when_the_gateway_asks_one_to_wait_all_wait(connect: Callable[..., None]) -> None:
    clock = HeldClock()

    class HookInHeldTime(ApimartHook):
        def _make_async_client(self) -> AsyncGatewayClient:
            pace = Pace(self.settings, clock=clock)
            return AsyncGatewayClient(self.settings, transport=shop, sleep=clock.async_sleep, pace=pace)

    connect(extra={"max_concurrency": 4})
    shop = Shop(answers={"picture 1": [error_response(429, retry_after="30")]})
    async with HookInHeldTime() as hook:
        await hook.get_async_conn()

        async def buy() -> list[int]:
            return [place async for place, _ in hook.asubmit_many(purchases(20))]

        buying = asyncio.create_task(buy())
        await clock.settle()
        await clock.advance(29)
        assert len(shop.requests) <= 4
        assert not buying.done()

        await clock.advance(5)
        await clock.settle()
        assert sorted(await buying) == list(range(20))

    assert Counter(shop.prompts) == {f"picture {number}": 1 + (number == 1) for number in range(20)}


def test_when_the_gateway_refuses_fewer_are_under_way_and_then_one_more_at_a_time(
    submit_many: SubmitMany, hook_at: MakeHook
) -> None:
    rounds = [8, 4, 5, 6, 7, 8, 8]
    refused = {f"picture {number}": [error_response(429)] for number in range(8)}
    shop = Shop(at_once=rounds, answers=refused)

    heard = submit_many(hook_at(shop, max_concurrency=8), purchases(38))

    arrivals = iter(shop.under_way)
    assert [max(itertools.islice(arrivals, size)) for size in rounds] == rounds
    assert next(arrivals, None) is None
    assert sorted(heard.task_ids) == sorted(f"task of picture {number}" for number in range(38))
    assert heard.infos == [
        "The gateway wants fewer submits: at most 4 at once, after 8.",
        "The gateway accepts submits at full pace again: 8 at once.",
    ]


def test_no_more_are_drawn_than_may_be_under_way_for_now(submit_many: SubmitMany, hook_at: MakeHook) -> None:
    shop = Shop(at_once=2, answers={"picture 0": error_response(400), "picture 1": error_response(400)})
    hook = hook_at(shop, max_concurrency=4)
    with suppress(RateLimitError), hook.pace.learning([].append):
        raise RateLimitError
    drawn: list[int] = []

    def watched() -> Iterator[Purchase]:
        for number in range(40):
            drawn.append(number)
            yield purchase(number)

    submit_many(hook, watched(), read=1)

    assert drawn == [0, 1]


def test_the_log_says_when_the_gateway_wants_fewer_submits(
    submit_many: SubmitMany, account: Callable[..., None]
) -> None:
    account()
    shop = Shop(answers={"picture 0": error_response(429, retry_after="61")})

    heard = submit_many(ApimartHook(transport=shop, async_transport=shop), purchases(1))

    assert heard.infos == ["The gateway wants fewer submits: at most 8 at once, after 16."]


def two_blocking(hooks: Sequence[ApimartHook], lists: Sequence[list[Purchase]]) -> list[Heard]:
    """Let each hook buy a list, each in a thread."""

    def buy(hook: ApimartHook, purchases: list[Purchase]) -> Heard:
        with hook:
            return Heard(list(hook.submit_many(purchases)))

    with ThreadPoolExecutor(len(hooks)) as pool:
        return list(pool.map(buy, hooks, lists))


def two_asynchronous(hooks: Sequence[ApimartHook], lists: Sequence[list[Purchase]]) -> list[Heard]:
    """Do the same in one event loop."""

    async def buy(hook: ApimartHook, purchases: list[Purchase]) -> Heard:
        async with hook:
            return Heard([outcome async for outcome in hook.asubmit_many(purchases)])

    async def main() -> list[Heard]:
        return await asyncio.gather(*map(buy, hooks, lists))

    return asyncio.run(main())


@pytest.mark.parametrize("buy", [two_blocking, two_asynchronous])
def test_two_datasets_at_once_share_what_the_connection_allows(
    account: Callable[..., None], buy: Callable[..., list[Heard]]
) -> None:
    account(extra={"max_concurrency": 4})
    shop = Shop(at_once=4)
    hooks = [ApimartHook(transport=shop, async_transport=shop) for _ in range(2)]
    both = purchases(24)

    first, second = buy(hooks, [both[:12], both[12:]])

    assert shop.most_at_once == 4
    assert sorted(shop.prompts) == sorted(f"picture {number}" for number in range(24))
    assert len(first.task_ids) == len(second.task_ids) == 12


def test_a_caller_who_stops_listening_leaves_room_for_the_others(
    submit_many: SubmitMany, account: Callable[..., None]
) -> None:
    account(extra={"max_concurrency": 4})
    shops = [Shop(at_once=4), Shop(at_once=4)]
    first, second = (ApimartHook(transport=shop, async_transport=shop) for shop in shops)
    with ApimartHook() as other:
        other.get_conn()  # It keeps the pace of the account from being forgotten.

        assert len(submit_many(first, purchases(40), read=1).outcomes) == 1
        assert len(submit_many(second, purchases(8)).outcomes) == 8

    assert [(len(shop.requests), shop.most_at_once) for shop in shops] == [(4, 4), (8, 4)]


def test_each_submit_takes_a_turn_of_the_limit_on_submits(
    submit_many: SubmitMany, connect: Callable[..., None]
) -> None:
    turns: list[str] = []

    class Turnstile:
        """Stands where the limit on submits is, and lets nobody by unseen."""

        def try_acquire(self, name: str) -> None:
            assert len(shop.requests) <= len(turns)
            turns.append(name)

        async def try_acquire_async(self, name: str) -> None:
            self.try_acquire(name)

    connect(extra={"max_concurrency": 4})
    shop = Shop(answers={"picture 3": [error_response(429)]})
    hook = HookWithoutPauses(transport=shop, async_transport=shop)
    hook.pace.limiter = Turnstile()

    submit_many(hook, purchases(10))

    assert turns == ["submit"] * 11
    assert len(shop.requests) == 11


def test_the_blocking_client_is_made_before_the_threads_that_share_it(connect: Callable[..., None]) -> None:
    asked_for_in: list[threading.Thread] = []

    class WatchedHook(HookWithoutPauses):
        def get_conn(self) -> GatewayClient:
            asked_for_in.append(threading.current_thread())
            return super().get_conn()

    connect()
    shop = Shop(at_once=4)

    blocking(WatchedHook(transport=shop), purchases(4))

    assert asked_for_in == [threading.current_thread()]


def test_every_picture_is_bought_once_at_a_real_server_that_refuses_some_for_now(
    submit_many: SubmitMany, connect: Callable[..., None], simulator: Simulator
) -> None:
    connect(host=simulator.url, extra={"max_concurrency": 8})
    simulator.add_fault({"fault": "refuse", "on": "submit", "status": 429, "times": MAX_ATTEMPTS - 1})

    heard = submit_many(HookWithoutPauses(), purchases(40))

    stats = simulator.stats()
    assert len(heard.task_ids) == 40
    assert stats["submits"] == {"received": 44, "accepted": 40, "refused": 4, "replayed": 0, "dropped": 0}
    assert stats["tasks_per_idempotency_key"] == {f"key-{number}": 1 for number in range(40)}


def test_many_pictures_are_bought_at_a_real_server(
    submit_many: SubmitMany, connect: Callable[..., None], simulator: Simulator
) -> None:
    connect(host=simulator.url, extra={"max_concurrency": 4})
    simulator.add_fault(
        {"fault": "refuse", "on": "submit", "status": 503, "times": 2},
        {"fault": "drop_answer", "on": "submit", "match": {"prompt": "^picture 7$"}},
    )

    heard = submit_many(ApimartHook(), purchases(20))

    stats = simulator.stats()
    assert {place for place, outcome in heard.outcomes if not isinstance(outcome, Submission)} == {7}
    assert stats["submits"] == {"received": 22, "accepted": 20, "refused": 2, "replayed": 0, "dropped": 0}
    assert stats["tasks_per_idempotency_key"] == {f"key-{number}": 1 for number in range(20)}
    assert stats["connections"] <= 4 + 1, "one was cut"
    assert {task["id"]: task["idempotency_key"] for task in simulator.tasks()}.items() >= {
        (task_id, f"key-{place}")
        for place, outcome in heard.outcomes
        if isinstance(outcome, Submission)
        for task_id in ids_of(outcome)
    }
