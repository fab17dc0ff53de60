"""The processes in which tries run, as their parent sees them."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.waiting import ServiceError

import airflow_provider_apimart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

__all__ = ["Child", "ForkServer"]

TESTS = Path(__file__).parents[1]
START_SECONDS = 600


@dataclass
class Child:
    """One segment in a process of its own."""

    number: int
    server: ForkServer
    status: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self.server.tell({"signal": int(number), "number": self.number})

    def wait(self, seconds: float) -> int:
        """
        Return the exit status, negative for the signal that ended it.

        :raises ServiceError: when it takes too long. It is killed.
        """
        if not self.ended.wait(seconds):
            self.send(signal.SIGKILL)
            self.ended.wait(seconds)
            raise ServiceError(f"A try hung for {seconds:.0f} s.")
        assert self.status is not None
        return self.status


class ForkServer:
    """
    Forks processes that have imported everything. A context manager; thread-safe.

    :param environment: the whole environment of the processes, with an ``AIRFLOW_HOME``.
    :param log: file for what the server itself has to say.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        # The tries run the package that the campaign itself has imported.
        self._environment = {**environment, "PYTHONPATH": str(Path(airflow_provider_apimart.__file__).parents[1])}
        self._log = log
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def fork(self, segment: Mapping[str, Any]) -> Child:
        """Run one segment."""
        child = Child(next(self._numbers), self)
        self._children[child.number] = child
        self.tell({"segment": segment, "number": child.number})
        return child

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send one line."""
        with self._lock:
            self._input.write(json.dumps(order).encode() + b"\n")
            self._input.flush()

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.fork_server"],
                cwd=TESTS,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._listen, name="fork-server")
        self._reader.start()
        if not self._ready.wait(START_SECONDS) or self._process.poll() is not None:
            self.__exit__(None, None, None)
            raise ServiceError(f"The process that forks tries did not start. Log: {self._log}")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._input.close()
        try:
            self._process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._output.close()

    def _listen(self) -> None:
        for line in self._output:
            if line == b"ready\n":
                self._ready.set()
            elif line.startswith(b"["):
                number, status = json.loads(line)
                child = self._children.pop(number)
                child.status = status
                child.ended.set()
        self._ready.set()
        for child in self._children.values():
            child.status = -signal.SIGKILL
            child.ended.set()
