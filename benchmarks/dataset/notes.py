"""
What the operators under observation note, and what is read from it.

The run's ``conf`` says where: ``notes`` is the path of a file, and ``profiles``, if there is one, that of a folder.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from benchmarks.copying.profiling import profiled
from benchmarks.dataset.observed import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from benchmarks.dataset.intervals import Interval

__all__ = ["Notes", "copying_noted", "session_noted"]

_PROCESS: Final = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Notes:
    """
    What all processes of a DAG run have noted.

    :param copying: when pictures were copied, in each session for itself.
    """

    sessions: list[Session]
    copying: list[Interval]

    @classmethod
    def read(cls, path: Path) -> Notes:
        """Read the file that the run's ``conf`` named."""
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return cls(
            [Session(**line["session"]) for line in lines if "session" in line],
            [tuple(line["copying"]) for line in lines if "copying" in line],
        )


@contextmanager
def session_noted(context: Mapping[str, Any], *, resumed: bool = False) -> Iterator[None]:
    """Note a stay on a worker, whatever ends it."""
    rss_before, process = _memory("VmRSS"), psutil.Process()
    try:
        with _profiled(context, process.pid):
            yield
    finally:
        session = Session(process.create_time(), time.time(), resumed, rss_before, _memory("VmHWM"))
        _note(context, {"session": asdict(session)})


@contextmanager
def copying_noted(context: Mapping[str, Any]) -> Iterator[None]:
    """Note that pictures are copied meanwhile."""
    begin = time.time()
    try:
        yield
    finally:
        _note(context, {"copying": (begin, time.time())})


def _profiled(context: Mapping[str, Any], pid: int) -> AbstractContextManager[None]:
    folder = context["dag_run"].conf.get("profiles")
    return profiled(Path(folder, f"{pid}.prof")) if folder else nullcontext()


def _note(context: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    # A short write at the end of the file is whole: lines of several processes do not mix.
    with Path(context["dag_run"].conf["notes"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def _memory(name: str) -> float:
    """Return what Linux says of this process's memory, in MiB."""
    lines = (line.split() for line in _PROCESS.read_text(encoding="ascii").splitlines())
    return next(int(words[1]) / 1024 for words in lines if words[0] == f"{name}:")
