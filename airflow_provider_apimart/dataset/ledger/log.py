"""
The numbered log of a ledger: one order of all entries of all workers.

An object of the log, such as ``log/00000001.jsonl.gz``, is written once and never changed. Of two workers that append
after the same object at most one counts; the other has to read what the first one wrote before it tries again. That
alone keeps two workers from buying the same picture, so each way in which it could fail is closed:

- A response is lost, or a request was repeated and met its own object: the object is read and compared.
- The store ignores conditional writes, or refuses them: objects have random names and are verified by listing them, see
  :mod:`.appends`.
- Old objects are deleted when they are merged, so that a worker that was stopped for hours finds an old number free
  again: they are kept for an hour, and an append counts only if the end of the log was verified less than ten minutes
  before its response, or no checkpoint has reached its number.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.appends import (
    LOG,
    AppendUncertainError,
    NamedAppends,
    NumberedAppends,
    appends_of,
)
from airflow_provider_apimart.dataset.ledger.entry import Entry, read_entry
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = [
    "CHECKPOINTS",
    "LOG",
    "AppendUncertainError",
    "LedgerLog",
    "LogGapError",
    "LogObject",
    "SessionId",
    "has_random_name",
    "log_number",
    "parse_entry",
    "read_log_object",
    "unreadable",
]

CHECKPOINTS: Final = "checkpoints/"
#: Seconds after which the end of the log must be verified again.
_FRESH: Final = 10 * 60.0
_VERSION: Final = 2
_AT_ONCE: Final = 16

#: Try number, and the time at which it began: of two sessions of a task instance the greater one is the later.
SessionId = tuple[int, str]


class LogGapError(Exception):
    """Objects of the log that this worker has not read are merged and deleted: read the newest checkpoint."""


class LogObject(NamedTuple):
    """
    An object of the log.

    :param name: within the ledger.
    :param writer: task instance that wrote it, in this session.
    :param lines: its entries, without the ends of the lines.
    """

    name: str
    writer: str
    session: SessionId
    lines: Iterable[bytes]


@dataclass
class LedgerLog:
    """
    One session's access to the log. Not thread-safe.

    :param writer: the task instance.
    :param try_number: its try.
    :param sleep: waits for a number of seconds.
    :param position: the last number that was read or appended.
    :param settled: the last number through which nothing that counts can appear any more. In a log with random names
        that is the last one that this session has appended: every later append has to read it first.
    """

    store: LedgerStore
    writer: str
    try_number: int
    sleep: Callable[[float], None] = time.sleep
    position: int = field(default=0, init=False)
    settled: int = field(default=0, init=False)
    session: SessionId | None = field(default=None, init=False)
    _latest: str = field(default="", init=False)
    _verified_at: float = field(default=-math.inf, init=False)
    #: Names of the objects that were read or written since :meth:`begin`, and the number at which that began.
    _known: set[str] = field(default_factory=set, init=False)
    _first: int = field(default=0, init=False)
    _appends: NumberedAppends | NamedAppends | None = field(default=None, init=False)

    def begin(self, position: int, *, verified_at: float) -> None:
        """
        Continue behind a number.

        :param verified_at: Unix seconds by the store's clock at which no later number was merged.
        """
        self.position = self.settled = self._first = position
        self._verified_at = verified_at
        self._known.clear()

    def start_session(self) -> None:
        """Begin the session, unless that was done, after everything that was appended before was read."""
        if self.session is None:
            moment = f"{self.store.now():015.3f}"
            # The store's clock is known to a second only, and sessions of one try may follow each other quickly.
            if self._latest >= moment:
                moment = f"{float(self._latest.partition('-')[0]) + 0.001:015.3f}"
            self.session = (self.try_number, f"{moment}-{uuid.uuid4().hex[:12]}")

    def is_superseded_by(self, session: SessionId) -> bool:
        """
        Return whether a session of the same writer is a later one.

        :param session: from the log. One that was read before this session began is later only if its try is.
        """
        if self.session is not None:
            return session > self.session
        if session[0] == self.try_number:
            self._latest = max(self._latest, session[1])
        return session[0] > self.try_number

    def read_new(self) -> list[LogObject]:
        """
        Return the objects that others have appended.

        :raises LogGapError: when some of them are deleted already.
        :raises RecordUnavailableError: when one cannot be read, which does not prove that nothing was bought.
        """
        names, verified_at = self._unread(), self.store.now()
        if len(names) > 1:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                read = list(pool.map(self._read_object, names))
        else:
            read = [self._read_object(name) for name in names]
        # Numbers are missing where an object was taken back, and where objects were merged and deleted.
        has_gap = None in read or bool(names and log_number(names[0]) > self.position + 1)
        if (has_gap or verified_at - self._verified_at > _FRESH) and self._is_merged(self.position + 1):
            raise LogGapError
        self._known.update(names)
        self.position = max([self.position, *map(log_number, names)])
        if not any(map(has_random_name, self._known)):
            self.settled = self.position
        self._verified_at = verified_at
        return [found for found in read if found is not None]

    def turn(self) -> AbstractContextManager[bool]:
        """
        Wait for the turn to append, for the length of a ``with`` statement, and return whether to read before that.

        :raises RecordUnavailableError: when the turn does not come, or the store fails. Nothing may be submitted.
        """
        return self._appender().turn()

    def append(self, lines: Iterable[bytes]) -> bool:
        """
        Append lines within a :meth:`turn`, and return whether they count.

        :return: ``False`` when another worker has appended since the last :meth:`read_new`. Nothing was written.
        :raises AppendUncertainError: when they do not count, although others may have read them.
        :raises LogGapError: when they do not count because this worker is so far behind that it has to read a
            checkpoint; others may have read them.
        :raises RecordUnavailableError: when it is not certain that they are written; others may have read them.
        """
        number = self.position + 1
        body = self._body(number, lines)
        if not self._appender().append(number, body, known=self._known, has_unread=lambda: bool(self._unread())):
            return False
        if self.store.now() - self._verified_at > _FRESH and self._is_merged(number):
            raise LogGapError
        self.position = self.settled = number
        self._verified_at = self.store.now()
        return True

    def _appender(self) -> NumberedAppends | NamedAppends:
        self._appends = self._appends or appends_of(self.store, self.writer, self.sleep)
        return self._appends

    def _unread(self) -> list[str]:
        """Return the names of the objects that are not known, in the order of their numbers."""
        # An object with a random name may appear after others with later numbers.
        first = self.position if isinstance(self._appends, NumberedAppends) else self._first
        listed = self.store.list(LOG, after=f"{LOG}{first:08}.jsonl.gz")
        unread = [found.name for found in listed if found.name not in self._known]
        numbers = range(self.position + 1, self.position + 1 + len(unread))
        if not any(map(has_random_name, unread)) and [log_number(name) for name in unread] != list(numbers):
            raise LogGapError
        return unread

    def _read_object(self, name: str) -> LogObject | None:
        """Read an object; ``None`` for one that its writer has taken back."""
        try:
            return read_log_object(self.store, name)
        except FileNotFoundError:
            if has_random_name(name):
                return None
            raise LogGapError from None

    def _is_merged(self, number: int) -> bool:
        """Return whether a checkpoint has reached a number, so that its object may be deleted."""
        return any(log_number(found.name) >= number for found in self.store.list(CHECKPOINTS))

    def _body(self, number: int, lines: Iterable[bytes]) -> bytes:
        try_number, session = self.session or (self.try_number, "")
        header = {"log": number, "writer": self.writer, "try_number": try_number, "session": session}
        body = io.BytesIO()
        with gzip.GzipFile(fileobj=body, mode="wb", mtime=0) as file:
            file.write(json.dumps({**header, "schema_version": _VERSION}).encode() + b"\n")
            for line in lines:
                file.write(line + b"\n")
        return body.getvalue()


def log_number(name: str) -> int:
    """Return the number of an object of the log, or of a checkpoint."""
    return int(name.partition("/")[2][:8])


def has_random_name(name: str) -> bool:
    """Return whether the name of an object of the log has a random part, see :class:`~.appends.NamedAppends`."""
    return "-" in name


def read_log_object(store: LedgerStore, name: str) -> LogObject:
    """
    Read an object of the log.

    :raises FileNotFoundError: when the object does not exist.
    :raises RecordUnavailableError: when it cannot be read.
    """
    # A session reads its own objects again when it updates the table.
    file = gzip.GzipFile(fileobj=io.BytesIO(store.kept(name) or store.get(name).body))
    try:
        header: Any = json.loads(file.readline())
        session = (int(header["try_number"]), str(header["session"]))
        return LogObject(name, str(header["writer"]), session, _lines(store, name, file))
    except (EOFError, OSError, KeyError, TypeError, ValueError) as error:
        raise unreadable(store, name, error) from error


def parse_entry(store: LedgerStore, name: str, number: int, line: bytes) -> Entry:
    """
    Return the entry of a line.

    :param name: of the object that holds the line, counted from 1.
    :raises RecordUnavailableError: naming object and line, where it cannot be read. It is never passed over: a row that
        is forgotten would be bought twice.
    """
    try:
        return read_entry(line)
    except ValueError as error:
        raise unreadable(store, f"{name}, line {number}", error) from error


def _lines(store: LedgerStore, name: str, file: gzip.GzipFile) -> Iterator[bytes]:
    try:
        yield from (line.rstrip(b"\n") for line in file)
    except (EOFError, OSError) as error:
        raise unreadable(store, name, error) from error


def unreadable(store: LedgerStore, name: str, error: Exception) -> RecordUnavailableError:
    """Return the error of an object of the ledger that exists and cannot be understood."""
    return RecordUnavailableError(
        f"The ledger could not be read: {store.address}{name} is {error}. Nothing was submitted. Restore the object, "
        "or update this provider if a later release wrote it.",
        retryable=False,
    )
