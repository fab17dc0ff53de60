"""The time of a campaign: processes and their S3 server agree on it, and it can be moved on."""

from __future__ import annotations

import re
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VARIABLE", "DatasetClock", "install"]

#: Environment variable of a process, with the path of the file that holds how far the time was moved.
VARIABLE = "FAULTS_CLOCK"
_FORMAT = "d"
_LISTED = re.compile(rb"(?<=<LastModified>)[^<]+")
_DATES = frozenset({"date", "last-modified"})


@dataclass
class DatasetClock:
    """
    Unix seconds that pass as usual, and are moved on while no worker works.

    :param path: of a file that processes read.
    """

    path: Path
    seconds: float = 0.0
    _workers: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._write()

    def now(self) -> float:
        return time.time() + self.seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep the time from being moved for the length of a ``with`` statement."""
        with self._changed:
            self._workers += 1
        try:
            yield
        finally:
            with self._changed:
                self._workers -= 1
                self._changed.notify_all()

    def move_to(self, moment: float) -> None:
        """Move the time on, unless it is later already."""
        with self._changed:
            self._changed.wait_for(lambda: not self._workers)
            self.seconds += max(0.0, moment - self.now())
            self._write()

    def date(self, name: str, value: str) -> str:
        """Return a header of a response of S3 as it would be at this time."""
        if name.lower() not in _DATES:
            return value
        return format_datetime(parsedate_to_datetime(value) + timedelta(seconds=self.seconds), usegmt=True)

    def listing(self, content: bytes) -> bytes:
        """Return a listing of S3 as it would be at this time: no object becomes older than it is."""
        return _LISTED.sub(self._listed, content)

    def _listed(self, found: re.Match[bytes]) -> bytes:
        moment = datetime.fromisoformat(found[0].decode()) + timedelta(seconds=self.seconds)
        fraction = ".000" if b"." in found[0] else ""
        return moment.astimezone(UTC).strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z").encode()

    def _write(self) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_bytes(struct.pack(_FORMAT, self.seconds))
        temporary.replace(self.path)


def install(path: str) -> None:
    """Let this process live in the time that a file says."""
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

    real, file = time.time, Path(path)

    def now() -> float:
        return real() + struct.unpack(_FORMAT, file.read_bytes())[0]

    time.time = now
    defaults = LedgerStore.__init__.__defaults__
    LedgerStore.__init__.__defaults__ = tuple(now if default is real else default for default in defaults)
