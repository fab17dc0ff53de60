"""
The numbered log of a ledger: one order of all entries of all writers.

``log/00000001.jsonl.gz`` is created with ``If-None-Match: *``, and never changed: of two writers who append after the
same object one wins, and the other has to read what the winner wrote before it tries the next number. That is all that
keeps two workers from buying the same picture, so each way in which it could fail is closed:

- A response is lost, or a request was repeated and met its own object: the object is read and compared.
- The store ignores conditions, or refuses them: found out with an object that exists already, before the first append
  of each session. Each object then has a name of its own, ``log/00000001-{random}.jsonl.gz``, and counts if a listing
  after it was written shows nothing that its writer has not read. Of two that are written at once, at least one writer
  sees the other's object. Tickets (:mod:`.tickets`) make that rare.
- Old objects are deleted when they are merged, so that a writer who was stopped for hours finds an old number free
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.dataset.ledger.entry import Entry, read_entry
from airflow_provider_apimart.dataset.ledger.tickets import turn_of
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_apimart.dataset.ledger.store import LedgerObject, LedgerStore

__all__ = [
    "CHECKPOINTS",
    "LOG",
    "AppendUncertainError",
    "LedgerLog",
    "LogGapError",
    "LogObject",
    "SessionId",
    "has_own_name",
    "log_number",
    "parse_entry",
    "read_log_object",
    "unreadable",
]

LOG: Final = "log/"
CHECKPOINTS: Final = "checkpoints/"
#: Seconds after which the end of the log must be verified again.
_FRESH: Final = 10 * 60.0
_PROBE: Final = "probe"
_VERSION: Final = 2
_AT_ONCE: Final = 16
_REQUESTS: Final = 3

#: Try number, and the time of its beginning: of two sessions of a task instance the greater one is the later.
SessionId = tuple[int, str]


class LogGapError(Exception):
    """Objects of the log that this worker has not read are merged and deleted: read the newest checkpoint."""


class AppendUncertainError(Exception):
    """An append does not count, but others may have read it: what was intended in it must be taken back."""


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
    :param settled: the last number through which nothing that counts can appear any more. Where names are unique, that
        is the last one that this session has appended: whoever appends later has to read it.
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
    _read: set[str] = field(default_factory=set, init=False)
    _floor: int = field(default=0, init=False)
    _honours_conditions: bool | None = field(default=None, init=False)

    def begin(self, position: int, *, verified_at: float) -> None:
        """
        Continue behind a number.

        :param verified_at: Unix seconds by the store's clock at which no later number was merged.
        """
        self.position = self.settled = self._floor = position
        self._verified_at = verified_at
        self._read.clear()

    def start_session(self) -> None:
        """Begin the session, unless that was done, after what was appended before it was read."""
        if self.session is None:
            moment = f"{self.store.now():015.3f}"
            # The store's clock is known to a second only, and sessions of one try may follow each other quickly.
            if self._latest >= moment:
                moment = f"{float(self._latest.partition('-')[0]) + 0.001:015.3f}"
            self.session = (self.try_number, f"{moment}-{uuid.uuid4().hex[:12]}")

    def meets(self, session: SessionId) -> bool:
        """
        Return whether a session of the same writer, met in the log, is a later one.

        :param session: one that was met before this session began is later if its try is.
        """
        if self.session is not None:
            return session > self.session
        if session[0] == self.try_number:
            self._latest = max(self._latest, session[1])
        return session[0] > self.try_number

    def read_new(self) -> list[LogObject]:
        """
        Return what others appended.

        :raises LogGapError: when some of it is deleted already.
        :raises RecordUnavailableError: when it cannot be read, which does not prove that nothing was bought.
        """
        unread = self._unread()
        verified_at = self.store.now()
        names = [found.name for found in unread]
        if len(names) > 1:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                read = list(pool.map(self._read_object, names))
        else:
            read = [self._read_object(name) for name in names]
        # Numbers are missing where an object was taken back, and where objects were merged and deleted.
        has_gap = None in read or bool(unread and log_number(names[0]) > self.position + 1)
        is_stale = verified_at - self._verified_at > _FRESH
        if (has_gap or is_stale) and self._newest_checkpoint() > self.position:
            raise LogGapError
        self._read.update(names)
        self.position = max([self.position, *map(log_number, names)])
        if not any(map(has_own_name, self._read)):
            self.settled = self.position
        self._verified_at = verified_at
        return [each for each in read if each is not None]

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """
        Wait for the turn to append, for the length of a ``with`` statement, and return whether to read before that.

        :raises RecordUnavailableError: when the turn does not come, or the store fails. Nothing may be submitted.
        """
        if self.honours_conditions():
            yield False
            return
        with turn_of(self.store, self.writer, self.sleep):
            yield True

    def append(self, lines: Iterable[bytes]) -> bool:
        """
        Append lines within a :meth:`turn`, and return whether they count.

        :return: ``False`` when somebody else has appended since the last :meth:`read_new`. Nothing was written.
        :raises AppendUncertainError: when they do not count, although somebody may have read them.
        :raises LogGapError: when they do not count because this worker is so far behind that it has to read a
            checkpoint; somebody may have read them.
        :raises RecordUnavailableError: when it is not certain that they are written; they may be, and may be read.
        """
        number = self.position + 1
        body = self._body(number, lines)
        if self.honours_conditions():
            name = f"{LOG}{number:08}.jsonl.gz"
            if not self._create(name, body):
                return False
            self._read.add(name)
        else:
            name = f"{LOG}{number:08}-{uuid.uuid4().hex[:12]}.jsonl.gz"
            self._read.add(name)
            self.store.put(name, body)
            if self._unread():
                self._read.remove(name)
                self.store.delete([name])
                raise AppendUncertainError
        if self.store.now() - self._verified_at > _FRESH and self._newest_checkpoint() >= number:
            raise LogGapError
        self.position = self.settled = number
        self._verified_at = self.store.now()
        # The table is made of it when the task ends.
        self.store.keep(name, body)
        return True

    def honours_conditions(self) -> bool:
        """
        Return whether the store honours conditional writes.

        :raises RecordUnavailableError: when it does not say.
        """
        if self._honours_conditions is None:
            try:
                # At most the first one may write it.
                written = [self.store.put(_PROBE, b"exists\n", only_if_new=True) for _ in range(2)]
                self._honours_conditions = not written[-1]
            except NotImplementedError:
                self._honours_conditions = False
        return self._honours_conditions

    def _unread(self) -> list[LedgerObject]:
        listed = self.store.list(LOG, after=f"{LOG}{self._first():08}.jsonl.gz")
        unread = [found for found in listed if found.name not in self._read]
        if unread and not has_own_name(unread[0].name) and log_number(unread[0].name) > self.position + 1:
            raise LogGapError
        return unread

    def _first(self) -> int:
        """Return the number behind which objects may be new: a unique name may come late."""
        return self.position if self._honours_conditions else self._floor

    def _read_object(self, name: str) -> LogObject | None:
        try:
            return read_log_object(self.store, name)
        except FileNotFoundError:
            if has_own_name(name):
                return None
            raise LogGapError from None

    def _body(self, number: int, lines: Iterable[bytes]) -> bytes:
        try_number, session = self.session or (self.try_number, "")
        header = {"log": number, "writer": self.writer, "try_number": try_number, "session": session}
        body = io.BytesIO()
        with gzip.GzipFile(fileobj=body, mode="wb", mtime=0) as file:
            file.write(json.dumps({**header, "schema_version": _VERSION}).encode() + b"\n")
            for line in lines:
                file.write(line + b"\n")
        return body.getvalue()

    def _create(self, name: str, body: bytes) -> bool:
        """Create an object, and return whether it is this session's."""
        for request in range(_REQUESTS):
            try:
                if self.store.put(name, body, only_if_new=True):
                    return True
            except RecordUnavailableError:
                if request == _REQUESTS - 1:
                    raise
            try:
                return self.store.get(name).body == body
            except FileNotFoundError:
                continue  # The request did not arrive, or met another one that failed.
        raise RecordUnavailableError(
            f"The ledger could not be written: {self.store.address}{name} is neither created nor there. Nothing was "
            "submitted after that; a retry continues from what the ledger says."
        )

    def _newest_checkpoint(self) -> int:
        return max((log_number(found.name) for found in self.store.list(CHECKPOINTS)), default=0)


def log_number(name: str) -> int:
    """Return the number of an object of the log, or of a checkpoint."""
    return int(name.partition("/")[2][:8])


def has_own_name(name: str) -> bool:
    """Return whether an object of the log has a name of its own, because the store ignores conditions."""
    return "-" in name


def read_log_object(store: LedgerStore, name: str) -> LogObject:
    """
    Read an object of the log.

    :raises FileNotFoundError: when there is no such object.
    :raises RecordUnavailableError: when it cannot be read.
    """
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
    """Return the error of an object of the ledger that is there and cannot be understood."""
    return RecordUnavailableError(
        f"The ledger could not be read: {store.address}{name} is {error}. Nothing was submitted. Restore the object, "
        "or update this provider if a later release wrote it.",
        retryable=False,
    )
