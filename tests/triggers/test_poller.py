"""The poller that all triggers of one connection share, at a gateway in this process."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections import Counter
from typing import TYPE_CHECKING

import httpx
import pytest
from airflow.exceptions import AirflowNotFoundException
from gateway.exchange import error_response
from triggers.polling import CONN_ID, Polling, ids

from airflow_provider_apimart.exceptions import ApimartError, ConfigurationError, TaskNotFoundError
from airflow_provider_apimart.triggers._poller import TaskPoller

if TYPE_CHECKING:
    from airflow_provider_apimart.triggers._waiter import Waiter

#: Real seconds that are long enough for the poller to look several times, were it not to pause.
SEVERAL_TICKS = 0.3


class TestSharing:
    async def test_tasks_that_are_due_together_are_asked_after_together(self, polling: Polling) -> None:
        waiters = [polling.wait_for(task_id) for task_id in ids(120)]

        await polling.ended(*waiters)

        assert sorted(len(look.task_ids) for look in polling.gateway.looks) == [20, 50, 50]
        assert all(set(waiter.tasks) == {task_id} for waiter, task_id in zip(waiters, ids(120), strict=True))

    async def test_a_task_that_two_wait_for_is_asked_after_once(self, polling: Polling) -> None:
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

    async def test_no_more_than_two_requests_are_under_way(self, polling: Polling) -> None:
        polling.gateway.held = set(ids(500))
        waiters = [polling.wait_for(task_id) for task_id in ids(500)]

        await polling.until(lambda: polling.gateway.under_way == 2)
        await asyncio.sleep(SEVERAL_TICKS)

        assert len(polling.gateway.looks) == 2
        polling.gateway.release()
        await polling.ended(*waiters)
        assert polling.gateway.most_at_once == 2

    async def test_a_task_under_way_is_not_asked_after_again(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000"}
        waiter = polling.wait_for("task_000")

        await polling.until(lambda: polling.gateway.under_way)
        await asyncio.sleep(SEVERAL_TICKS)

        assert polling.gateway.times_asked == {"task_000": 1}
        polling.gateway.release()
        assert await polling.ended(waiter) == [None]


class TestTrouble:
    async def test_a_gateway_that_asks_to_wait_is_asked_nothing_by_anybody(self, polling: Polling) -> None:
        polling.gateway.refusals = [error_response(429, retry_after="120")]
        reports: list[str] = []
        refused = polling.wait_for("task_000", report=reports.append)
        await polling.until(lambda: reports)

        waiters = [polling.wait_for(task_id) for task_id in ids(100)]
        await asyncio.sleep(SEVERAL_TICKS)

        assert len(polling.gateway.looks) == 1
        assert not any(waiter.done.done() for waiter in [refused, *waiters])
        (report,) = reports
        assert "The gateway could not be asked: The gateway answered HTTP 429" in report
        assert report.endswith("Next try in 120 s.")

    @pytest.mark.parametrize(
        "trouble",
        [
            pytest.param([error_response(402)], id="refused"),
            pytest.param([error_response(500)] * 5, id="500, five attempts"),
            pytest.param([error_response(429)] * 5, id="429, five attempts"),
            pytest.param([httpx.ReadTimeout("slow")] * 5, id="no answer"),
            pytest.param([httpx.ConnectError("refused")] * 5, id="no connection"),
        ],
    )
    async def test_a_gateway_that_fails_for_a_while_loses_nobody(
        self, polling: Polling, trouble: list[httpx.Response | Exception]
    ) -> None:
        polling.gateway.refusals = [*trouble]
        reports: list[str] = []

        waiters = [polling.wait_for(task_id, report=reports.append) for task_id in ids(10)]
        await polling.until(lambda: reports)
        polling.clock.seconds += 1

        assert await polling.ended(*waiters) == [None] * 10
        assert len(reports) == 10, "one line for each who waits"
        assert all("could not be asked" in report and "Next try in 1 s." in report for report in reports)
        assert [len(look.task_ids) for look in polling.gateway.looks] == [10] * (len(trouble) + 1)
        assert polling.store.looked_up == 1

    async def test_two_looks_that_fail_together_are_one_failure(self, polling: Polling) -> None:
        polling.gateway.held = {"task_000", "task_099"}
        polling.gateway.refusals = [error_response(402), error_response(402)]
        reports: list[str] = []
        waiters = [polling.wait_for(task_id, report=reports.append) for task_id in ids(100)]
        await polling.until(lambda: polling.gateway.under_way == 2)

        polling.gateway.release()
        await polling.until(lambda: len(reports) == 100)

        assert polling.poller._pause == 1.0
        polling.clock.seconds += 1
        assert await polling.ended(*waiters) == [None] * 100

    async def test_an_unknown_task_fails_only_those_who_wait_for_it_and_only_after_some_looks(
        self, polling: Polling
    ) -> None:
        polling.gateway.unknown = {"task_bad"}
        reports: list[str] = []
        both = polling.wait_for("task_bad", "task_000", report=reports.append)
        other = polling.wait_for("task_001")

        assert await polling.ended(both, other) == [None, None]

        assert {task_id: type(error) for task_id, error in both.failures.items()} == {"task_bad": TaskNotFoundError}
        assert list(both.tasks) == ["task_000"]
        assert other.failures == {}
        singly = [look for look in polling.gateway.looks if not look.is_batch]
        assert [look.task_ids for look in singly] == [("task_bad",)] * 5
        assert len(reports) == 4
        assert all("task_bad could not be asked after, it goes on waiting" in report for report in reports)
        assert polling.is_idle()

    async def test_a_task_that_becomes_visible_late_is_not_given_up(self, polling: Polling) -> None:
        polling.gateway.seen_as["task_new"] = ["unknown"] * 4 + ["processing"] + ["unknown"] * 4

        waiter = polling.wait_for("task_new")

        assert await polling.ended(waiter) == [None]
        assert polling.gateway.times_asked == {"task_new": 10}
        assert list(waiter.tasks) == ["task_new"]

    async def test_a_poller_that_fails_leaves_nobody_waiting_and_the_next_starts_anew(
        self, polling: Polling, caplog: pytest.LogCaptureFixture
    ) -> None:
        polling.gateway.refusals = [RuntimeError("a bug")]
        waiters = [polling.wait_for(task_id) for task_id in ids(3)]

        outcomes = await polling.ended(*waiters)

        assert [repr(outcome) for outcome in outcomes] == ["RuntimeError('a bug')"] * 3
        assert f"The poller of connection {CONN_ID} failed" in caplog.text
        assert polling.gateway.times_closed == 1
        assert await polling.ended(polling.wait_for("task_000")) == [None]


class TestWithoutTheBatchEndpoint:
    async def test_each_task_is_asked_after_by_itself_and_that_is_said_once(self, polling: Polling) -> None:
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
        (warning,) = polling.store.warnings
        assert warning.startswith("Batch look-ups do not work, each task is asked after by itself for 15 minutes")

    async def test_batches_are_tried_again_after_a_rest(self, polling: Polling) -> None:
        polling.gateway.has_batches = False
        polling.gateway.running = set(ids(20))
        waiters = [polling.wait_for(task_id) for task_id in ids(20)]
        await polling.until(lambda: polling.store.warnings)
        polling.gateway.has_batches = True

        polling.clock.seconds = 15 * 60
        polling.gateway.looks.clear()
        await polling.until(lambda: any(look.is_batch for look in polling.gateway.looks))
        polling.gateway.looks.clear()
        polling.gateway.running.clear()

        assert await polling.ended(*waiters) == [None] * 20
        assert all(look.is_batch for look in polling.gateway.looks)


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

    async def test_is_looked_up_again_at_once_when_the_gateway_refuses_the_key(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        reports: list[str] = []
        waiter = polling.wait_for("task_000", report=reports.append)
        await polling.until(lambda: polling.gateway.looks)

        polling.gateway.accepts = lambda api_key: api_key == "sk-second"
        await polling.until(lambda: reports)
        polling.store.api_key = "sk-second"
        polling.gateway.running.clear()
        polling.clock.seconds += 1

        assert await polling.ended(waiter) == [None]
        assert polling.gateway.looks[-1].api_key == "sk-second"
        assert "HTTP 401" in reports[0]

    async def test_that_cannot_be_looked_up_again_stays_as_it_was(self, polling: Polling) -> None:
        polling.gateway.running = {"task_000"}
        waiter = polling.wait_for("task_000")
        await polling.until(lambda: polling.gateway.looks)

        polling.store.failures = [RuntimeError("the API server is away")]
        polling.clock.seconds = 300
        await polling.until(lambda: polling.store.looked_up == 2)
        polling.gateway.running.clear()

        assert await polling.ended(waiter) == [None]
        assert polling.store.looked_up == 2

    async def test_that_cannot_be_looked_up_at_first_is_tried_again_and_those_who_wait_are_told(
        self, polling: Polling
    ) -> None:
        polling.store.failures = [RuntimeError("the API server is away")]
        reports: list[str] = []

        waiters = [polling.wait_for(task_id, report=reports.append) for task_id in ids(3)]
        await polling.until(lambda: reports)
        polling.clock.seconds += 1

        assert await polling.ended(*waiters) == [None] * 3
        told = "The connection could not be looked up: the API server is away Next try in 1 s."
        assert reports == [told] * 3
        assert polling.store.looked_up == 2

    @pytest.mark.parametrize("failure", [AirflowNotFoundException("not defined"), ConfigurationError("no password")])
    async def test_that_does_not_exist_or_cannot_be_used_fails_everybody_at_once(
        self, polling: Polling, failure: Exception
    ) -> None:
        polling.store.failures = [failure]

        outcomes = await polling.ended(*[polling.wait_for(task_id) for task_id in ids(3)])

        assert outcomes == [failure] * 3
        assert polling.gateway.looks == []
        assert polling.is_idle()


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
        assert "the tasks go on at the gateway" in str(outcomes[0])
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
            return polling.wait_for(task_id, report=lambda message: told.append((whose_log.get(), message)))

        def in_its_own_context(task_id: str, whose: str) -> Waiter:
            return contextvars.copy_context().run(wait_for, task_id, whose)

        polling.gateway.unknown = {"task_bad"}
        good = in_its_own_context("task_000", "the good one's")
        bad = in_its_own_context("task_bad", "the bad one's")

        await polling.ended(good, bad)

        assert len(told) == 4
        assert all(whose == "the bad one's" and "Task task_bad could not be" in message for whose, message in told)

    async def test_of_a_task_does_not_hold_what_the_poller_says_of_itself(self, polling: Polling) -> None:
        whose_log: contextvars.ContextVar[str] = contextvars.ContextVar("whose_log", default="nobody's")
        said: list[tuple[str, str]] = []

        class Warnings(list[str]):
            def append(self, message: str) -> None:
                said.append((whose_log.get(), message))

        polling.store.warnings = Warnings()
        polling.gateway.has_batches = False

        whose_log.set("the first one's")
        await polling.ended(*[polling.wait_for(task_id) for task_id in ids(3)])

        ((whose, message),) = said
        assert "Batch look-ups do not work" in message
        assert whose == "nobody's"
