"""The trigger, with the poller that it shares with all others of its connection, against the simulator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import psutil
import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs
from triggers.skipping_loop import SkippingLoop
from triggers.waiting import event_of, waiting_for

import airflow_provider_apimart
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.simulator import Simulator, SimulatorSettings
from airflow_provider_apimart.triggers.apimart import ApimartTaskTrigger
from airflow_provider_apimart.triggers.poller import TaskPoller

if TYPE_CHECKING:
    from collections.abc import Callable


def connections_to(simulator: Simulator) -> set[Any]:
    """Return the sockets that this process holds to the simulator, those of loops that are no more among them."""
    port = urlsplit(simulator.url).port
    sockets = psutil.Process().net_connections("tcp")
    return {socket.laddr for socket in sockets if socket.raddr and socket.raddr.port == port}


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

    def test_leaves_out_what_still_runs_at_the_deadline(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        simulator.add_fault({"fault": "never_finishes", "times": 1})
        running, finished = buy(2)

        async def wait_until_the_deadline() -> dict[str, Any]:
            waiting = asyncio.create_task(event_of(waiting_for([running, finished], deadline=time.time() + 3600)))
            while list(poller()._waiters) != [running]:
                await asyncio.wait([waiting], timeout=0.01)
                assert not waiting.done()
            loop.skip(3600)
            event = await waiting
            assert poller()._waiters == {}, "nobody looks at it any more"
            return event

        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            loop = cast("SkippingLoop", runner.get_loop())
            event = runner.run(wait_until_the_deadline())

        assert event["status"] == "timeout"
        assert [task["id"] for task in event["tasks"]] == [finished]

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


class TestTheTrigger:
    def test_can_be_made_again_from_what_it_serializes(self) -> None:
        trigger = waiting_for(["task_1"], not_before=1.0, first_look=2.0, timeout=600.0, finished=[{"id": "task_1"}])

        path, kwargs = trigger.serialize()

        assert path == f"{ApimartTaskTrigger.__module__}.{ApimartTaskTrigger.__qualname__}"
        assert ApimartTaskTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)

    async def test_ends_at_once_after_its_event(self, buy: Callable[..., list[str]]) -> None:
        events = waiting_for(buy(1)).run()
        await anext(events)

        with pytest.raises(StopAsyncIteration):
            await anext(events)

    async def test_says_what_happens_to_the_money_when_it_is_killed(self) -> None:
        with capture_logs() as logged:
            await waiting_for(["task_1"]).on_kill()

        (line,) = logged
        assert "task_1" in line["event"]
        assert "will be charged" in line["event"]
        assert "clearing it, collects their pictures and buys nothing" in line["event"]


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
        assert poller()._waiters == {}

    async def test_leave_only_the_poller_behind_and_that_leaves_nothing(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        task_ids = buy(5)
        before = connections_to(simulator)

        await asyncio.gather(*(event_of(waiting_for([task_id])) for task_id in task_ids))

        assert asyncio.all_tasks() == {asyncio.current_task(), poller()._runner}
        assert len(connections_to(simulator) - before) == 1
        assert poller()._waiters == {}
        await poller().aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(0)  # The loop closes sockets one step later.
        assert connections_to(simulator) <= before

    async def test_wait_for_a_connection_that_is_missing_for_a_moment(
        self, buy: Callable[..., list[str]], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_ids = buy(2)
        connection = os.environ["AIRFLOW_CONN_APIMART_DEFAULT"]
        monkeypatch.delenv("AIRFLOW_CONN_APIMART_DEFAULT")
        waits = [asyncio.ensure_future(event_of(waiting_for([task_id]))) for task_id in task_ids]
        with capture_logs() as logged:
            while len(logged) < 2:  # noqa: ASYNC110 - the log knows no event
                await asyncio.sleep(0.01)

        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", connection)

        assert [event["status"] for event in await asyncio.gather(*waits)] == ["finished"] * 2
        assert all("Could not look up connection 'apimart_default'; still waiting" in line["event"] for line in logged)
        assert simulator.stats()["submits"]["received"] == 2

    async def test_without_the_batch_endpoint_share_as_many_connections_as_allowed(
        self, buy: Callable[..., list[str]], simulator: Simulator, connect: Callable[..., None]
    ) -> None:
        task_ids = buy(150)
        simulator.add_fault({"fault": "batch_missing"})
        connect(host=simulator.url, extra={"max_concurrency": 8})
        before = simulator.stats()

        events = await asyncio.gather(*(event_of(waiting_for([task_id])) for task_id in task_ids))

        after = simulator.stats()
        assert [event["status"] for event in events] == ["finished"] * 150
        assert after["requests"]["batch"] <= 2
        assert after["requests"]["task"] >= 150
        assert after["connections"] - before["connections"] <= 8

    async def test_say_their_trouble_each_in_its_own_log_and_the_poller_says_its_own_in_none(
        self, buy: Callable[..., list[str]], simulator: Simulator
    ) -> None:
        task_ids = buy(3)
        refusal = {"fault": "refuse", "on": "task", "status": 400, "times": 1}
        simulator.add_fault(
            {"fault": "batch_missing"}, *({**refusal, "match": {"task_id": task_id}} for task_id in task_ids[:2])
        )

        async def run(trigger_id: int, task_id: str) -> None:
            # What Airflow's triggerer does, and what it tells the logs of the tasks apart by.
            with bound_contextvars(trigger_id=trigger_id):
                await event_of(waiting_for([task_id]))

        with capture_logs(processors=[merge_contextvars]) as logged:
            await asyncio.gather(*(run(number, task_id) for number, task_id in enumerate(task_ids)))

        warnings = {line.get("trigger_id"): line["event"] for line in logged if line["log_level"] == "warning"}
        assert set(warnings) == {None, 0, 1}
        for trigger_id in (0, 1):
            assert warnings[trigger_id].startswith(f"Could not get the status of task {task_ids[trigger_id]}; still")


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
        assert simulator.stats()["submits"]["received"] == 3, "waiting buys nothing"

    async def test_is_asked_with_the_new_key_after_the_old_one_was_refused(self, connect: Callable[..., None]) -> None:
        with Simulator(SimulatorSettings(speed=200, api_key="sk-new")) as simulator:
            connect(host=simulator.url, password="sk-new")
            with ApimartHook() as hook:
                task_id = hook.submit(ImageRequest(prompt="a picture")).tasks[0].task_id
            connect(host=simulator.url, password="sk-old")
            wait = asyncio.ensure_future(event_of(waiting_for([task_id])))
            while not simulator.stats()["requests"]["task"]:  # noqa: ASYNC110 - another thread counts
                await asyncio.sleep(0.01)

            connect(host=simulator.url, password="sk-new")

            assert (await wait)["status"] == "finished"
            assert simulator.stats()["requests"]["task"] <= 3


def test_a_loop_that_ended_leaves_no_poller_to_the_next(buy: Callable[..., list[str]]) -> None:
    task_ids = buy(2)

    events = [asyncio.run(event_of(waiting_for([task_id]))) for task_id in task_ids]

    assert [event["status"] for event in events] == ["finished", "finished"]


def names_in(*nodes: ast.AST) -> set[str]:
    """Every name that some code mentions, be it after a dot or by itself."""
    walked = [node for tree in nodes for node in ast.walk(tree)]
    attributes = {node.attr for node in walked if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in walked if isinstance(node, ast.Name)}


def functions_in(*paths: Path) -> dict[str, list[ast.AST]]:
    """Every function and method that some modules define, by its name."""
    functions: dict[str, list[ast.AST]] = {}
    for node in (node for path in paths for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.setdefault(node.name, []).append(node)
    return functions


def test_no_paid_call_can_be_reached_from_a_trigger() -> None:
    """A triggerer runs a trigger again after a restart, and twice when two of them believe that they own it."""
    package = Path(airflow_provider_apimart.__file__).parent
    functions = functions_in(
        *(package / "hooks").glob("*.py"), package / "gateway" / "polling.py", package / "gateway" / "client.py"
    )
    defined = inspect.getmembers(endpoints, inspect.isfunction)
    requests = {name for name, function in defined if function.__module__ == endpoints.__name__}

    reached: set[str] = set()
    news = names_in(*(ast.parse(path.read_text()) for path in (package / "triggers").glob("*.py")))
    while news - reached:
        reached |= news
        news = names_in(*(node for name in reached & functions.keys() for node in functions[name]))

    assert reached & functions.keys() > {"aget_task", "aget_tasks", "aload_settings", "look_up", "_in_batches", "send"}
    assert reached & requests == {"get_task", "get_tasks"}
    settings = GatewaySettings(api_key="sk-x")
    assert not endpoints.get_task(settings, "task_1").paid
    assert not endpoints.get_tasks(settings, ["task_1"]).paid
    assert endpoints.submit(settings, ImageRequest(prompt="a cat")).paid
