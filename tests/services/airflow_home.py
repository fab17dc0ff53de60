"""An ``AIRFLOW_HOME``: settings, secrets, login and the command line of one Airflow."""

from __future__ import annotations

import base64
import copy
import json
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from services.environment import clean_environment, executable
from services.ports import free_port
from services.waiting import PATIENCE, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

__all__ = ["AirflowHome"]


class AirflowHome:
    """
    A home for one Airflow with the LocalExecutor, and a login that is really asked for.

    :param directory: becomes ``AIRFLOW_HOME``; made if missing.
    :param dags_folder: holds the DAG files. Their runs are not paused.
    :param database_url: as SQLAlchemy writes it; by default, SQLite in the home.
    :param parallelism: how many task processes may run at the same time. Tasks that wait deferred hold none.
    :param users: the roles of those who may sign in besides ``admin``, by name.
    :param settings: more environment variables, such as ``AIRFLOW_VAR_*``.
    """

    username = "admin"

    def __init__(
        self,
        directory: Path,
        *,
        dags_folder: Path,
        database_url: str | None = None,
        parallelism: int = 4,
        users: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        roles = {self.username: "admin", **(users or {})}
        self.directory = directory
        self.passwords = {name: secrets.token_urlsafe(12) for name in roles}
        self.url = f"http://127.0.0.1:{free_port()}"
        # Seconds for which a component waits for another's write: five, the default, are few for a slow disk.
        self.database_url = database_url or f"sqlite:///{self.database}?timeout=60"
        self.environment = clean_environment(
            AIRFLOW_HOME=str(directory),
            AIRFLOW__API__BASE_URL=self.url,
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=self.url.rpartition(":")[2],
            AIRFLOW__API__SECRET_KEY=secrets.token_urlsafe(48),
            AIRFLOW__API__WORKERS="1",
            AIRFLOW__API_AUTH__JWT_SECRET=secrets.token_urlsafe(64),
            AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
            AIRFLOW__CORE__DAGS_FOLDER=str(dags_folder),
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{self.url}/execution/",
            AIRFLOW__CORE__EXECUTOR="LocalExecutor",
            AIRFLOW__CORE__FERNET_KEY=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__PARALLELISM=str(parallelism),
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=",".join(f"{name}:{role}" for name, role in roles.items()),
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=self.database_url,
            AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="5",
            AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(free_port()),
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(free_port()),
            # A worker that gives up sooner asks a second time for what is still being done.
            AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT="90",
        )
        self.environment |= settings

    def another_api_server(self, *, path: str, **settings: str) -> Self:
        """
        Return a home with the same database and secrets, for one more API server. Tasks know only the first.

        :param path: of the URL under which it serves, such as ``/airflow``.
        :param settings: environment variables that are its own.
        """
        other = copy.copy(self)
        port = free_port()
        other.url = f"http://127.0.0.1:{port}{path}"
        other.passwords = dict(self.passwords)
        other.environment = self.environment | {
            "AIRFLOW__API__BASE_URL": other.url,
            "AIRFLOW__API__PORT": str(port),
            **settings,
        }
        return other

    @property
    def password(self) -> str:
        """Of ``admin``."""
        return self.passwords[self.username]

    @property
    def logs(self) -> Path:
        """Folder of the logs of the components; the tasks' own logs are in ``logs/`` beside it."""
        return self.directory / "components"

    @property
    def is_on_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def database(self) -> Path:
        """The file, on SQLite."""
        return self.directory / "airflow.db"

    def prepare(self) -> None:
        """Make the folders, and the password file that Airflow would otherwise fill by itself."""
        self.logs.mkdir(parents=True, exist_ok=True)
        passwords = self.directory / "simple_auth_manager_passwords.json.generated"
        passwords.write_text(json.dumps(self.passwords))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows that a statement finds in the database."""
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement))]
        finally:
            engine.dispose()

    def run(self, *arguments: str, within: float = PATIENCE) -> str:
        """
        Run an ``airflow`` command to its end.

        :returns: what it wrote to stdout.
        :raises ServiceError: when it fails, with all that it wrote.
        """
        finished = subprocess.run(
            [executable("airflow"), *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if finished.returncode == 0:
            return finished.stdout
        raise ServiceError(
            f"airflow {' '.join(arguments)} ended with exit status {finished.returncode}.\n"
            f"{finished.stdout}{finished.stderr}"
        )
