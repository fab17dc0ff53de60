"""Many submits side by side: as many as allowed, each once, none of them lost."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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
from airflow_provider_apimart.gateway.client import MAX_ATTEMPTS, GatewayClient
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import Submission
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_apimart.exceptions import ApimartError
    from airflow_provider_apimart.hooks.apimart import Outcome
    from airflow_provider_apimart.simulator import Simulator

    Purchase = tuple[ImageRequest, str | None]
    MakeHook = Callable[..., HookWithoutPauses]


def ids_of(outcome: Submission | ApimartError) -> list[str]:
    return [task.task_id for task in outcome.tasks] if isinstance(outcome, Submission) else []


@dataclass
class Heard:
    """
    Everything that a caller learns.

    :param outcomes: the outcomes that it read.
    :param warnings: the warnings in the log.
    :param infos: the other messages in the log.
    :param error: the exception that ended it.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    error: Exception | None = None

    @property
    def task_ids(self) -> list[str]:
        """The ids of the tasks that it read, or that the log names."""
        read = itertools.chain.from_iterable(ids_of(outcome) for _, outcome in self.outcomes)
        said = (re.search("accepted as (.*) after the caller had stopped reading", line) for line in self.warnings)
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


def submit_many(hook: ApimartHook, purchases: Iterable[Purchase], *, read: int | None = None) -> Heard:
    """Read the first ``read`` outcomes, and stop then."""
    heard = Heard()
    with heard.listening(), hook, closing(hook.submit_many(purchases)) as outcomes:
        heard.outcomes.extend(itertools.islice(outcomes, read))
    return heard


@pytest.fixture
def hook_at(connect: Callable[..., None]) -> MakeHook:
    """Make a hook that buys from a shop, with so many requests at once."""

    def make(shop: Shop, *, max_concurrency: int = 4) -> HookWithoutPauses:
        connect(extra={"max_concurrency": max_concurrency})
        return HookWithoutPauses(transport=shop)

    return make


def purchase(number: int) -> Purchase:
    return ImageRequest(prompt=f"picture {number}"), f"key-{number}"


def purchases(count: int) -> list[Purchase]:
    return [purchase(number) for number in range(count)]


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_as_many_are_under_way_as_the_connection_allows_and_no_more(hook_at: MakeHook, max_concurrency: int) -> None:
    shop = Shop(at_once=max_concurrency)

    submit_many(hook_at(shop, max_concurrency=max_concurrency), purchases(12))

    assert len(shop.requests) == 12
    assert shop.most_at_once == max_concurrency


def test_each_purchase_is_sent_once_with_its_key_and_has_an_outcome_of_its_own(hook_at: MakeHook) -> None:
    shop = Shop()

    heard = submit_many(hook_at(shop), purchases(50))

    assert {place: ids_of(outcome) for place, outcome in heard.outcomes} == {
        place: [f"task of picture {place}"] for place in range(50)
    }
    assert Counter((prompt, request.headers["Idempotency-Key"]) for prompt, request in shop.received()) == {
        (f"picture {number}", f"key-{number}"): 1 for number in range(50)
    }
    assert heard.warnings == []


def test_a_purchase_may_have_no_key(hook_at: MakeHook) -> None:
    shop = Shop()

    submit_many(hook_at(shop), [(ImageRequest(prompt="a cat"), None)])

    assert "Idempotency-Key" not in shop.requests[0].headers


def test_nothing_is_bought_for_nothing(hook_at: MakeHook) -> None:
    shop = Shop()

    assert submit_many(hook_at(shop), []).outcomes == []
    assert shop.requests == []


def test_outcomes_come_when_they_are_known_whatever_their_place(hook_at: MakeHook) -> None:
    shop = Shop(after={"picture 0": "picture 3"})

    heard = submit_many(hook_at(shop, max_concurrency=2), purchases(5))

    places = [place for place, _ in heard.outcomes]
    assert places[:2] == [1, 2], "the first is answered when the fourth has been asked for"
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert all(ids_of(outcome) == [f"task of picture {place}"] for place, outcome in heard.outcomes)


def test_an_error_is_an_outcome_and_spoils_no_other(hook_at: MakeHook) -> None:
    shop = Shop(
        answers={
            "picture 1": error_response(400),
            "picture 2": httpx.ReadTimeout("slow"),
            "picture 3": RuntimeError("?"),
        }
    )

    heard = submit_many(hook_at(shop), [*purchases(5), (ImageRequest(prompt="picture 5"), "no key\n")])

    assert {place: type(outcome) for place, outcome in heard.outcomes} == {
        0: Submission,
        1: RequestRejectedError,
        2: SubmitOutcomeUnknownError,
        3: SubmitOutcomeUnknownError,
        4: Submission,
        5: InvalidRequestError,
    }
    assert Counter(shop.prompts) == {f"picture {number}": 1 for number in range(5)}


def test_purchases_are_drawn_when_there_is_room_for_them(hook_at: MakeHook) -> None:
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


def test_a_caller_who_stops_listening_buys_nothing_more_and_loses_nothing(hook_at: MakeHook) -> None:
    shop = Shop(at_once=4)

    heard = submit_many(hook_at(shop), purchases(40), read=1)

    assert sorted(shop.prompts) == ["picture 0", "picture 1", "picture 2", "picture 3"]
    assert len(heard.warnings) == 3
    assert sorted(heard.task_ids) == sorted(f"task of {prompt}" for prompt in shop.prompts)


def test_a_caller_who_never_listens_buys_nothing(hook_at: MakeHook) -> None:
    shop = Shop()

    submit_many(hook_at(shop), purchases(40), read=0)

    assert shop.requests == []


