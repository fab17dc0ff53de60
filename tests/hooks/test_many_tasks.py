"""Status queries of many tasks: in batches while the gateway understands that, one by one when it does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.exchange import Script, error_response, html
from structlog.testing import capture_logs
from triggers.task_gateway import TaskGateway

from airflow_provider_apimart.exceptions import (
    AuthenticationError,
    GatewayError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_apimart.gateway.request import ImageRequest

    Ask = Callable[[ApimartHook, Sequence[str]], dict[str, Task | GatewayError]]
    MakeHook = Callable[..., tuple[ApimartHook, Script]]


def ask(hook: ApimartHook, task_ids: Sequence[str]) -> dict[str, Task | GatewayError]:
    with hook:
        return hook.get_tasks(task_ids)


def ask_asynchronously(hook: ApimartHook, task_ids: Sequence[str]) -> dict[str, Task | GatewayError]:
    async def main() -> dict[str, Task | GatewayError]:
        async with hook:
            return await hook.aget_tasks(task_ids)

    return asyncio.run(main())


both_ways = pytest.mark.parametrize("get_tasks", [ask, ask_asynchronously], ids=["blocking", "asynchronous"])


@pytest.fixture
def bought(apimart_connection: str, image_request: ImageRequest) -> list[str]:
    """Ids of sixty tasks: more than one batch."""
    with ApimartHook(apimart_connection) as hook:
        return [hook.submit(image_request).tasks[0].task_id for _ in range(60)]


@both_ways
def test_many_tasks_are_asked_after_in_batches(get_tasks: Ask, bought: list[str], simulator: Simulator) -> None:
    found = get_tasks(ApimartHook(), bought)

    assert list(found) == bought
    assert all(isinstance(task, Task) for task in found.values())
    assert requests(simulator) == {"batch": 2, "task": 0}


@both_ways
def test_one_task_is_asked_after_by_itself(get_tasks: Ask, bought: list[str], simulator: Simulator) -> None:
    assert list(get_tasks(ApimartHook(), bought[:1])) == bought[:1]
    assert requests(simulator) == {"batch": 0, "task": 1}


@both_ways
def test_nothing_is_asked_about_nothing(get_tasks: Ask, connect: Callable[..., None]) -> None:
    del connect
    assert get_tasks(ApimartHook(), []) == {}


@both_ways
def test_batches_can_be_switched_off(
    get_tasks: Ask, bought: list[str], simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(host=simulator.url, extra={"batch_polling": "off"})

    assert set(get_tasks(ApimartHook(), bought[:3])) == set(bought[:3])
    assert requests(simulator) == {"batch": 0, "task": 3}


@both_ways
@pytest.mark.parametrize("shape", ["list", "map", "nested", "wrapped"])
def test_every_shape_of_a_batch_is_understood(
    get_tasks: Ask, bought: list[str], simulator: Simulator, shape: str
) -> None:
    simulator.add_fault({"fault": "batch_shape", "shape": shape})

    found = get_tasks(ApimartHook(), bought)

    assert set(found) == set(bought)
    assert requests(simulator) == {"batch": 2, "task": 0}


@both_ways
@pytest.mark.parametrize("shape", ["list", "unknown_as_error"])
def test_one_unknown_id_spoils_no_other(get_tasks: Ask, bought: list[str], simulator: Simulator, shape: str) -> None:
    simulator.add_fault({"fault": "batch_shape", "shape": shape})

    found = get_tasks(ApimartHook(), [*bought[:3], "task_unknown"])

    assert all(isinstance(found[task_id], Task) for task_id in bought[:3])
    assert type(found["task_unknown"]) is TaskNotFoundError
    assert requests(simulator) == {"batch": 1, "task": 1}


@both_ways
def test_a_batch_that_knows_no_task_is_not_believed(get_tasks: Ask, bought: list[str], simulator: Simulator) -> None:
    simulator.add_fault({"fault": "batch_shape", "shape": "all_errors"})

    found = get_tasks(ApimartHook(), bought[:3])

    assert all(isinstance(task, Task) for task in found.values())
    assert requests(simulator) == {"batch": 1, "task": 3}


@both_ways
def test_an_id_that_is_asked_for_twice_is_looked_up_once(
    get_tasks: Ask, bought: list[str], simulator: Simulator
) -> None:
    assert list(get_tasks(ApimartHook(), [bought[0], bought[0]])) == bought[:1]
    assert requests(simulator) == {"batch": 0, "task": 1}


@both_ways
def test_a_missing_batch_endpoint_is_left_alone_then_and_said_once(
    get_tasks: Ask, bought: list[str], simulator: Simulator
) -> None:
    simulator.add_fault({"fault": "batch_missing"})
    hook = ApimartHook()

    with capture_logs() as logged:
        first = get_tasks(hook, bought)
        assert requests(simulator) == {"batch": 2, "task": 60}
        second = get_tasks(hook, bought)

    assert set(first) == set(second) == set(bought)
    assert requests(simulator) == {"batch": 2, "task": 120}
    assert ["Batch queries do not work" in line["event"] for line in logged if line["log_level"] == "warning"] == [True]


@both_ways
@pytest.mark.parametrize(
    ("odd", "times"),
    [
        (httpx.Response(200, json={"code": 200, "data": "not implemented"}), 5),
        (html(200), 5),
        (error_response(400, message="task_ids required"), 1),
        (error_response(405), 1),
    ],
    ids=["odd-shape", "html", "400", "405"],
)
def test_an_odd_batch_answer_leads_to_single_look_ups(
    get_tasks: Ask, scripted: MakeHook, odd: httpx.Response, times: int
) -> None:
    single = httpx.Response(200, json={"data": {"status": "processing"}})
    hook, script = scripted(*[odd] * times, single)

    found = get_tasks(hook, ["task_1", "task_2"])

    assert {task_id: task.task_id for task_id, task in found.items()} == {"task_1": "task_1", "task_2": "task_2"}
    assert [request.method for request in script.requests] == ["POST"] * times + ["GET"] * 2


@both_ways
@pytest.mark.parametrize(
    ("trouble", "cls", "methods"),
    [
        (error_response(401), AuthenticationError, ("POST", "GET")),
        (html(403), PermissionDeniedError, ("POST", "GET")),
        (html(502), ServerError, ("POST", "GET")),
        (error_response(429), RateLimitError, ("POST",)),
    ],
    ids=str,
)
def test_trouble_with_the_gateway_itself_is_raised(
    get_tasks: Ask, scripted: MakeHook, trouble: httpx.Response, cls: type[GatewayError], methods: tuple[str, ...]
) -> None:
    hook, script = scripted(trouble)

    with pytest.raises(cls) as raised:
        get_tasks(hook, ["task_1", "task_2"])

    assert {request.method for request in script.requests} == set(methods)
    assert (raised.value.retryable, raised.value.charged) == (True, "unknown")


@both_ways
def test_trouble_with_the_gateway_itself_is_raised_for_a_single_task_too(get_tasks: Ask, scripted: MakeHook) -> None:
    hook, _ = scripted(error_response(401))

    with pytest.raises(AuthenticationError):
        get_tasks(hook, ["task_1"])


@both_ways
@pytest.mark.parametrize("page", [html(404), html(403), html(502), html(200)], ids=lambda page: str(page.status_code))
def test_a_page_before_the_whole_gateway_turns_batches_not_off(
    get_tasks: Ask, scripted: MakeHook, page: httpx.Response
) -> None:
    hook, _ = scripted(page)

    with pytest.raises(GatewayError):
        get_tasks(hook, ["task_1", "task_2"])

    assert hook.batch_endpoint.is_usable


@pytest.fixture
def limited_simulator(connect: Callable[..., None]) -> Iterator[Simulator]:
    """A simulator whose batches hold twenty ids at most."""
    with Simulator(SimulatorSettings(speed=200, batch_limit=20)) as simulator:
        connect(host=simulator.url)
        yield simulator


@both_ways
def test_the_size_of_a_batch_that_the_gateway_takes_is_found_and_kept(
    get_tasks: Ask, limited_simulator: Simulator, image_request: ImageRequest
) -> None:
    with ApimartHook() as hook:
        bought = [hook.submit(image_request).tasks[0].task_id for _ in range(100)]
        first = get_tasks(hook, bought)
        asked_at_first = requests(limited_simulator)
        second = get_tasks(hook, bought)

    assert list(first) == list(second) == bought
    assert all(isinstance(task, Task) for task in [*first.values(), *second.values()])
    assert asked_at_first == {"batch": 2 + 4 + 8, "task": 0}, "two sizes are refused"
    assert requests(limited_simulator) == {"batch": 14 + 8, "task": 0}


@both_ways
def test_one_bad_id_neither_spoils_the_others_nor_turns_batches_off(
    get_tasks: Ask, bought: list[str], simulator: Simulator
) -> None:
    bad = "task_bad"
    simulator.add_fault({"fault": "refuse", "on": "batch", "status": 400, "match": {"task_id": bad}})
    hook = ApimartHook()

    found = get_tasks(hook, [*bought[:40], bad])
    assert [task_id for task_id, outcome in found.items() if isinstance(outcome, TaskNotFoundError)] == [bad]
    assert sum(isinstance(outcome, Task) for outcome in found.values()) == 40

    asked = requests(simulator)
    get_tasks(hook, bought)
    assert requests(simulator) == {"batch": asked["batch"] + 2, "task": asked["task"]}


@pytest.mark.parametrize("max_concurrency", [1, 4])
async def test_single_look_ups_share_as_many_connections_as_allowed(
    bought: list[str], simulator: Simulator, connect: Callable[..., None], max_concurrency: int
) -> None:
    connect(host=simulator.url, extra={"max_concurrency": max_concurrency})
    simulator.add_fault({"fault": "batch_missing"})
    before = simulator.stats()["connections"]

    async with ApimartHook() as hook:
        found = await asyncio.gather(hook.aget_tasks(bought[:30]), hook.aget_tasks(bought[30:]))

    assert [len(part) for part in found] == [30, 30]
    assert requests(simulator)["task"] == 60
    assert 1 <= simulator.stats()["connections"] - before <= max_concurrency


async def test_no_more_single_look_ups_are_under_way_than_allowed(connect: Callable[..., None]) -> None:
    connect(extra={"max_concurrency": 4})
    gateway = TaskGateway(has_batches=False)

    async with ApimartHook(transport=gateway) as hook:
        found = await hook.aget_tasks([f"task_{number}" for number in range(60)])

    assert len(found) == len(gateway.times_asked) == 60
    assert gateway.most_at_once == 4


def requests(simulator: Simulator) -> dict[str, int]:
    """How often was asked, in batches and one by one."""
    counted = simulator.stats()["requests"]
    return {name: counted[name] for name in ("batch", "task")}
