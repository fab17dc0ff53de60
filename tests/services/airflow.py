"""A real Airflow: as ``airflow standalone``, or as four components that can be stopped, killed and started singly."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from services.airflow_api import AirflowApi
from services.environment import executable
from services.ports import free_port
from services.process import ChildProcess
from services.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from services.airflow_home import AirflowHome

__all__ = ["Airflow", "AirflowComponents", "AirflowStandalone"]

HEARTBEATS = ("scheduler", "triggerer", "dag_processor")


class Airflow(ABC):
    """
    A running Airflow. A context manager that is entered when every component has given a sign of life.

    :param home: where it keeps its state.
    :param tell: is told, while it starts, what is waited for.
    """

    def __init__(self, home: AirflowHome, *, tell: Callable[[str], object] = lambda _: None) -> None:
        self.home = home
        self._tell = tell
        self.api = AirflowApi(home.url, username=home.username, password=home.password)

    @property
    @abstractmethod
    def processes(self) -> Sequence[ChildProcess]:
        """Every program that was started."""

    def start(self) -> None:
        self.home.prepare()
        started_at = datetime.now(UTC)
        for process in self.processes:
            process.start()
        self.wait_for_heartbeats(since=started_at)

    def stop(self) -> None:
        self.api.close()
        # Side by side: each takes some seconds.
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda process: process.stop(), self.processes))

    def require_alive(self) -> None:
        """:raises ServiceError: when a component has ended by itself, with the end of its log."""
        for process in self.processes:
            process.require_alive()

    def wait_for_heartbeats(self, *, since: datetime, of: Iterable[str] = HEARTBEATS) -> None:
        """
        Wait until the API answers, and components have reported after a moment.

        :param of: names of the components, as the health endpoint calls them.
        """
        silent: set[str] = set()

        def all_reported() -> bool:
            self.require_alive()
            nonlocal silent
            silent = self._silent(since, of)
            self._tell(f"waiting for {', '.join(sorted(silent))}" if silent else "all components have reported")
            return not silent

        wait_until(
            all_reported,
            what="a sign of life of every component of Airflow",
            within=PATIENCE,
            explain=lambda: "\n".join(
                [f"Silent: {', '.join(sorted(silent))}", *(process.log_tail() for process in self.processes)]
            ),
        )

    def backfill(self, dag_id: str, first: str, last: str, *options: str) -> None:
        """
        Run ``airflow backfill create``.

        :param first: date, the first to be run.
        :param last: date, the last to be run.
        """
        self.home.run("backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", last, *options)

    def _silent(self, since: datetime, names: Iterable[str]) -> set[str]:
        try:
            health = self.api.health()
        except httpx.HTTPError:
            return {"api_server", *names}
        beats = {name: health[name][f"latest_{name}_heartbeat"] for name in names}
        return {name for name, beat in beats.items() if beat is None or datetime.fromisoformat(beat) < since}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class AirflowStandalone(Airflow):
    """``airflow standalone``."""

    def __init__(self, home: AirflowHome, *, tell: Callable[[str], object] = lambda _: None) -> None:
        super().__init__(home, tell=tell)
        self._process = ChildProcess(
            "Airflow",
            [executable("airflow"), "standalone"],
            log=home.logs / "standalone.log",
            environment=home.environment,
            # It ends its components on Ctrl-C only.
            stop_signal=signal.SIGINT,
        )

    @property
    def processes(self) -> Sequence[ChildProcess]:
        return [self._process]


class AirflowComponents(Airflow):
    """
    Scheduler, DAG processor, triggerer and API server, each as a child of its own.

    With SQLite, another API server is for the tasks alone. Airflow 3.3.2 writes what people do into its audit log from
    within the event loop, which the transaction of a task waits for: in one process, with SQLite, both stand still
    until that gives up. Whatever else wants to write then finds it locked, and a scheduler ends.
    """

    def __init__(self, home: AirflowHome, *, tell: Callable[[str], object] = lambda _: None) -> None:
        super().__init__(home, tell=tell)
        port = free_port()
        self._execution_url = f"http://127.0.0.1:{port}/execution/" if home.is_on_sqlite else f"{home.url}/execution/"
        # The log servers would listen on all interfaces; on one machine the API server reads the files.
        self.scheduler = self._component("scheduler", "--skip-serve-logs")
        self.dag_processor = self._component("dag-processor")
        self.triggerer = self._component("triggerer", "--skip-serve-logs")
        self._api_servers = (
            [
                self._component("api-server", "--apps=core"),
                self._component("api-server", "--apps=execution", f"--port={port}", log="execution-api"),
            ]
            if home.is_on_sqlite
            else [self._component("api-server")]
        )

    @property
    def processes(self) -> Sequence[ChildProcess]:
        return [self.scheduler, self.dag_processor, self.triggerer, *self._api_servers]

    def start(self) -> None:
        self.home.prepare()
        self._tell("making the tables of its database")
        self.home.run("db", "migrate")
        super().start()

    def restart(self, component: ChildProcess) -> None:
        """Start a component again that was stopped or killed, and wait for its sign of life. The API must be up."""
        restarted_at = datetime.now(UTC)
        component.start()
        heartbeats = zip((self.scheduler, self.triggerer, self.dag_processor), HEARTBEATS, strict=True)
        self.wait_for_heartbeats(since=restarted_at, of=[name for process, name in heartbeats if process is component])

    def _silent(self, since: datetime, names: Iterable[str]) -> set[str]:
        silent = super()._silent(since, names)
        try:
            httpx.get(f"{self._execution_url}health", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            return {*silent, "execution_api"}
        return silent

    def _component(self, name: str, *options: str, log: str | None = None) -> ChildProcess:
        return ChildProcess(
            f"Airflow's {log or name}",
            [executable("airflow"), name, *options],
            log=self.home.logs / f"{log or name}.log",
            environment=self.home.environment | {"AIRFLOW__CORE__EXECUTION_API_SERVER_URL": self._execution_url},
        )