def test_what_fails_after_the_caller_stopped_listening_is_said_too(hook_at: MakeHook) -> None:
    shop = Shop(at_once=2, answers={"picture 0": error_response(400), "picture 1": error_response(402)})

    heard = submit_many(hook_at(shop, max_concurrency=2), purchases(2), read=1)

    ((place, _),) = heard.outcomes
    (warning,) = heard.warnings
    assert warning.startswith(f"Request {1 - place} failed after the caller had stopped reading: The gateway answered")


@pytest.mark.parametrize("sound", [2, 4, 9])
def test_when_drawing_a_purchase_fails_what_was_sent_before_is_not_lost(hook_at: MakeHook, sound: int) -> None:
    shop = Shop()

    def broken() -> Iterator[Purchase]:
        yield from purchases(sound)
        raise OSError("the dataset cannot be read")

    heard = submit_many(hook_at(shop), broken())

    assert repr(heard.error) == "OSError('the dataset cannot be read')"
    assert sorted(shop.prompts) == [f"picture {number}" for number in range(sound)]
    assert sorted(heard.task_ids) == [f"task of picture {number}" for number in range(sound)]


async def test_single_submits_side_by_side_keep_to_the_same_limit(hook_at: MakeHook) -> None:
    shop = Shop(at_once=4)

    async with hook_at(shop) as hook:
        submissions = await asyncio.gather(
            *(hook.asubmit(request, idempotency_key=key) for request, key in purchases(12))
        )

    assert [task.task_id for submission in submissions for task in submission.tasks] == [
        f"task of picture {number}" for number in range(12)
    ]
    assert shop.most_at_once == 4


async def test_when_the_gateway_asks_one_to_wait_all_wait(connect: Callable[..., None]) -> None:
    clock = HeldClock()

    class HookInHeldTime(ApimartHook):
        def _make_client(self) -> GatewayClient:
            return GatewayClient(self.settings, transport=shop, clock=clock, sleep=clock.async_sleep)

    connect(extra={"max_concurrency": 4})
    shop = Shop(answers={"picture 1": [error_response(429, retry_after="30")]})
    async with HookInHeldTime() as hook:
        await hook.asubmit(ImageRequest(prompt="the client is made"))
        buying = [asyncio.create_task(hook.asubmit(request)) for request, _ in purchases(20)]
        await clock.settle()
        await clock.advance(29)
        assert len(shop.requests) <= 1 + 4
        assert not all(purchase.done() for purchase in buying)

        await clock.advance(5)
        await clock.settle()
        await asyncio.gather(*buying)

    assert Counter(shop.prompts[1:]) == {f"picture {number}": 1 + (number == 1) for number in range(20)}


def test_when_the_gateway_refuses_fewer_are_under_way_and_then_one_more_at_a_time(hook_at: MakeHook) -> None:
    rounds = [8, 4, 5, 6, 7, 8, 8]
    refused = {f"picture {number}": [error_response(429)] for number in range(8)}
    shop = Shop(at_once=rounds, answers=refused)

    heard = submit_many(hook_at(shop, max_concurrency=8), purchases(38))

    arrivals = iter(shop.under_way)
    assert [max(itertools.islice(arrivals, size)) for size in rounds] == rounds
    assert next(arrivals, None) is None
    assert sorted(heard.task_ids) == sorted(f"task of picture {number}" for number in range(38))
    assert heard.infos == [
        "The gateway accepts fewer submits: at most 4 at once, no longer 8",
        "The gateway accepts 8 submits at once again",
    ]


def test_no_more_are_drawn_than_may_be_under_way_for_now(hook_at: MakeHook) -> None:
    refused = {f"picture {number}": error_response(400) for number in range(2)}
    shop = Shop(at_once=[1, 2], answers={"first": error_response(429, retry_after="61"), **refused})
    hook = hook_at(shop, max_concurrency=4)
    with pytest.raises(RateLimitError):
        hook.submit(ImageRequest(prompt="first"))
    drawn: list[int] = []

    def watched() -> Iterator[Purchase]:
        for number in range(40):
            drawn.append(number)
            yield purchase(number)

    submit_many(hook, watched(), read=1)

    assert drawn == [0, 1]


def test_the_log_says_when_the_gateway_wants_fewer_submits(hook_at: MakeHook) -> None:
    shop = Shop(answers={"picture 0": error_response(429, retry_after="61")})

    heard = submit_many(hook_at(shop, max_concurrency=16), purchases(1))

    assert heard.infos == ["The gateway accepts fewer submits: at most 8 at once, no longer 16"]


def test_two_threads_that_share_a_hook_share_what_the_connection_allows(hook_at: MakeHook) -> None:
    shop = Shop(at_once=4)
    both = purchases(24)

    with hook_at(shop) as hook, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda part: Heard(list(hook.submit_many(part))), [both[:12], both[12:]])

    assert shop.most_at_once == 4
    assert sorted(shop.prompts) == sorted(f"picture {number}" for number in range(24))
    assert len(first.task_ids) == len(second.task_ids) == 12


def test_every_picture_is_bought_once_at_a_real_server_that_refuses_some_for_now(
    connect: Callable[..., None], simulator: Simulator
) -> None:
    connect(host=simulator.url, extra={"max_concurrency": 8})
    simulator.add_fault({"fault": "refuse", "on": "submit", "status": 429, "times": MAX_ATTEMPTS - 1})

    heard = submit_many(HookWithoutPauses(), purchases(40))

    stats = simulator.stats()
    assert len(heard.task_ids) == 40
    assert stats["submits"] == {"received": 44, "accepted": 40, "refused": 4, "replayed": 0, "dropped": 0}
    assert stats["tasks_per_idempotency_key"] == {f"key-{number}": 1 for number in range(40)}


def test_many_pictures_are_bought_at_a_real_server(connect: Callable[..., None], simulator: Simulator) -> None:
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
