"""The poller that all triggers of one connection share, at a gateway in this process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import ssl
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from airflow.exceptions import AirflowNotFoundException
from gateway.exchange import error_response, html
from triggers.polling import CONN_ID, Polling, ids

from airflow_provider_apimart.exceptions import ApimartError, ConfigurationError, TaskNotFoundError
from airflow_provider_apimart.triggers.poller import TaskPoller

if TYPE_CHECKING:
    from collections.abc import Callable

    from triggers.task_gateway import TaskGateway

    from airflow_provider_apimart.triggers.waiter import Waiter

#: Real seconds that are long enough for the poller to look several times, were it not to pause.
SEVERAL_TICKS = 0.3


class TestSharing:
    async def test_tasks_that_are_due_together_are_queried_together(self, polling: Polling) -> None:
        waiters = [polling.wait_for(task_id) for task_id in ids(120)]

        await polling.ended(*waiters)

        assert sorted(len(look.task_ids) for look in polling.gateway.looks) == [20, 50, 50]
        assert all(set(waiter.tasks) == {task_id} for waiter, task_id in zip(waiters, ids(120), strict=True))

    async def test_a_task_that_two_wait_for_is_queried_once(self, polling: Polling) -> None:
        first, second = polling.wait_for("task_000", "task_001"), polling.wait_for("task_001", "task_002")

        assert await polling.ended(first, second) == [None, None]

        assert polling.gateway.times_asked == {"task_000": 1, "task_001": 1, "task_002": 1}
        assert first.tasks["task_001"] is second.tasks["task_001"]

    async def test_everybody_in_a_loop_gets_the_same_poller_for_a_connection(self) -> None:
        assert TaskPoller.of("one") is TaskPoller.of("one")
        assert TaskPoller.of("one") is not TaskPoller.of("another")

    async def test_a_task_is_not_looked_at_before_its_first_look(self, polling: Polling) -> None:
        later, sooner = polling.wait_for("task_000", first_look=1000), polling.wait_for("task_001")

        await polling.ended(sooner)

        assert polling.gateway.times_asked == {"task_001": 1}
        assert not later.done.done()
        polling.clock.seconds = 1000
        assert await polling.ended(later) == [None]

    async def test_a_task_is_looked_at_until_it_has_ended_and_no_more(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        waiter, other = polling.wait_for("task_000"), polling.wait_for("task_001")
        await polling.ended(other)
        await polling.until(lambda: polling.gateway.times_asked["task_000"] >= 3)

        polling.gateway.running.clear()
        await polling.ended(waiter)

        assert polling.gateway.times_asked["task_001"] == 1
        assert polling.is_idle()


class TestSlowness:
    async def test_a_slow_answer_does_not_hold_up_the_others(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000"}
        waiters = [polling.wait_for(task_id) for task_id in ids(200)]

        await polling.ended(*waiters[50:])

        assert not any(waiter.done.done() for waiter in waiters[:50])
        polling.gateway.release()
        await polling.ended(*waiters)
        assert polling.gateway.most_at_once == 2

    async def test_no_more_than_two_requests_are_under_way_while_none_of_them_is_slow(self, polling: Polling) -> None:
        polling.gateway.held = set(ids(500))
        waiters = [polling.wait_for(task_id) for task_id in ids(500)]

        await polling.until(lambda: polling.gateway.under_way == 2)
        await asyncio.sleep(SEVERAL_TICKS)

        assert len(polling.gateway.looks) == 2
        polling.gateway.release()
        await polling.ended(*waiters)
        assert polling.gateway.most_at_once == 2

    @pytest.mark.parametrize("dripping", [2, 3, 6])
    async def test_answers_that_drip_stop_no_query_of_another_task(self, polling: Polling, dripping: int) -> None:
        polling.gateway.held = set(ids(dripping))
        stuck = []
        for task_id in ids(dripping):  # Each in a request of its own.
            stuck.append(polling.wait_for(task_id))
            await polling.until(lambda: polling.gateway.under_way == len(stuck))
            polling.clock.seconds += 3

        others = [polling.wait_for(task_id) for task_id in ids(100)[dripping:]]

        assert await polling.ended(*others) == [None] * len(others)
        assert not any(waiter.done.done() for waiter in stuck)
        polling.gateway.release()
        assert await polling.ended(*stuck) == [None] * dripping

    async def test_single_answers_that_drip_stop_no_query_of_another_task(self, polling: Polling) -> None:
        polling.gateway.has_batches = False
        await polling.ended(polling.wait_for("task_first", "task_second"))
        polling.gateway.held = set(ids(10))
        stuck = [polling.wait_for(task_id) for task_id in ids(10)]
        await polling.until(lambda: polling.gateway.under_way == 8)
        polling.clock.seconds += 3
        await polling.until(lambda: polling.gateway.under_way == 10)

        others = [polling.wait_for(task_id) for task_id in ids(14)[10:]]

        assert await polling.ended(*others) == [None] * 4
        polling.gateway.release()
        assert await polling.ended(*stuck) == [None] * 10

    async def test_a_task_under_way_is_not_queried_again(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000"}
        waiter = polling.wait_for("task_000")

        await polling.until(lambda: polling.gateway.under_way)
        await asyncio.sleep(SEVERAL_TICKS)

        assert polling.gateway.times_asked == {"task_000": 1}
        polling.gateway.release()
        assert await polling.ended(waiter) == [None]


class TestTrouble:
    async def test_a_gateway_that_asks_to_wait_is_queried_for_nobody(self, polling: Polling) -> None:
        polling.gateway.refusals = [error_response(429, retry_after="120")]
        warnings: list[str] = []
        refused = polling.wait_for("task_000", warn=warnings.append)
        await polling.until(lambda: warnings)

        waiters = [polling.wait_for(task_id) for task_id in ids(100)]
        await asyncio.sleep(SEVERAL_TICKS)

        assert len(polling.gateway.looks) == 1
        assert not any(waiter.done.done() for waiter in [refused, *waiters])
        (warning,) = warnings
        assert warning.startswith("Could not get the status of task task_000; still waiting, next attempt in 120 s. ")
        assert "HTTP 429" in warning

    @pytest.mark.parametrize("asked", ["172800", "1e15", "601"])
    async def test_a_pause_that_the_gateway_asks_for_is_at_most_ten_minutes(self, polling: Polling, asked: str) -> None:
        polling.gateway.refusals = [error_response(429, retry_after=asked)]
        warnings: list[str] = []
        waiter = polling.wait_for("task_000", warn=warnings.append)
        await polling.until(lambda: warnings)

        assert "next attempt in 600 s" in warnings[0]
        polling.clock.seconds += 600
        assert await polling.ended(waiter) == [None]

    # Of a batch, and of the single query that follows it; a 429 is not followed by another query.
    @pytest.mark.parametrize(
        "trouble",
        [
            pytest.param([error_response(401)] * 2, id="401"),
            pytest.param([error_response(402)] * 2, id="402"),
            pytest.param([error_response(403)] * 2, id="403"),
            pytest.param([html(403)] * 2, id="403 of a firewall"),
            pytest.param([error_response(500)] * 10, id="500, five attempts each"),
            pytest.param([error_response(429)] * 5, id="429, five attempts"),
            pytest.param([html(502)] * 10, id="502 of a proxy, five attempts each"),
            pytest.param([html(524)] * 10, id="524 of a CDN, five attempts each"),
            pytest.param([httpx.ReadTimeout("slow")] * 10, id="no answer"),
            pytest.param([httpx.ConnectError("refused")] * 10, id="no connection"),
            pytest.param([ssl.SSLError("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")] * 10, id="a bad TLS record"),
            pytest.param([OverflowError("date value out of range")] * 10, id="a bug"),
            pytest.param([RecursionError("too deep")] * 10, id="an answer that is too deep"),
        ],
    )
    async def test_a_gateway_that_fails_for_a_while_loses_nobody(
        self, polling: Polling, trouble: list[httpx.Response | Exception]
    ) -> None:
        polling.gateway.refusals = [*trouble]  # Of a batch, and of the single query that follows it.
        warnings: list[str] = []

        waiters = [polling.wait_for(task_id, warn=warnings.append) for task_id in ids(20)]
        await polling.until(lambda: warnings)
        polling.clock.seconds += 1

        assert await polling.ended(*waiters) == [None] * 20
        assert all(list(waiter.tasks) and not waiter.failures for waiter in waiters)
        assert len(warnings) == 20, "one line for each who waits"
        assert all("still waiting, next attempt in 1 s." in warning for warning in warnings)
        assert polling.store.looked_up <= 2, "once more where the key may be the reason"

    async def test_a_proxy_that_answers_404_pages_for_a_while_loses_nobody(self, polling: Polling) -> None:
        polling.gateway.refusals = [html(404) for _ in range(40)]
        waiters = [polling.wait_for(task_id) for task_id in ids(3)]

        await polling.let_pass(160, until=lambda: not polling.gateway.refusals)

        assert await polling.ended(*waiters, advancing=True) == [None] * 3
        assert all(waiter.tasks and not waiter.failures for waiter in waiters)

    async def test_trouble_that_lasts_is_said_once_in_a_while(self, polling: Polling) -> None:
        polling.gateway.refusals = [error_response(402) for _ in range(60)]
        warnings: list[str] = []
        waiter = polling.wait_for("task_000", warn=warnings.append)

        await polling.let_pass(3600, until=lambda: not polling.gateway.refusals)
        assert await polling.ended(waiter, advancing=True) == [None]

        assert 3 <= len(warnings) <= 12

    async def test_two_queries_that_fail_together_are_one_failure(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000", "task_099"}
        polling.gateway.refusals = [error_response(402) for _ in range(4)]
        warnings: list[str] = []
        waiters = [polling.wait_for(task_id, warn=warnings.append) for task_id in ids(100)]
        await polling.until(lambda: polling.gateway.under_way == 2)

        polling.gateway.release()
        await polling.until(lambda: len(warnings) == 100)

        assert polling.poller._pause == 1.0
        polling.clock.seconds += 1
        assert await polling.ended(*waiters) == [None] * 100

    async def test_an_unknown_task_fails_only_the_waits_for_it_and_only_after_minutes(self, polling: Polling) -> None:
        polling.gateway.unknown = {"task_bad"}
        warnings: list[str] = []
        both = polling.wait_for("task_bad", "task_000", warn=warnings.append)
        other = polling.wait_for("task_001")
        assert await polling.ended(other) == [None]

        def denials() -> int:
            return sum(look.task_ids == ("task_bad",) and not look.is_batch for look in polling.gateway.looks)

        await polling.until(lambda: denials() >= 8)
        assert not both.done.done(), "many times, but not for long"
        polling.clock.seconds += 120

        assert await polling.ended(both) == [None]
        assert {task_id: type(error) for task_id, error in both.failures.items()} == {"task_bad": TaskNotFoundError}
        assert list(both.tasks) == ["task_000"]
        assert other.failures == {}
        (warning,) = warnings
        assert warning.startswith("Could not get the status of task task_bad; still waiting. ")
        assert polling.is_idle()

    async def test_a_task_that_becomes_visible_late_is_not_given_up(self, polling: Polling) -> None:
        polling.gateway.seen_as["task_new"] = ["unknown"] * 4 + ["processing"] + ["unknown"] * 4

        waiter = polling.wait_for("task_new")

        assert await polling.ended(waiter) == [None]
        assert polling.gateway.times_asked == {"task_new": 10}
        assert list(waiter.tasks) == ["task_new"]

    @pytest.mark.parametrize("has_batches", [True, False])
    async def test_a_task_whose_query_always_fails_does_not_slow_down_the_others(
        self, polling: Polling, *, has_batches: bool
    ) -> None:
        polling.gateway.has_batches = has_batches
        polling.gateway.running = set(ids(20))
        polling.gateway.broken = {"task_bad": RuntimeError("a bug")}
        bad = polling.wait_for("task_bad")
        others = [polling.wait_for(task_id) for task_id in ids(20)]
        await polling.let_pass(10, until=lambda: polling.gateway.times_asked["task_bad"] >= 5)

        polling.gateway.running.clear()

        assert await polling.ended(*others, advancing=True) == [None] * 20
        assert not bad.done.done()
        assert "RuntimeError: a bug" in bad.errors["task_bad"]
        polling.poller.unregister(bad)

    async def test_a_poller_that_fails_leaves_nobody_waiting_and_the_next_works(
        self, polling: Polling, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> float:
            raise RuntimeError("a bug")

        polling.poller._clock = fail
        waiters = [polling.wait_for(task_id) for task_id in ids(3)]

        outcomes = await polling.ended(*waiters)

        assert [repr(outcome) for outcome in outcomes] == ["RuntimeError('a bug')"] * 3
        assert f"The poller of connection {CONN_ID} failed" in caplog.text
        polling.poller._clock = polling.clock
        assert await polling.ended(polling.wait_for("task_000")) == [None]


class TestCompletedWithoutPictures:
    async def test_a_task_is_queried_singly_where_batches_leave_pictures_out(self, polling: Polling) -> None:
        polling.gateway.are_batches_bare = True
        waiters = [polling.wait_for(task_id) for task_id in ids(30)]

        assert await polling.ended(*waiters) == [None] * 30

        assert all(task.images for waiter in waiters for task in waiter.tasks.values())
        assert [look.is_batch for look in polling.gateway.looks] == [True] + [False] * 30

    @pytest.mark.parametrize("after", [1, 100, 299])
    async def test_a_task_is_queried_until_its_pictures_are_there(self, polling: Polling, after: float) -> None:
        polling.gateway.without_pictures = {"task_000"}
        waiter, other = polling.wait_for("task_000"), polling.wait_for("task_001")
        assert await polling.ended(other) == [None]
        await polling.until(lambda: polling.gateway.times_asked["task_000"] >= 3)
        polling.clock.seconds += after
        await polling.until_asked_again("task_000")
        assert not waiter.done.done()

        polling.gateway.without_pictures.clear()

        assert await polling.ended(waiter) == [None]
        assert waiter.tasks["task_000"].images

    async def test_a_task_ends_without_pictures_after_some_minutes(self, polling: Polling) -> None:
        polling.gateway.without_pictures = {"task_000"}
        waiter = polling.wait_for("task_000")
        await polling.until(lambda: polling.gateway.times_asked["task_000"] >= 3)

        polling.clock.seconds += 300

        assert await polling.ended(waiter) == [None]
        assert not waiter.tasks["task_000"].images
        assert polling.is_idle()


class TestWithoutTheBatchEndpoint:
    async def test_each_task_is_queried_singly_and_that_is_said_once(self, polling: Polling) -> None:
        def times_by_itself() -> int:
            singly = Counter(look.task_ids for look in polling.gateway.looks if not look.is_batch)
            return min(singly[task_id,] for task_id in ids(120))

        polling.gateway.has_batches = False
        polling.gateway.running = set(ids(120))
        waiters = [polling.wait_for(task_id) for task_id in ids(120)]
        await polling.until(lambda: times_by_itself() >= 1)
        polling.clock.seconds += 2
        await polling.until(lambda: times_by_itself() >= 2)
        polling.gateway.running.clear()
        polling.clock.seconds += 2

        assert await polling.ended(*waiters) == [None] * 120
        # Two looks find it out side by side; then nobody asks again.
        assert 1 <= sum(look.is_batch for look in polling.gateway.looks) <= 2
        assert len(polling.store.warnings) == 1

    async def test_batches_are_tried_again_after_a_rest(self, polling: Polling) -> None:
        polling.gateway.has_batches = False
        polling.gateway.running = set(ids(20))
        waiters = [polling.wait_for(task_id) for task_id in ids(20)]
        await polling.until(lambda: polling.store.warnings)
        polling.gateway.has_batches = True

        polling.clock.seconds = 15 * 60
        polling.gateway.looks.clear()
        await polling.until(lambda: any(look.is_batch for look in polling.gateway.looks))
        # The poll that has just begun may still query single tasks; the ones after it do not.
        await polling.until(lambda: len(polling.gateway.looks) > 1 and polling.gateway.looks[-1].is_batch)
        polling.gateway.looks.clear()
        polling.gateway.running.clear()

        assert await polling.ended(*waiters) == [None] * 20
        assert any(look.is_batch for look in polling.gateway.looks)


class TestTheConnection:
    async def test_is_looked_up_once_for_everybody(self, polling: Polling) -> None:
        await polling.ended(*[polling.wait_for(task_id) for task_id in ids(50)])
        await polling.ended(*[polling.wait_for(task_id) for task_id in ids(50)])

        assert polling.store.looked_up == 1
        assert polling.gateway.times_closed == 0, "the client is kept for those who come soon"

    async def test_is_looked_up_again_after_its_lifetime_so_that_a_new_key_is_used(self, polling: Polling) -> None:
        polling.gateway.running = set(ids(100))
        waiters = [polling.wait_for(task_id) for task_id in ids(100)]
        await polling.until(lambda: len(polling.gateway.looks) >= 4)

        polling.store.api_key = "sk-second"
        polling.clock.seconds = 300
        await polling.until(lambda: polling.gateway.looks[-1].api_key == "sk-second")
        polling.gateway.running.clear()

        assert await polling.ended(*waiters) == [None] * 100
        used = [look.api_key for look in polling.gateway.looks]
        assert used == sorted(used), "first the old key, then the new one"
        assert polling.store.looked_up == 2
        assert polling.gateway.times_closed == 1

    @pytest.mark.parametrize(
        "refuse",
        [
            pytest.param(lambda gateway: setattr(gateway, "accepts", lambda key: key == "sk-second"), id="401"),
            pytest.param(lambda gateway: setattr(gateway, "owners", {"task_000": "sk-second"}), id="unknown task"),
            pytest.param(lambda gateway: gateway.refusals.append(error_response(403)), id="403"),
            pytest.param(lambda gateway: gateway.refusals.append(html(403)), id="403 of a firewall"),
            pytest.param(lambda gateway: gateway.refusals.append(error_response(402)), id="402"),
        ],
    )
    async def test_is_looked_up_again_at_the_first_answer_that_speaks_against_it(
        self, polling: Polling, refuse: Callable[[TaskGateway], None]
    ) -> None:
        polling.gateway.running = {"task_000"}
        warnings: list[str] = []
        waiter = polling.wait_for("task_000", warn=warnings.append)
        await polling.until(lambda: polling.gateway.looks)
        polling.clock.seconds += 20

        polling.store.api_key = "sk-second"
        refuse(polling.gateway)
        await polling.until(lambda: warnings)
        await polling.until(lambda: polling.store.looked_up == 2)
        polling.gateway.running.clear()
        polling.clock.seconds += 1

        assert await polling.ended(waiter) == [None]
        assert polling.gateway.looks[-1].api_key == "sk-second"
        assert polling.store.looked_up == 2

    async def test_that_cannot_be_looked_up_again_stays_as_it_was(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        warnings: list[str] = []
        waiter = polling.wait_for("task_000", warn=warnings.append)
        await polling.until(lambda: polling.gateway.looks)

        polling.store.failures = [RuntimeError("the API server is away")]
        polling.clock.seconds = 300
        await polling.until(lambda: polling.store.looked_up == 2)
        polling.gateway.running.clear()

        assert await polling.ended(waiter) == [None]
        assert polling.store.looked_up == 2
        (warning,) = warnings
        assert warning.startswith(f"Could not look up connection {CONN_ID!r}; still waiting, next attempt in 10 s. ")
        assert warning.endswith("RuntimeError: the API server is away")

    async def test_look_up_that_hangs_stops_no_query(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        waiter = polling.wait_for("task_000")
        await polling.until(lambda: polling.gateway.looks)

        polling.store.may_answer = asyncio.Event()
        polling.clock.seconds = 300
        await polling.until(lambda: polling.store.looked_up == 2)
        polling.gateway.running.clear()

        assert await polling.ended(waiter) == [None]

    @pytest.mark.parametrize(
        "failure",
        [
            RuntimeError("the API server is away"),
            AirflowNotFoundException("The conn_id isn't defined"),
            ConfigurationError("no password"),
        ],
    )
    async def test_that_cannot_be_looked_up_at_first_is_tried_again_for_as_long_as_somebody_waits(
        self, polling: Polling, failure: Exception
    ) -> None:
        polling.store.failures = [failure] * 6
        warnings: list[str] = []
        waiters = [polling.wait_for(task_id, warn=warnings.append) for task_id in ids(3)]

        await polling.let_pass(600, until=lambda: not polling.store.failures)

        assert await polling.ended(*waiters, advancing=True) == [None] * 3
        assert all("Could not look up connection" in warning and str(failure) in warning for warning in warnings)
        assert 3 <= len(warnings) <= 12
        assert polling.store.looked_up == 7


class TestTheEnd:
    async def test_of_a_wait_leaves_nothing_of_it(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        gone, other = polling.wait_for("task_000", "task_001"), polling.wait_for("task_001", "task_002")
        await polling.ended(other)

        polling.poller.unregister(gone)

        assert polling.is_idle()

    async def test_of_one_wait_is_not_the_end_of_another_for_the_same_task(self, polling: Polling) -> None:
        gone, other = polling.wait_for("task_000"), polling.wait_for("task_000")

        polling.poller.unregister(gone)

        assert await polling.ended(other) == [None]
        assert not gone.done.done()

    @pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
    async def test_of_a_wait_during_a_look_leaves_nothing_of_it_either(
        self, polling: Polling, *, is_known: bool
    ) -> None:
        polling.gateway.held = {"task_000"}
        polling.gateway.unknown = set() if is_known else {"task_000"}
        gone = polling.wait_for("task_000")
        await polling.until(lambda: polling.gateway.under_way)

        polling.poller.unregister(gone)
        polling.gateway.release()
        await polling.ended(polling.wait_for("task_001"))

        assert polling.is_idle()
        assert not gone.done.done()

    async def test_of_all_waits_is_followed_by_a_while_in_which_the_client_is_kept(self, polling: Polling) -> None:
        await polling.ended(polling.wait_for("task_000"))
        await asyncio.sleep(SEVERAL_TICKS)
        assert polling.gateway.times_closed == 0

        await polling.ended(polling.wait_for("task_001"))

        assert polling.store.looked_up == 1

    async def test_of_that_while_leaves_no_task_and_no_client(self) -> None:
        polling = Polling(linger=0.1)
        await polling.ended(polling.wait_for("task_000"))

        await polling.until(lambda: polling.poller._runner is None)

        assert polling.gateway.times_closed == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await polling.ended(polling.wait_for("task_001")) == [None], "and it starts again when it is wanted"
        await polling.poller.aclose()

    async def test_of_that_while_is_not_the_end_for_one_who_comes_while_the_client_is_closed(self) -> None:
        polling = Polling(linger=0.1)
        polling.gateway.may_close = asyncio.Event()
        await polling.ended(polling.wait_for("task_000"))
        await polling.until(lambda: polling.gateway.times_closed)

        waiter = polling.wait_for("task_001")
        polling.gateway.may_close.set()

        assert await polling.ended(waiter) == [None]
        assert polling.store.looked_up == 2
        await polling.poller.aclose()

    async def test_of_the_poller_fails_those_who_wait_and_closes_the_client(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000"}
        waiters = [polling.wait_for(task_id) for task_id in ids(3)]
        await polling.until(lambda: polling.gateway.under_way)

        await polling.poller.aclose()

        outcomes = await polling.ended(*waiters)
        assert {type(outcome) for outcome in outcomes} == {ApimartError}
        assert "the tasks continue at the gateway" in str(outcomes[0])
        assert polling.gateway.times_closed == 1
        assert polling.gateway.under_way == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert polling.is_idle()

    async def test_of_a_poller_that_has_hardly_begun_fails_those_who_wait_too(self, polling: Polling) -> None:
        waiter = polling.wait_for("task_000")

        await polling.poller.aclose()

        assert [type(outcome) for outcome in await polling.ended(waiter)] == [ApimartError]
        assert await polling.ended(polling.wait_for("task_001")) == [None]

    async def test_of_a_poller_that_nobody_has_used_is_nothing(self, polling: Polling) -> None:
        await polling.poller.aclose()

        assert polling.gateway.times_closed == 0

    def test_of_an_event_loop_is_the_end_of_its_pollers(self) -> None:
        loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

        async def main() -> list[BaseException | None]:
            loops.append(weakref.ref(asyncio.get_running_loop()))
            polling = Polling()
            # As ``TaskPoller.of`` does it.
            TaskPoller._pollers[asyncio.get_running_loop()] = {CONN_ID: polling.poller}
            ended = await polling.ended(polling.wait_for("task_000"))
            await asyncio.sleep(SEVERAL_TICKS)  # It waits for those who may come.
            polling.gateway.running = {"task_001"}
            polling.wait_for("task_001")
            await polling.until(lambda: len(polling.gateway.looks) >= 2)
            return ended

        assert [asyncio.run(main()), asyncio.run(main())] == [[None], [None]]

        gc.collect()
        assert [loop() for loop in loops] == [None, None]


class TestTheLog:
    async def test_of_a_task_tells_its_own_trouble_and_nobody_elses(self, polling: Polling) -> None:
        whose_log: contextvars.ContextVar[str] = contextvars.ContextVar("whose_log", default="nobody's")
        told: list[tuple[str, str]] = []

        def wait_for(task_id: str, whose: str) -> Waiter:
            whose_log.set(whose)
            return polling.wait_for(task_id, warn=lambda message: told.append((whose_log.get(), message)))

        def in_its_own_context(task_id: str, whose: str) -> Waiter:
            return contextvars.copy_context().run(wait_for, task_id, whose)

        polling.gateway.unknown = {"task_bad"}
        good = in_its_own_context("task_000", "the good one's")
        in_its_own_context("task_bad", "the bad one's")

        await polling.ended(good)
        await polling.until(lambda: told)

        assert all(whose == "the bad one's" and "status of task task_bad" in message for whose, message in told)

    async def test_of_a_task_does_not_hold_what_the_poller_says_of_itself(self, polling: Polling) -> None:
        whose_log: contextvars.ContextVar[str] = contextvars.ContextVar("whose_log", default="nobody's")
        said: list[str] = []

        class Warnings(list[str]):
            def append(self, message: str) -> None:  # noqa: ARG002 - the gateway's owner words it
                said.append(whose_log.get())

        polling.store.warnings = Warnings()
        polling.gateway.has_batches = False

        whose_log.set("the first one's")
        await polling.ended(*[polling.wait_for(task_id) for task_id in ids(3)])

        assert said == ["nobody's"]
