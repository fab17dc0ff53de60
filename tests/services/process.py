"""A program that we started: its output in a log file, its end in our hands."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from services.waiting import PATIENCE, ServiceError, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["ChildProcess", "processes_in"]

TAIL_LINES = 30


class ChildProcess:
    """
    A program with a session of its own, so that whatever it starts can be found and ended with it.

    It can be started again after it was stopped or killed; the log file goes on.

    :param name: as messages call it.
    :param command: program and arguments.
    :param log: file that receives stdout and stderr. Its folder must exist, and is the working directory.
    :param environment: the whole environment of the program.
    :param stop_signal: asks it to end in good order. It goes to the program alone, not to what that has started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment)
        self.stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, and session id of everything that the program starts."""
        if self._process is None:
            raise ServiceError(f"{self.name} is not running.")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.log.parent,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """:raises ServiceError: when the program has ended, with the end of its log."""
        if self._process is not None and self._process.poll() is not None:
            raise ServiceError(
                f"{self.name} ended by itself with exit status {self._process.returncode}.\n{self.log_tail()}"
            )

    def start_until(self, is_ready: Callable[[], bool], *, within: float = PATIENCE) -> None:
        """Start the program and wait until a check passes; stop it where that fails."""
        self.start()
        try:
            self._wait_until(is_ready, within=within)
        except BaseException:
            self.stop()
            raise

    def _wait_until(self, is_ready: Callable[[], bool], *, within: float) -> None:
        """Wait while the program lives: a port that answers may be another program's."""

        def ready() -> bool:
            self.require_alive()
            return is_ready()

        wait_until(ready, what=f"{self.name} to be ready", within=within, explain=self.log_tail)

    def log_tail(self) -> str:
        """Return where the log is, and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if self.log.exists() else []
        return "\n".join([f"Log: {self.log}", *lines])

    def members(self) -> list[psutil.Process]:
        """Return the living processes of the program's session, itself included."""
        return [process for process in psutil.process_iter() if _is_member(process, self.pid)]

    def stop(self, *, within: float = 20) -> None:
        """Ask the program to end, and end by force what is left of its session after some seconds."""
        if self.alive:
            self._process.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within)
        self.kill()

    def kill(self) -> None:
        """End the whole session at once, as the loss of its machine would."""
        if self._process is None:
            return
        while members := self.members():
            for process in members:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.poll()
            psutil.wait_procs(members, timeout=1)
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _is_member(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.Error):
        return False


def processes_in(directory: Path) -> list[str]:
    """Return the command lines of the processes that have a folder as their working directory, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(directory):
                found.append(" ".join(process.cmdline()))
    return found
