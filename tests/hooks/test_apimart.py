"""The hook: an Airflow connection as a client of its gateway."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from gateway.clock import HeldClock
from gateway.exchange import Script, accepted, error_response, html
from services.reference_files import GIF

from airflow_provider_apimart import __version__
from airflow_provider_apimart.exceptions import (
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.task import Task, TaskState
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow_provider_apimart.gateway.client import GatewayClient

    MakeHook = Callable[..., tuple[ApimartHook, Script]]

DESCRIBED = httpx.Response(200, json={"data": {"status": "processing"}})
API_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("fields", "base_url", "gateway"),
    [
        ({}, "https://api.apimart.ai", Gateway.APIMART),
        ({"host": "https://api.apimart.ai/v1/"}, "https://api.apimart.ai", Gateway.APIMART),
        ({"host": "https://apimaster.ai/"}, "https://apimaster.ai", Gateway.APIMASTER),
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080", Gateway.APIMART),
        ({"host": "http://127.0.0.1:1", "extra": {"gateway": "apimaster"}}, "http://127.0.0.1:1", Gateway.APIMASTER),
        ({"extra": '{"gateway": "apimaster"}'}, "https://api.apimart.ai", Gateway.APIMASTER),
    ],
    ids=str,
)
def test_a_connection_in_the_environment_becomes_settings(
    connect: Callable[..., None], fields: dict[str, Any], base_url: str, gateway: Gateway
) -> None:
    connect(**fields)

    settings = ApimartHook().settings

    assert (settings.api_key, settings.base_url, settings.gateway) == (API_KEY, base_url, gateway)


def test_a_connection_written_as_a_uri_becomes_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"apimart://:{API_KEY}@http%3A%2F%2F127.0.0.1:8080/?timeout=5&batch_polling=off"
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_OTHER", uri)

    settings = ApimartHook("apimart_other").settings

    assert (settings.api_key, settings.base_url) == (API_KEY, "http://127.0.0.1:8080")
    assert (settings.timeout, settings.batch_polling) == (5.0, False)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"password": ""}, "password"),
        ({"host": "ftp://api.apimart.ai"}, "host"),
        ({"extra": {"gateway": "openai"}}, "gateway"),
        ({"extra": {"submit_path": "v1/images"}}, "submit_path"),
        ({"extra": {"timeout": "soon"}}, "timeout"),
        ({"extra": {"max_concurrency": 0}}, "max_concurrency"),
        ({"extra": {"requests_per_second": -1}}, "requests_per_second"),
        ({"extra": {"batch_polling": "on"}}, "batch_polling"),
        ({"extra": "[1]"}, "extra that is not a JSON object"),
        ({"extra": "{oops"}, "extra that is not JSON"),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_used_is_named(connect: Callable[..., None], fields: dict[str, Any], named: str) -> None:
    connect(**fields)

    with pytest.raises(ConfigurationError, match=rf"^Connection 'apimart_default' has .*{named}"):
        _ = ApimartHook().settings


def test_the_connection_is_looked_up_at_the_first_call_and_once(connect: Callable[..., None]) -> None:
    hook = ApimartHook()
    connect(host="https://first.example")
    first = hook.settings
    connect(host="https://second.example")

    assert hook.settings is first
    assert first.base_url == "https://first.example"


class WatchedHook(ApimartHook):
    """A hook that keeps the threads in which its clients were made, and those clients."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(transport=transport)
        self.made_in: list[threading.Thread] = []
        self.made: list[GatewayClient] = []

    def _make_client(self) -> GatewayClient:
        self.made_in.append(threading.current_thread())
        self.made.append(super()._make_client())
        return self.made[-1]


async def test_making_a_client_does_not_hold_up_the_event_loop(connect: Callable[..., None]) -> None:
    del connect
    async with WatchedHook(Script(DESCRIBED)) as hook:
        await hook.aget_task("task_1")

    assert len(hook.made_in) == 1
    assert hook.made_in[0] is not threading.current_thread()


async def test_first_calls_at_the_same_time_share_one_client(connect: Callable[..., None]) -> None:
    del connect
    async with WatchedHook(Script(DESCRIBED)) as hook:
        await asyncio.gather(*(hook.aget_task("task_1") for _ in range(5)))

    assert len(hook.made) == 1


