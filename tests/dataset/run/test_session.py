"""One worker's share of a dataset, in virtual time: how busy the gateway is, and how long a worker is held."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from dataset.run.virtual import BEGIN, PRICE, ModelCopier, World

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.ledger.verdicts import decide_rows, undecided_calls
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    IncompleteDatasetError,
    InsufficientBalanceError,
    RateLimitError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
    TransferError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.transfers.source import Picture


def prompts(count: int) -> list[str]:
    return [f"picture {number}" for number in range(count)]


def log_normal(world: World, mean: float, sigma: float = 0.35) -> Callable[[], float]:
    return lambda: world.random.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


def used_share(world: World, *, in_flight: int, began_at: float) -> float:
    """Return the share of the slots that were in use from the first to the last moment."""
    busy = sum(end - begin for begin, end, _, _ in world.gateway.tasks.values())
    return busy / (in_flight * (world.time - began_at))


# With a worker that is held all the time, the second one uses 0.75 of its slots: the last wave leaves many empty.
@pytest.mark.parametrize(
    ("rows", "mean", "share", "held"), [(2_000, 45.0, 0.80, 1.0), (1_000, 300.0, 0.72, 0.25), (2_000, 90.0, 0.78, 1.0)]
)
def test_the_slots_are_used_and_no_worker_is_held_to_wait(rows: int, mean: float, share: float, held: float) -> None:
    world = World()
    world.gateway.duration = log_normal(world, mean)
    began_at = world.time

    counts = world.run(prompts(rows), timeout=3600.0)

    assert counts == {"total": rows, "done": rows, "failed": 0, "left": 0}
    assert len(world.gateway.submits) == len(world.copied) == rows
    assert world.gateway.most_running <= 200
    assert world.longest_idle <= 20.0 + 4.0
    assert used_share(world, in_flight=200, began_at=began_at) >= share
    assert world.worker_seconds <= held * (world.time - began_at)


def test_without_a_triggerer_a_worker_stays_to_the_end() -> None:
    world = World()

    counts = world.run(prompts(30), may_leave=False, max_in_flight=5)

    assert (counts["done"], world.sessions) == (30, 1)
    assert world.gateway.most_running == 5


def test_a_group_of_calls_costs_one_request_to_the_store() -> None:
    world = World()
    world.gateway.duration = lambda: 60.0
    world.run(prompts(320), max_in_flight=320, may_leave=False)

    appended = [key for verb, key in world.s3.requests if verb == "PUT" and "/log/" in key]
    assert len(appended) <= 2 * 320 / 16
    # The table is made of what the session has kept of its own log.
    assert not [key for verb, key in world.s3.requests if verb == "GET" and "/log/" in key]


def test_a_worker_that_leaves_after_a_long_session_leaves_few_objects_to_read() -> None:
    world = World()
    world.gateway.duration = log_normal(world, 45.0)

    world.run(prompts(1_000))

    assert world.sessions > 1
    assert len([key for verb, key in world.s3.requests if verb == "GET" and "/log/" in key]) <= 20
    assert len(world.s3.requests) <= 0.2 * 1_000


def test_a_worker_that_stands_still_while_it_records_what_it_intends_submits_nothing() -> None:
    world = World()
    store = world.s3.client()

    def put(**arguments: Any) -> Any:
        response = world.s3.put(**arguments)
        world.pause(3600.0 * ("/log/" in arguments["Key"]))
        return response

    store.put_object = put
    session = world.session(prompts(20), client=store)
    session.begin()
    session.buyer.buy([call for _, call in session.tally.take(16, now=world.time)])
    session.collector.close()
    session.tally.rows.close()

    assert world.gateway.submits == []
    assert session.ledger.index.open_entries() == ()


def test_an_alarm_leaves_only_those_calls_unknown_that_were_on_the_wire() -> None:
    world = World()

    def alarm(purchases: Any, **_: Any) -> Any:
        for _ in zip(range(3), purchases, strict=False):
            pass
        raise TimeoutError("execution_timeout")
        yield

    world.gateway.submit_many = alarm  # type: ignore[method-assign]
    session = world.session(prompts(16))
    session.begin()
    with pytest.raises(TimeoutError):
        session.buyer.buy([call for _, call in session.tally.take(16, now=world.time)])
    session.collector.close()
    session.tally.rows.close()

    assert len(session.ledger.index.open_entries()) == 3


class TestAGatewayThatRefusesForNow:
    def test_is_waited_for(self) -> None:
        world = World()
        opens_at = world.time + 3600.0
        world.gateway.respond = lambda _: None if world.time > opens_at else RateLimitError("full")

        assert world.run(prompts(40))["done"] == 40

    @pytest.mark.parametrize("may_leave", [True, False])
    def test_is_not_waited_for_without_end(self, *, may_leave: bool) -> None:
        world = World()
        world.gateway.respond = lambda number: None if number < 32 else RateLimitError("full")
        began_at = world.time

        with pytest.raises(RateLimitError) as refused:
            world.run(prompts(64), may_leave=may_leave)

        assert refused.value.retryable
        assert 6 * 3600 <= world.time - began_at <= 7 * 3600
        assert len(world.copied) == 32


class TestALostResponse:
    def test_of_most_calls_ends_the_buying_whether_or_not_the_worker_leaves(self) -> None:
        for may_leave in (True, False):
            world = World()
            draw = random.Random(3).random  # noqa: S311 - repeatable
            world.gateway.respond = lambda _, draw=draw: SubmitOutcomeUnknownError("lost") if draw() < 0.6 else None

            with pytest.raises(SubmitOutcomeUnknownError, match="of the last 16 paid calls"):
                world.run(prompts(1_000), may_leave=may_leave)

            assert len(world.gateway.submits) <= 64

    def test_alone_does_not_end_the_buying_of_the_others(self) -> None:
        world = World()
        world.gateway.settings.max_concurrency = 1
        world.gateway.respond = lambda number: SubmitOutcomeUnknownError("lost") if number == 0 else None

        with pytest.raises(IncompleteDatasetError):
            world.run(prompts(30))

        assert len(world.gateway.submits) == 30
        assert len(world.copied) == 29

    def test_is_answered_with_the_same_key_once_in_a_try(self) -> None:
        world = World()
        world.gateway.respond = lambda number: (
            SubmitOutcomeUnknownError("lost") if "picture 3" in world.gateway.submits[number] else None
        )

        with pytest.raises(SubmitOutcomeUnknownError, match="1 paid call"):
            world.run(prompts(40), max_in_flight=4, on_unknown_submit="resubmit")

        assert world.sessions > 1
        assert Counter(prompt for _, prompt, _ in world.gateway.submits)["picture 3"] == 2

    def test_stays_unknown_when_its_key_is_refused_after_a_verdict(self) -> None:
        world = World()
        errors: dict[int, ApimartError] = {0: SubmitOutcomeUnknownError("lost"), 1: InsufficientBalanceError("empty")}
        world.gateway.respond = errors.get
        with pytest.raises(IncompleteDatasetError):
            world.run(prompts(1))
        store = LedgerStore(world.s3.client(), "bucket", "prefix", clock=world.now)

        decide_rows(store, [entry.id for entry in undecided_calls(store)], "buy-again")
        with pytest.raises(InsufficientBalanceError):
            world.run(prompts(1), try_number=2)

        (entry,) = undecided_calls(store)
        assert (entry.status, entry.charged) == ("unanswered", "unknown")
        assert len({key for *_, key in world.gateway.submits}) == 1


def test_a_task_that_the_gateway_denies_ends_when_its_trigger_has_said_so() -> None:
    world = World()
    world.gateway.denied.add("task_2")

    with pytest.raises(IncompleteDatasetError, match="picture"):
        world.run(prompts(5))

    assert len(world.copied) == 4
    assert world.time - BEGIN < 600


def test_a_connection_that_leads_elsewhere_loses_no_call_in_flight(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.gateway.duration = lambda: 300.0
    first = world.session(prompts(5), gateway="api.apimart.ai")
    first.begin()
    first.buyer.buy([call for _, call in first.tally.take(5, now=world.time)])
    for held in (first.collector, first.tally.rows):
        held.close()
    first.ledger.close(is_finished=False)
    world.gateway.denied.update(world.gateway.tasks)

    with pytest.raises(TaskTimeoutError, match="5 of 5 rows"):
        world.run(prompts(5), try_number=2, gateway="api.apimaster.ai")
    world.gateway.denied.clear()
    counts = world.run(prompts(5), try_number=3, gateway="api.apimart.ai")

    assert "accepted by api.apimart.ai, and the connection leads to api.apimaster.ai" in caplog.text
    assert (counts["done"], len(world.gateway.submits), len(world.copied)) == (5, 5, 5)


class TestALateCall:
    def test_of_another_run_is_polled_at_once_and_holds_up_nobody(self) -> None:
        world = World()
        world.gateway.duration = lambda: 660.0 if len(world.gateway.tasks) == 4 else 45.0
        with pytest.raises(TaskTimeoutError, match="the gateway's last status is 'processing'"):
            world.run(prompts(10))
        world.pause(120.0)
        began_at = world.time

        counts = world.run(prompts(10), run_id="dag/tuesday", writer="1" * 16)

        assert (counts["done"], len(world.gateway.submits)) == (10, 10)
        assert world.time - began_at < 60


class TestAKilledWorker:
    def test_leaves_the_budget_to_the_rows_that_it_had_not_begun(self) -> None:
        world = World()
        first = world.session(prompts(30), max_cost=1.0)
        first.begin()
        calls = [call for _, call in first.tally.take(8, now=world.time)]
        # The worker dies with its first group on the wire.
        first.ledger.claim(lambda index: first.buyer._intents(calls, index, set()))
        first.collector.close()
        first.tally.rows.close()

        with pytest.raises(IncompleteDatasetError, match="8 of 30 rows have no picture"):
            world.run(prompts(30), max_cost=1.0, try_number=2)

        assert len(world.copied) == 22


class RefusedCopier(ModelCopier):
    """A copier whose pictures the image host refuses."""

    def copy(self, picture: Picture) -> dict[str, Any]:
        super().copy(picture)
        raise TransferError("HTTP 404 from the image host", retryable=True)


class TestAPictureThatCannotBeCopied:
    @pytest.mark.parametrize("may_leave", [True, False])
    def test_is_left_to_a_retry_after_some_rounds(self, *, may_leave: bool) -> None:
        world = World()
        copier = RefusedCopier(world.copied)

        with pytest.raises(TransferError, match="The pictures of 5 row"):
            world.run(prompts(5), may_leave=may_leave, copier=copier, timeout=60.0)

        assert len(world.copied) <= 5 * 4


class TestMoney:
    @pytest.mark.parametrize(
        ("factors", "most"),
        [((1.0,), 1.0), ((3.0,), 1.3), ((1.0, 3.0), 1.6), ((0.1,), 1.0)],
        ids=["as listed", "three times the list", "three times from the middle on", "a tenth of the list"],
    )
    def test_a_wrong_price_overspends_little_and_refuses_little(self, factors: tuple[float, ...], most: float) -> None:
        world = World()
        bought = iter(range(10_000))
        world.gateway.price = lambda: PRICE * factors[min(len(factors) - 1, next(bought) // 50)]

        with pytest.raises(BudgetExceededError, match="were not bought"):
            world.run(prompts(2_000), max_cost=1.0)

        spent = sum(price for *_, price in world.gateway.tasks.values())
        assert 0.9 <= spent <= most + 1e-9

    def test_of_other_generations_counts_too(self) -> None:
        world = World()
        world.run(prompts(5), run_id="dag/sunday")

        with pytest.raises(BudgetExceededError):
            world.run(prompts(20), on_existing="regenerate", max_cost=8 * PRICE)
        with pytest.raises(BudgetExceededError):
            world.run(prompts(20), max_tries=1, max_cost=8 * PRICE)

        assert len(world.gateway.submits) == 5 + 8


class TestFailures:
    @pytest.mark.parametrize("in_flight", [5, 50, 200])
    def test_of_half_of_the_calls_end_the_buying_early(self, in_flight: int) -> None:
        world = World()
        world.gateway.fail = lambda prompt: int(prompt.split()[-1]) % 2 == 0

        with pytest.raises(IncompleteDatasetError, match="above max_failure_rate"):
            world.run(prompts(2_000), max_failure_rate=0.3, row_retries=0, max_in_flight=in_flight)

        assert len(world.gateway.submits) <= max(20, in_flight) + in_flight

    def test_that_are_allowed_let_the_task_succeed(self) -> None:
        world = World()
        world.gateway.fail = lambda prompt: prompt == "picture 3"

        assert world.run(prompts(10), max_failed=1, row_retries=1)["failed"] == 1
        assert len(world.gateway.submits) == 11

    def test_a_call_that_never_ends_holds_up_no_later_run(self) -> None:
        world = World()
        world.gateway.duration = lambda: 1e9 if len(world.gateway.tasks) == 4 else 45.0
        with pytest.raises(TaskTimeoutError):
            world.run(prompts(10))
        began_at = world.time

        world.run(prompts(10)[5:], run_id="dag/tuesday", writer="1" * 16)

        assert world.time - began_at < 30.0
        assert len(world.gateway.submits) == 10
