"""Contestants and servers in processes of their own, each on a processor core of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

    from benchmarks.measurement import Figures

__all__ = ["SERVER_CORE", "Server", "pinned_to", "run_contestant"]

_CORES = sorted(os.sched_getaffinity(0))
#: Contestants on the first core, servers on the last: on one core they would take the time from each other.
CLIENT_CORE, SERVER_CORE = _CORES[0], _CORES[-1]


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Start processes meanwhile that stay on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def run_contestant(module: str, *arguments: str, environment: Mapping[str, str], timeout: float) -> Figures:
    """
    Run ``python -m module arguments`` alone on its core, and return the figures that it printed as its last line.

    :param environment: added to ours.
    :param timeout: seconds after which it is ended.
    :raises RuntimeError: when it failed, with what it said.
    """
    with pinned_to(CLIENT_CORE):
        finished = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    if finished.returncode:
        output = f"{finished.stdout[-2000:]}{finished.stderr[-4000:]}"
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{output}")
    figures: Figures = json.loads(finished.stdout.splitlines()[-1])
    return figures


class Server:
    """
    ``python -m module arguments`` alone on the other core, while the ``with`` block runs.

    It prints one line of JSON when it is ready, such as its port, and ends at SIGTERM.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        with pinned_to(SERVER_CORE):
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **(environment or {})},
                stdout=subprocess.PIPE,
                text=True,
            )
        self.announced: dict[str, Any] = {}

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended before it was ready")
        self.announced = json.loads(line)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)