def test_first_calls_of_many_threads_share_one_event_loop_and_one_client(connect: Callable[..., None]) -> None:
    del connect
    before = threading.active_count()
    with WatchedHook(Script(DESCRIBED)) as hook, ThreadPoolExecutor(20) as pool:
        tasks = list(pool.map(hook.get_task, [f"task_{number}" for number in range(100)]))

    assert [task.task_id for task in tasks] == [f"task_{number}" for number in range(100)]
    assert len(hook.made) == 1
    assert threading.active_count() == before


async def test_settings_that_were_read_before_serve_the_asynchronous_client(connect: Callable[..., None]) -> None:
    connect(host="https://first.example")
    script = Script(DESCRIBED)
    async with ApimartHook(transport=script) as hook:
        settings = hook.settings
        connect(host="https://second.example")

        await hook.aget_task("task_1")
        assert hook.settings is settings

    assert script.requests[0].url.host == "first.example"


def test_each_event_loop_has_a_client_of_its_own(connect: Callable[..., None]) -> None:
    del connect
    hook = WatchedHook(Script(DESCRIBED))

    async def query() -> None:
        async with hook:
            await hook.aget_task("task_1")

    with hook:
        hook.get_task("task_1")
        asyncio.run(query())
        asyncio.run(query())
        hook.get_task("task_1")

    assert len(hook.made) == 3


async def test_a_query_that_is_cancelled_leaves_nothing_behind(apimart_connection: str) -> None:
    async with ApimartHook(apimart_connection) as hook:
        query = asyncio.create_task(hook.aget_tasks([f"task_{number}" for number in range(200)]))
        await HeldClock.settle()
        query.cancel()
        await asyncio.wait([query])

        assert query.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert list(await hook.aget_tasks(["task_1", "task_2"])) == ["task_1", "task_2"]
    gc.collect()


class TerminatedError(BaseException):
    """Stands for the exception by which Airflow ends a task."""


