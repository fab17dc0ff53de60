"""The simulator of both gateways, as a program of its own."""

from __future__ import annotations

import re
import secrets
import sys
from typing import TYPE_CHECKING, Any

import httpx

from services.environment import clean_environment
from services.process import ChildProcess

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["SimulatorProcess"]

READY = re.compile(r"^APIMart simulator: (\S+) .*\n", re.MULTILINE)


class SimulatorProcess:
    """
    ``python -m airflow_provider_apimart.simulator`` on 127.0.0.1, with an API key of its own. A context manager.

    :param directory: holds its log; made if missing.
    :param speed: how many times faster than the real gateways it finishes pictures.
    """

    def __init__(self, directory: Path, *, speed: float) -> None:
        self.api_key = f"sk-{secrets.token_hex(24)}"
        # -P: the working directory is no place to import from.
        program = [sys.executable, "-P", "-m", "airflow_provider_apimart.simulator"]
        self.process = ChildProcess(
            "The simulator",
            [*program, "--port=0", f"--speed={speed}", f"--api-key={self.api_key}"],
            log=directory / "simulator.log",
            environment=clean_environment(),
        )

    @property
    def url(self) -> str:
        """Base URL of the APIMart side; known once it has started."""
        if (url := self._announced_url()) is None:
            raise RuntimeError("The simulator has not said yet where it listens.")
        return url

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to the APIMart side: the JSON form of ``AIRFLOW_CONN_*``."""
        return {"conn_type": "apimart", "host": self.url, "password": self.api_key}

    def stats(self) -> dict[str, Any]:
        """Return what the simulator has counted since its start."""
        return self._get("/simulator/stats")

    def tasks(self) -> list[dict[str, Any]]:
        """Return every task that the simulator has accepted."""
        return self._get("/simulator/tasks")

    def __enter__(self) -> Self:
        self.process.log.parent.mkdir(parents=True, exist_ok=True)
        self.process.start_until(lambda: self._announced_url() is not None)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.stop()

    def _announced_url(self) -> str | None:
        lines = READY.findall(self.process.log.read_text())
        return lines[-1] if lines else None

    def _get(self, path: str) -> Any:
        return httpx.get(self.url + path, trust_env=False, timeout=30).raise_for_status().json()
