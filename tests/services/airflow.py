"""A real Airflow: as ``airflow standalone``, or as four components that can be stopped, killed and started singly."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from services.airflow_api import AirflowApi
from services.environment import executable
from services.ports import free_port
from services.process import ChildProcess
from services.waiting import ServiceError, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from services.airflow_home import AirflowHome

__all__ = ["Airflow", "AirflowComponents", "AirflowStandalone"]

START_SECONDS = 180
HEARTBEATS = ("scheduler", "triggerer", "dag_processor")


class Airflow(ABC):
    """
    A running Airflow. A context manager that is entered when every component has given a sign of life.

    :param home: where it keeps its state.
    """

    def __init__(self, home: AirflowHome) -> None:
        self.home = home
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
        for process in self.processes:
            process.stop()

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
            return not silent

        wait_until(
            all_reported,
            what="a sign of life of every component of Airflow",
            within=START_SECONDS,
            explain=lambda: "\n".join(
                [f"Silent: {', '.join(sorted(silent))}", *(process.log_tail() for process in self.processes)]
            ),
        )

    def backfill(self, dag_id: str, first: str, last: str, *options: str, attempts: int = 5) -> int:
        """
        Run ``airflow backfill create``.

        Where that finds SQLite locked by another component, Airflow leaves it to the user to try again.

        :param first: date, the first to be run.
        :param last: date, the last to be run.
        :returns: how often it was run. Those that failed may have cleared some of the runs by then.
        """
        command = ("backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", last, *options)
        for attempt in range(1, attempts):
            try:
                self.home.run(*command)
            except ServiceError as error:
                if "database is locked" not in str(error):
                    raise
                self.api.cancel_backfills(dag_id)
            else:
                return attempt
        self.home.run(*command)
        return attempts

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

    def __init__(self, home: AirflowHome) -> None:
        super().__init__(home)
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
    Scheduler, DAG processor, triggerer and two API servers, each as a child of its own.

    One of these is for the tasks alone. Airflow 3.3.2 writes what people do into its audit log from within the event
    loop, which the transaction of a task waits for: in one process, with SQLite, both stand still until that gives up.
    Whatever else wants to write then finds it locked, and a scheduler ends.
    """

    def __init__(self, home: AirflowHome) -> None:
        super().__init__(home)
        port = free_port()
        self._execution_url = f"http://127.0.0.1:{port}/execution/"
        # The log servers would listen on all interfaces; on one machine the API server reads the files.
        self.scheduler = self._component("scheduler", "--skip-serve-logs")
        self.dag_processor = self._component("dag-processor")
        self.triggerer = self._component("triggerer", "--skip-serve-logs")
        self.api_server = self._component("api-server", "--apps=core")
        self.execution_api = self._component("api-server", "--apps=execution", f"--port={port}", log="execution-api")

    @property
    def processes(self) -> Sequence[ChildProcess]:
        return [self.scheduler, self.dag_processor, self.triggerer, self.api_server, self.execution_api]

    def start(self) -> None:
        self.home.prepare()
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