def test_a_hook_whose_task_is_ended_in_the_middle_of_a_request_can_be_closed(connect: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connect(host=f"http://127.0.0.1:{silent.getsockname()[1]}")
        threads = threading.active_count()
        received = threading.Event()

        def end_the_task() -> None:
            connection, _ = silent.accept()
            with connection:
                connection.recv(4096)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                received.wait()

        def terminate(*_: object) -> None:
            raise TerminatedError

        previous = signal.signal(signal.SIGUSR1, terminate)
        server = threading.Thread(target=end_the_task)
        server.start()
        try:
            with pytest.raises(TerminatedError), ApimartHook() as hook:
                hook.submit(ImageRequest(prompt="An orange cat"))
        finally:
            signal.signal(signal.SIGUSR1, previous)
            received.set()
            server.join()
        hook.close()

        assert threading.active_count() == threads
    gc.collect()


def test_a_hook_that_is_never_closed_neither_warns_nor_keeps_the_process(
    apimart_connection: str, simulator: Simulator
) -> None:
    del apimart_connection
    program = """
from airflow_provider_apimart.hooks.apimart import ApimartHook
hook = ApimartHook()
print(hook.get_balance().remaining)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "1000.0"
    assert "ResourceWarning" not in run.stderr
    assert simulator.stats()["requests"]["balance"] == 1


def test_a_picture_is_bought_and_found(
    apimart_connection: str, simulator: Simulator, image_request: ImageRequest
) -> None:
    with ApimartHook(apimart_connection) as hook:
        submission = hook.submit(image_request, idempotency_key="key-1")
        task = wait(hook, submission.tasks[0].task_id)

    assert task.state is TaskState.COMPLETED
    assert [image.url.startswith(simulator.url) for image in task.images] == [True]
    assert task.cost == pytest.approx(0.0085)
    assert simulator.stats()["tasks_per_idempotency_key"] == Counter({"key-1": 1})
    assert simulator.stats()["user_agents"] == [f"airflow-provider-apimart/{__version__}"]


async def test_a_picture_is_bought_and_found_asynchronously(
    apimart_connection: str, simulator: Simulator, image_request: ImageRequest
) -> None:
    async with ApimartHook(apimart_connection) as hook:
        submission = await hook.asubmit(image_request, idempotency_key="key-1")
        task_id = submission.tasks[0].task_id
        while not (task := await hook.aget_task(task_id)).is_finished:
            pass
        assert await hook.aget_tasks([task_id]) == {task_id: task}

    assert task.state is TaskState.COMPLETED
    assert simulator.stats()["submits"]["accepted"] == 1


def test_a_synchronous_answer_of_apimaster_is_a_finished_task(
    connect: Callable[..., None], image_request: ImageRequest
) -> None:
    with Simulator(SimulatorSettings(speed=1000, apimaster_synchronous=True)) as simulator:
        connect(host=simulator.apimaster_url, extra={"gateway": "apimaster"})
        with ApimartHook() as hook:
            (task,) = hook.submit(image_request).tasks

    assert task.is_finished
    assert len(task.images) == 1


def test_the_asynchronous_path_of_apimaster_can_be_chosen(
    connect: Callable[..., None], simulator: Simulator, image_request: ImageRequest
) -> None:
    path = "/v1/images/generations/async"
    connect(host=simulator.apimaster_url, extra={"gateway": "apimaster", "submit_path": path})

    with ApimartHook() as hook:
        (task,) = hook.submit(image_request).tasks

    assert not task.is_finished
    assert [known["gateway"] for known in simulator.tasks()] == ["apimaster"]


def test_the_server_sees_the_key_as_a_bearer_token_and_nothing_else_of_it(
    scripted: MakeHook, image_request: ImageRequest
) -> None:
    hook, script = scripted(accepted())

    with hook:
        hook.submit(image_request, idempotency_key="key-1")

    (request,) = script.requests
    assert request.headers["Authorization"] == f"Bearer {API_KEY}"
    assert request.headers["User-Agent"] == f"airflow-provider-apimart/{__version__}"
    assert API_KEY not in str(request.url) + request.content.decode()


def test_the_price_of_a_request_can_be_estimated(apimart_connection: str, image_request: ImageRequest) -> None:
    with ApimartHook(apimart_connection) as hook:
        price = hook.get_price("gpt-image-2")

    assert price.estimate(image_request) == pytest.approx(0.0085)


def test_the_price_is_asked_for_without_a_key(scripted: MakeHook) -> None:
    hook, script = scripted(httpx.Response(200, json={"data": {}}))

    with hook:
        hook.get_price("gpt-image-2")

    assert "Authorization" not in script.requests[0].headers


def test_an_unknown_task_is_told_apart(apimart_connection: str) -> None:
    with ApimartHook(apimart_connection) as hook, pytest.raises(TaskNotFoundError):
        hook.get_task("task_of_somebody_else")


@pytest.mark.parametrize("given", ["path", "text", "bytes"])
def test_a_reference_image_is_uploaded(
    apimart_connection: str, simulator: Simulator, tmp_path: Path, given: str
) -> None:
    path = tmp_path / "of any name"
    path.write_bytes(GIF)
    image = {"path": path, "text": str(path), "bytes": GIF}[given]

    with ApimartHook(apimart_connection) as hook:
        url = hook.upload_image(image)

    assert url.startswith(f"{simulator.url}/f/upload/")
    assert httpx.get(url, trust_env=False, timeout=30).content == GIF


def test_an_upload_is_typed_by_its_content_and_its_name_stays_here(scripted: MakeHook, tmp_path: Path) -> None:
    hook, script = scripted(httpx.Response(200, json={"url": "https://cdn.example/1.gif"}))
    path = tmp_path / "unreleased-product.png"
    path.write_bytes(GIF)

    with hook:
        hook.upload_image(path)
        hook.upload_image(GIF)

    for request in script.requests:
        assert b'filename="reference.gif"' in request.content
        assert b"Content-Type: image/gif" in request.content
        assert b"unreleased-product" not in request.content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "is not of a recognised format"),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(20 * 1024 * 1024),
            "has 20971528 bytes, and the gateways accept at most 20971520",
        ),
    ],
    ids=["no picture", "too large"],
)
def test_what_no_gateway_takes_is_not_uploaded(scripted: MakeHook, tmp_path: Path, content: bytes, reason: str) -> None:
    hook, script = scripted(httpx.Response(200, json={"url": "https://cdn.example/1.png"}))
    path = tmp_path / "reference.png"
    path.write_bytes(content)

    with hook:
        for image in (content, path):
            with pytest.raises(InvalidRequestError, match=reason):
                hook.upload_image(image)

    assert script.requests == []


def test_the_balance_is_told(apimart_connection: str) -> None:
    with ApimartHook(apimart_connection) as hook:
        assert hook.get_balance().remaining == 1000.0


@pytest.fixture
def strict_simulator() -> Iterator[Simulator]:
    """A simulator that knows one key."""
    with Simulator(SimulatorSettings(api_key=API_KEY, balance=None)) as simulator:
        yield simulator


@pytest.mark.parametrize("side", ["apimart", "apimaster"])
def test_a_good_key_passes_the_test(connect: Callable[..., None], strict_simulator: Simulator, side: str) -> None:
    connect(host=strict_simulator.url if side == "apimart" else strict_simulator.apimaster_url)

    with ApimartHook() as hook:
        passed, message = hook.test_connection()

    assert passed
    assert message.startswith("127.0.0.1 accepts the key")
    assert "balance: no limit" in message or "offers 1 models" in message


@pytest.mark.parametrize("side", ["apimart", "apimaster"])
def test_a_bad_key_fails_the_test_and_is_not_shown(
    connect: Callable[..., None], strict_simulator: Simulator, side: str
) -> None:
    wrong = "sk-wrong-wrong-wrong-wrong"
    connect(host=strict_simulator.url if side == "apimart" else strict_simulator.apimaster_url, password=wrong)

    with ApimartHook() as hook:
        passed, message = hook.test_connection()

    assert not passed
    assert "token info" in message or "invalid API key" in message
    assert wrong not in message


@pytest.mark.parametrize(
    ("answers", "passed", "said"),
    [
        ([httpx.Response(200, json={"remain_balance": 3.5})], True, "balance: 3.5 left"),
        ([httpx.Response(200, json={"success": False, "message": f"no {API_KEY}"})], False, "no ***"),
        ([error_response(401, message=f"invalid API key {API_KEY}")], False, "invalid API key ***"),
        ([html(404), httpx.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]})], True, "offers 2 models"),
        ([*[html(200)] * 5, httpx.Response(200, json={"data": [{"id": "a"}]})], True, "offers 1 models"),
        ([html(404), error_response(401)], False, "HTTP 401"),
        ([httpx.ConnectError("refused")], False, "No connection to api.apimart.ai"),
    ],
    ids=["balance", "200-failure", "401", "no-balance-endpoint", "balance-is-a-web-page", "models-401", "no-network"],
)
def test_the_test_tells_what_it_found(scripted: MakeHook, answers: list[Any], *, passed: bool, said: str) -> None:
    hook, _ = scripted(*answers)

    with hook:
        result = hook.test_connection()

    assert result[0] is passed
    assert said in result[1]
    assert API_KEY not in result[1]


def test_the_test_of_an_unusable_connection_names_the_field(connect: Callable[..., None]) -> None:
    connect(host="ftp://api.apimart.ai")

    passed, message = ApimartHook().test_connection()

    assert not passed
    assert "host='ftp://api.apimart.ai'" in message


def test_a_closed_hook_leaves_no_connection_open(apimart_connection: str) -> None:
    with ApimartHook(apimart_connection) as hook:
        hook.get_balance()
    hook.close()
    del hook
    gc.collect()  # A socket that is left open warns now, and a warning is an error.


async def test_a_closed_hook_leaves_no_asynchronous_connection_open(apimart_connection: str) -> None:
    async with ApimartHook(apimart_connection) as hook:
        await hook.aget_tasks(["task_1"])
    await hook.aclose()
    del hook
    gc.collect()


def test_closing_closes_the_transport_and_a_later_call_makes_a_new_client(connect: Callable[..., None]) -> None:
    del connect
    script = Script(httpx.Response(200, json={"remain_balance": 1}))
    hook = WatchedHook(script)

    with hook:
        hook.get_balance()
        hook.get_balance()
    assert script.is_closed
    assert len(hook.made) == 1
    hook.close()

    with hook:
        assert hook.get_balance().remaining == 1
    assert len(hook.made) == 2


def test_a_balance_that_the_gateway_does_not_offer_is_not_found(
    connect: Callable[..., None], simulator: Simulator
) -> None:
    connect(host=simulator.apimaster_url)

    with ApimartHook() as hook, pytest.raises(NotFoundError):
        hook.get_balance()


def test_a_hook_that_was_never_used_has_nothing_to_close() -> None:
    with ApimartHook():
        pass


def wait(hook: ApimartHook, task_id: str) -> Task:
    while not (task := hook.get_task(task_id)).is_finished:
        pass
    return task
