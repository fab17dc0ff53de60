"""Asking after many tasks: in batches while the gateway understands that, one by one when it does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from gateway.exchange import Script, error_response, html
from structlog.testing import capture_logs

from airflow_provider_apimart.exceptions import (
    AuthenticationError,
    GatewayError,
    RateLimitError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.simulator import Simulator

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
    simulator.add_fault({"fault": "batch_missing"})

    assert list(get_tasks(ApimartHook(), [bought[0], bought[0]])) == bought[:1]
    assert requests(simulator) == {"batch": 1, "task": 1}


@both_ways
def test_a_missing_batch_endpoint_is_tried_once_and_said_once(
    get_tasks: Ask, bought: list[str], simulator: Simulator
) -> None:
    simulator.add_fault({"fault": "batch_missing"})
    hook = ApimartHook()

    with capture_logs() as logged:
        first, second = get_tasks(hook, bought), get_tasks(hook, bought)

    assert set(first) == set(second) == set(bought)
    assert requests(simulator) == {"batch": 1, "task": 120}
    assert ["Batch look-ups do not work" in line["event"] for line in logged if line["log_level"] == "warning"] == [
        True
    ]


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
    ("trouble", "cls"), [(error_response(401), AuthenticationError), (error_response(429), RateLimitError)]
)
def test_trouble_with_the_gateway_itself_is_raised(
    get_tasks: Ask, scripted: MakeHook, trouble: httpx.Response, cls: type[GatewayError]
) -> None:
    hook, script = scripted(trouble)

    with pytest.raises(cls):
        get_tasks(hook, ["task_1", "task_2"])

    assert {request.method for request in script.requests} == {"POST"}


def requests(simulator: Simulator) -> dict[str, int]:
    """How often was asked, in batches and one by one."""
    counted = simulator.stats()["requests"]
    return {name: counted[name] for name in ("batch", "task")}


@both_ways
def test_trouble_with_the_gateway_itself_is_raised_for_a_single_task_too(get_tasks: Ask, scripted: MakeHook) -> None:
    hook, _ = scripted(error_response(401))

    with pytest.raises(AuthenticationError):
        get_tasks(hook, ["task_1"])
