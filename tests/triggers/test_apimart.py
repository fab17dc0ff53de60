"""The trigger and the poller that all triggers of one connection share, against the simulator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_provider_apimart
from airflow_provider_apimart.gateway import calls
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.triggers._poller import TaskPoller
from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.simulator import Simulator


@pytest.fixture
def buy(apimart_connection: str) -> Callable[[int], list[str]]:
    """Buy some pictures and return the ids of their tasks."""

    def submit(count: int = 1) -> list[str]:
        with ApimartHook(apimart_connection) as hook:
            submissions = [hook.submit(ImageRequest(prompt=f"picture {number}")) for number in range(count)]
        return [task.task_id for submission in submissions for task in submission.tasks]

    return submit


def waiting_for(task_ids: list[str], **parameters: Any) -> ApimartTaskTrigger:
    defaults = {"apimart_conn_id": "apimart_default", "deadline": time.time() + 30, "poll_interval": 0.1}
    return ApimartTaskTrigger(task_ids=task_ids, **{**defaults, **parameters})


async def event_of(trigger: ApimartTaskTrigger) -> dict[str, Any]:
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    return events[0]


def poller() -> TaskPoller:
    return TaskPoller.of("apimart_default")


class TestTheEvent:
    async def test_holds_the_finished_tasks_as_plain_json(self, buy: Callable[..., list[str]]) -> None:
        task_ids = buy(2)

        event = await event_of(waiting_for(task_ids))

        assert event["status"] == "finished"
        assert event["task_ids"] == task_ids
        assert {task["id"] for task in event["tasks"]} == set(task_ids)
        assert json.loads(json.dumps(event)) == event

    async def test_leaves_out_what_still_runs_at_the_deadline(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        simulator.add_fault({"fault": "never_finishes", "times": 1})
        task_ids = buy(2)

        event = await event_of(waiting_for(task_ids, deadline=time.time() + 1.5))

        assert event["status"] == "timeout"
        assert [task["id"] for task in event["tasks"]] == task_ids[1:]

    async def test_repeats_what_was_finished_before(self, buy: Callable[..., list[str]]) -> None:
        task_ids = buy(1)
        delivered = {"id": "sync_1", "status": "completed"}

        event = await event_of(waiting_for(["sync_1", *task_ids], finished=[delivered]))

        assert event["tasks"][0] == delivered
        assert len(event["tasks"]) == 2

    async def test_does_not_come_before_its_time(self, buy: Callable[..., list[str]]) -> None:
        not_before = time.time() + 1.0

        await event_of(waiting_for(buy(1), not_before=not_before))

        assert time.time() >= not_before

    async def test_names_an_id_that_the_gateway_does_not_know(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        task_ids = buy(1)

        event = await event_of(waiting_for([*task_ids, "task_nobody_knows"], deadline=time.time() + 10))

        assert event["status"] == "finished"
        assert list(event["failures"]) == ["task_nobody_knows"]
        assert simulator.stats()["requests"]["task"] >= 5  # A new task may not be visible at once.


class TestTheTrigger:
    def test_can_be_made_again_from_what_it_serializes(self) -> None:
        trigger = waiting_for(["task_1"], not_before=1.0, first_look=2.0, finished=[{"id": "task_1"}])

        path, kwargs = trigger.serialize()

        assert path == f"{ApimartTaskTrigger.__module__}.{ApimartTaskTrigger.__qualname__}"
        assert ApimartTaskTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)

    async def test_ends_at_once_after_its_event(self, buy: Callable[..., list[str]]) -> None:
        events = waiting_for(buy(1)).run()
        await anext(events)

        with pytest.raises(StopAsyncIteration):
            await anext(events)

    async def test_says_what_happens_to_the_money_when_it_is_killed(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        await waiting_for(["task_1"]).on_kill()

        said = capsys.readouterr().out + caplog.text
        assert "task_1" in said
        assert "be charged" in said


class TestManyTriggers:
    async def test_share_one_client_and_its_requests(self, buy: Callable[..., list[str]], simulator: Simulator) -> None:
        task_ids = buy(40)
        before = simulator.stats()

        await asyncio.gather(*(event_of(waiting_for([task_id])) for task_id in task_ids))

        after = simulator.stats()
        assert after["connections"] - before["connections"] <= 2
        assert after["requests"]["task"] == 0
        assert after["requests"]["batch"] <= 10

    async def test_may_wait_for_the_same_task(self, buy: Callable[..., list[str]]) -> None:
        task_ids = buy(1)

        first, second = await asyncio.gather(event_of(waiting_for(task_ids)), event_of(waiting_for(task_ids)))

        assert first == second

    async def test_are_not_disturbed_by_one_that_is_cancelled(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        simulator.add_fault({"fault": "never_finishes", "times": 1})
        task_ids = buy(2)
        cancelled = asyncio.ensure_future(event_of(waiting_for(task_ids[:1])))
        other = asyncio.ensure_future(event_of(waiting_for(task_ids[1:])))
        await asyncio.sleep(0)

        cancelled.cancel()

        assert (await other)["status"] == "finished"
        assert cancelled.cancelled()

    async def test_leave_nothing_behind(self, buy: Callable[..., list[str]]) -> None:
        task_ids = buy(5)

        await asyncio.gather(*(event_of(waiting_for([task_id])) for task_id in task_ids))
        await asyncio.sleep(0.1)

        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert poller()._waiters == {}
        assert poller()._schedule.next_due() is None

    async def test_all_fail_when_the_poller_does(
        self, buy: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_ids = buy(2)
        monkeypatch.delenv("AIRFLOW_CONN_APIMART_DEFAULT")  # The connection is gone when the triggerer looks it up.

        outcomes = await asyncio.gather(
            *(event_of(waiting_for([task_id])) for task_id in task_ids), return_exceptions=True
        )

        assert [type(outcome).__name__ for outcome in outcomes] == ["AirflowNotFoundException"] * 2


class TestTheGateway:
    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param({"fault": "refuse", "on": "batch", "status": 429, "retry_after": 1, "times": 1}, id="429"),
            pytest.param({"fault": "refuse", "on": "batch", "status": 502, "times": 2}, id="502"),
            pytest.param({"fault": "drop_answer", "on": "batch", "times": 1}, id="lost answer"),
            pytest.param({"fault": "batch_missing"}, id="no batch endpoint"),
            pytest.param({"fault": "html", "on": "batch"}, id="HTML"),
            pytest.param({"fault": "batch_shape", "shape": "map"}, id="map"),
            pytest.param({"fault": "batch_shape", "shape": "nested"}, id="nested"),
            pytest.param({"fault": "batch_shape", "shape": "wrapped"}, id="wrapped"),
            pytest.param({"fault": "batch_shape", "shape": "all_errors"}, id="only errors"),
        ],
    )
    async def test_may_stumble_without_losing_a_task(
        self, buy: Callable[..., list[str]], simulator: Simulator, fault: dict[str, Any]
    ) -> None:
        task_ids = buy(3)
        simulator.add_fault(fault)

        event = await event_of(waiting_for(task_ids))

        assert {task["id"] for task in event["tasks"]} == set(task_ids)

    async def test_is_asked_with_the_new_key_after_the_old_one_was_refused(
        self,
        buy: Callable[..., list[str]],
        simulator: Simulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        task_ids = buy(2)
        simulator.add_fault({"fault": "refuse", "on": "batch", "status": 401, "times": 1})
        looked_up = []
        look_up = ApimartHook.aget_connection

        async def counting(conn_id: str) -> Any:
            looked_up.append(conn_id)
            return await look_up(conn_id)

        monkeypatch.setattr(ApimartHook, "aget_connection", staticmethod(counting))

        assert (await event_of(waiting_for(task_ids)))["status"] == "finished"
        assert looked_up == ["apimart_default"] * 2


def test_a_loop_that_ended_leaves_no_poller_to_the_next(buy: Callable[..., list[str]]) -> None:
    task_ids = buy(2)

    events = [asyncio.run(event_of(waiting_for([task_id]))) for task_id in task_ids]

    assert [event["status"] for event in events] == ["finished", "finished"]


def attributes(*sources: str) -> set[str]:
    """Every name that the sources reach through a dot."""
    trees = [ast.parse(textwrap.dedent(source)) for source in sources]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_no_paid_call_can_be_reached_from_a_trigger() -> None:
    """A triggerer runs a trigger again after a restart, and twice when two of them believe that they own it."""
    triggers = Path(airflow_provider_apimart.__file__).parent / "triggers"
    methods = {name: method for name, method in vars(ApimartHook).items() if inspect.isfunction(method)}
    endpoints = {name for name, function in vars(calls).items() if inspect.isfunction(function)}

    reached: set[str] = set()
    news = attributes(*(path.read_text() for path in triggers.glob("*.py")))
    while news - reached:
        reached |= news
        news = attributes(*(inspect.getsource(methods[name]) for name in reached & methods.keys()))

    assert reached & methods.keys() > {"aget_tasks"}
    assert reached & endpoints == {"get_task", "get_tasks"}
    settings = GatewaySettings(api_key="sk-x")
    assert not calls.get_task(settings, "task_1").paid
    assert not calls.get_tasks(settings, ["task_1"]).paid
    assert calls.submit(settings, ImageRequest(prompt="a cat")).paid
