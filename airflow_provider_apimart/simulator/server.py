"""The HTTP server around the application, in the foreground or in a thread of a test."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, TypeVar

import uvicorn

from airflow_provider_apimart.simulator.app import build_app
from airflow_provider_apimart.simulator.connections import ConnectionProtocol
from airflow_provider_apimart.simulator.control import list_tasks, statistics
from airflow_provider_apimart.simulator.settings import SimulatorSettings
from airflow_provider_apimart.simulator.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

__all__ = ["Simulator", "serve"]

_Result = TypeVar("_Result")
_KEEP_ALIVE_SECONDS = 75
_SHUTDOWN_SECONDS = 2
_START_SECONDS = 30


class _Server(uvicorn.Server):
    """uvicorn's server, saying when it accepts connections, and not waiting for paused answers at its end."""

    def __init__(self, config: uvicorn.Config, world: World, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._world = world
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._world.stop()
        await super().shutdown(sockets)


def _listen(settings: SimulatorSettings) -> tuple[socket.socket, str]:
    """Return a listening socket and the address of the server, which is known only now if the port is 0."""
    listener = socket.create_server((settings.host, settings.port), backlog=2048)
    # Accepted sockets inherit this. Without it the body of each answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return listener, f"http://{host}:{listener.getsockname()[1]}"


def _build_server(world: World, on_started: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        build_app(world),
        http=ConnectionProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=world.settings.access_log,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return _Server(config, world, on_started)


def serve(settings: SimulatorSettings, on_started: Callable[[str], None]) -> None:
    """
    Serve in this thread until a signal ends it.

    :param settings: how the simulator behaves.
    :param on_started: called with the base URL once connections are accepted.
    :raises OSError: the address cannot be listened on.
    :raises ValueError: a fault rule in the settings that cannot be understood.
    """
    world = World(settings)
    listener, url = _listen(settings)
    with listener:
        _build_server(world, lambda: on_started(url)).run([listener])


class Simulator:
    """
    A simulator in a background thread, for tests.

    ::

        with Simulator(SimulatorSettings(speed=1000)) as simulator:
            httpx.get(simulator.url + "/v1/balance", headers={"Authorization": "Bearer any"})

    :param settings: how it behaves; by default with real durations.
    :raises OSError: on entering, the address cannot be listened on.
    :raises ValueError: on entering, a fault rule in the settings that cannot be understood.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings or SimulatorSettings()

    @property
    def url(self) -> str:
        """Return the base URL of APIMart."""
        return self._url

    @property
    def apimaster_url(self) -> str:
        """Return the base URL of APIMaster."""
        return f"{self._url}/apimaster"

    def stats(self) -> dict[str, Any]:
        """Return what ``GET /simulator/stats`` shows."""
        return self._run(lambda: statistics(self._world))

    def tasks(self) -> list[dict[str, Any]]:
        """Return what ``GET /simulator/tasks`` shows."""
        return self._run(lambda: list_tasks(self._world))

    def faults(self) -> list[dict[str, Any]]:
        """Return what ``GET /simulator/faults`` shows."""
        return self._run(self._world.faults.as_json)

    def add_fault(self, *rules: Mapping[str, Any]) -> None:
        """
        Put fault rules into force.

        :raises ValueError: a rule that cannot be understood; the message names the field.
        """
        self._run(lambda: self._world.faults.add(*rules))

    def clear_faults(self) -> None:
        """Take all fault rules out of force."""
        self._run(self._world.faults.clear)

    def reset(self) -> None:
        """Forget everything, as if started anew."""
        self._run(self._world.reset)

    def __enter__(self) -> Self:
        self._world = World(self.settings)
        listener, self._url = _listen(self.settings)
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._server = _build_server(self._world, lambda: started.set_result(asyncio.get_running_loop()))
        self._thread = Thread(target=self._serve, args=(listener,), name="apimart-simulator", daemon=True)
        self._thread.start()
        self._loop = started.result(_START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            self._server.run([listener])

    def _run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function in the event loop that owns the state."""

        async def call() -> _Result:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()
