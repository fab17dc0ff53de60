"""
One worker's access to a ledger: the index of all entries, and the entries of this worker on their way into the log.

An outcome is applied to the index at once, and appended to the log with the next claim or a second later. A claim
appends the *intents*, which are the entries of calls that are about to be bought. It counts only if no other worker has
appended anything that this worker had not read when it decided; otherwise it reads, and decides again.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from threading import RLock, Timer
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, Failure
from airflow_provider_apimart.dataset.ledger.index import Index
from airflow_provider_apimart.dataset.ledger.legacy import import_ledger
from airflow_provider_apimart.dataset.ledger.log import (
    AppendUncertainError,
    LedgerLog,
    LogGapError,
    LogObject,
    parse_entry,
)
from airflow_provider_apimart.dataset.ledger.snapshots import (
    delete_merged,
    load_checkpoint,
    save_checkpoint,
    update_table,
)
from airflow_provider_apimart.exceptions import RecordUnavailableError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["Ledger"]

#: Seconds for which the outcome of a submit is held back so that many outcomes share an object, and the most that are
#: held back. A picture that was copied is found again in S3, so its entry can wait longer for the next claim.
_HELD: Final = 1.0
_HELD_WHEN_COPIED: Final = 10.0
_MOST_HELD: Final = 500
#: Objects that a session has appended from which on it may be worth to update the table when it leaves.
_LONG_SESSION: Final = 48
_ATTEMPTS: Final = 50
_LOADS: Final = 5
#: Seconds, drawn at random, after another worker was first.
_PAUSE: Final = 0.2
_NOT_SUBMITTED: Final = Failure(None, "The ledger could not be written. Nothing was submitted.", retryable=True)


@dataclass
class Ledger:
    """
    One session's access to a ledger. Open it with :meth:`open`; :meth:`record` may be called from any thread.

    :param warn: logs a warning, with arguments like ``logging.Logger.warning``.
    :param held: seconds for which an outcome may be held back; 0 appends each at once, infinity with the next claim.
    :param index: the state of all calls.
    """

    store: LedgerStore
    writer: str
    try_number: int
    warn: Callable[..., None]
    held: float = _HELD
    sleep: Callable[[float], None] = time.sleep
    index: Index = field(default_factory=Index, init=False)
    _log: LedgerLog = field(init=False)
    _checkpoint: int = field(default=0, init=False)
    _first_position: int = field(default=0, init=False)
    _pending: list[Entry] = field(default_factory=list, init=False)
    _timer: Timer | None = field(default=None, init=False)
    _is_superseded: bool = field(default=False, init=False)
    _is_current: bool = field(default=False, init=False)
    #: ``_lock`` guards index and pending entries, for moments; ``_appending`` is held during requests to the store.
    _lock: RLock = field(default_factory=RLock, init=False)
    _appending: RLock = field(default_factory=RLock, init=False)

    @classmethod
    def open(
        cls,
        store: LedgerStore,
        *,
        writer: str,
        try_number: int,
        warn: Callable[..., None],
        held: float = _HELD,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Ledger:
        """
        Read a ledger, which may be empty or of release 0.1.

        :param writer: the task instance, see :func:`~airflow_provider_apimart.transfers.stored_objects.writer_id`.
        :param try_number: its try. A later try supersedes this session, as does a later session of this try.
        :raises RecordUnavailableError: when it cannot be read, which does not prove that nothing was bought.
        """
        ledger = cls(store, writer, try_number, warn, held, sleep)
        ledger._log = LedgerLog(store, writer, try_number, sleep)
        ledger._load()
        ledger._first_position = ledger._log.settled
        return ledger

    @property
    def unwritten(self) -> tuple[Entry, ...]:
        """The entries that are not in the log yet."""
        with self._lock:
            return tuple(self._pending)

    @property
    def holds_submits(self) -> bool:
        """Whether the outcome of a submit is not in the log yet; that of a copy can be found out again in S3."""
        with self._lock:
            return any(entry.status is not EntryStatus.COPIED for entry in self._pending)

    def refresh(self) -> None:
        """
        Read the entries that others have appended.

        :raises RecordUnavailableError: when it cannot be read.
        """
        with self._appending:
            self._read_new()

    def record(self, *entries: Entry) -> None:
        """
        Record outcomes: in the index at once, in the log with the next claim or a second later.

        :raises RecordUnavailableError: when many are held back and could not be written. They are still held back.
        """
        with self._lock:
            for entry in entries:
                self.index.apply(entry)
            self._pending += entries
            is_due = not self.held or len(self._pending) >= _MOST_HELD
            if self._pending and not is_due and math.isfinite(self.held):
                is_copied = all(entry.status is EntryStatus.COPIED for entry in self._pending)
                self._flush_within(max(self.held, _HELD_WHEN_COPIED) if is_copied else self.held)
        if is_due:
            self.flush()

    def claim(self, decide: Callable[[Index], list[Entry]]) -> list[Entry]:
        """
        Append intents, together with all outcomes that are held back, and return the calls that may be submitted.

        :param decide: returns the ``intended`` entries of the calls to buy, or an empty list. It is called again when
            another worker has appended anything meanwhile; only its last return value counts.
        :raises SupersededError: when a later session of this task instance has appended. Nothing may be submitted.
        :raises RecordUnavailableError: when it is not certain that the intents are written. Nothing may be submitted;
            that is recorded with the next append.
        """
        claimed = self._append(decide)
        if self._is_superseded and not claimed:
            raise SupersededError(
                "A later try of this task instance has taken over its dataset. This try has submitted nothing since. "
                "The later try collects the pictures that this one has bought."
            )
        return claimed

    def flush(self) -> None:
        """
        Append the outcomes that are held back.

        :raises RecordUnavailableError: when it is not certain that they are written.
        """
        if self._pending:
            self._append(None)

    def close(self, *, is_finished: bool) -> None:
        """
        Append the outcomes that are held back, and write a checkpoint if the log behind the last one is long.

        The table is updated if the task is done, or if this session has appended at least as many objects as there were
        before: it still has their contents, which the next session would have to read.

        :param is_finished: whether the task is done. Then objects of the log that were merged an hour ago are deleted.
        :raises RecordUnavailableError: when it is not certain that all outcomes are written; see :attr:`unwritten`.
        """
        self.flush()
        with self._appending:
            try:
                # The next session reads the checkpoint in place of the log behind it.
                if self._tail > (0 if is_finished else len(self.index) // 3000 + 3):
                    self._write_checkpoint()
                is_long = self._log.settled - self._first_position >= max(_LONG_SESSION, self._first_position)
                if is_finished or is_long:
                    update_table(self.store, self._log.settled)
                if is_finished:
                    delete_merged(self.store)
            except (RecordUnavailableError, OSError, sqlite3.Error) as error:  # The disk may be full.
                self.warn("Could not merge old objects of the ledger; every purchase is recorded: %s", error)

    @property
    def _tail(self) -> int:
        return self._log.settled - self._checkpoint

    @property
    def _longest_tail(self) -> int:
        """The number of objects of the log behind a checkpoint at which a session writes the next one."""
        return max(64, len(self.index) // 1200)

    def _append(self, decide: Callable[[Index], list[Entry]] | None) -> list[Entry]:
        """Append the outcomes that are held back and the intents that are decided, and return the intents."""
        with self._appending:
            intents = self._append_in_turn(decide)
            if self._tail > self._longest_tail:
                with suppress(RecordUnavailableError):
                    self._write_checkpoint()
        return intents

    def _append_in_turn(self, decide: Callable[[Index], list[Entry]] | None) -> list[Entry]:
        exposed: list[Entry] = []  # Intents that may be read by others although they do not count.
        with ExitStack() as stack:
            stack.callback(self._take_back, exposed)
            must_read, has_turn = not self._is_current, False
            for attempt in range(_ATTEMPTS):
                if must_read:
                    self._read_new()
                outcomes, intents = self._decided(decide)
                if not outcomes and not intents:
                    return []
                if not has_turn:
                    has_turn, must_read = True, stack.enter_context(self._log.turn())
                    if must_read:
                        continue
                exposed += intents
                with suppress(AppendUncertainError, LogGapError):
                    if self._log.append(entry.to_line() for entry in (*outcomes, *intents)):
                        # An attempt that did not count may have written the same submissions at another time.
                        counted = {(entry.idempotency_key, entry.refusals) for entry in intents}
                        exposed[:] = [each for each in exposed if (each.idempotency_key, each.refusals) not in counted]
                        self._count(len(outcomes), intents)
                        return intents
                    del exposed[len(exposed) - len(intents) :]  # Nothing was written.
                must_read = True
                # Not a secret: it only keeps the workers out of step.
                self.sleep(random.uniform(0, _PAUSE * min(attempt, 10) / 10))  # noqa: S311
        raise RecordUnavailableError(
            f"The ledger {self.store.address} could not be written: other workers appended first, {_ATTEMPTS} "
            "times. Nothing was submitted; a retry continues from the ledger."
        )

    def _decided(self, decide: Callable[[Index], list[Entry]] | None) -> tuple[list[Entry], list[Entry]]:
        """Return the outcomes and the intents to append now; neither where a claim finds nothing to buy."""
        with self._lock:
            if decide is None or self._is_superseded:
                return list(self._pending), []
            intents = decide(self.index)
            return (list(self._pending) if intents else []), intents

    def _count(self, outcomes: int, intents: Sequence[Entry]) -> None:
        """Release the outcomes that are in the log now, and apply the intents."""
        with self._lock:
            del self._pending[:outcomes]
            if not self._pending and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for entry in intents:
                self.index.apply(entry)

    def _take_back(self, exposed: Sequence[Entry]) -> None:
        """Refuse intents that do not count and that others may have read; the next append records it."""
        free = {"status": EntryStatus.REFUSED, "charged": "no", "cost": 0.0, "reserved": None}
        changes: dict[str, Any] = {**free, "error": _NOT_SUBMITTED, "updated_at": self.store.now()}
        with self._lock:
            for entry in exposed:
                refused = replace(entry, **changes)
                self.index.apply(refused)
                self._pending.append(refused)

    def _flush_within(self, seconds: float) -> None:
        """Flush in another thread: a thread that waits for HTTP never reaches this code."""
        if self._timer is not None and self._timer.interval > seconds:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = Timer(seconds, self._flush_late)
            self._timer.daemon = True
            self._timer.start()

    def _read_new(self) -> None:
        if not self._is_current:
            self._load()
            return
        try:
            self._apply(self._log.read_new())
        except LogGapError:
            self._load()

    def _apply(self, read: Sequence[LogObject]) -> None:
        # If an object cannot be read to its end, everything is read again.
        self._is_current = False
        for found in read:
            if found.writer == self.writer:
                self._is_superseded |= self._log.is_superseded_by(found.session)
            for number, line in enumerate(found.lines, 2):
                entry = parse_entry(self.store, found.name, number, line)
                with self._lock:
                    self.index.apply(entry)
        self._is_current = True

    def _load(self) -> None:
        """Read the newest checkpoint and the log behind it."""
        self._is_current = False
        for _ in range(_LOADS):
            loaded = load_checkpoint(self.store)
            self._log.begin(loaded.number, verified_at=loaded.verified_at)
            with self._lock:
                self.index, self._checkpoint = loaded.index, loaded.number
            try:
                read = self._log.read_new()
                if not read and loaded.is_empty and import_ledger(self.store, self._log):
                    continue
                self._apply(read)
            except LogGapError:
                continue
            with self._lock:
                for entry in self._pending:
                    self.index.apply(entry)
            self._log.start_session()
            return
        raise RecordUnavailableError(
            f"The ledger could not be read: objects of {self.store.address}log/ are missing. Nothing was submitted. "
            "Restore them; no checkpoint replaces them."
        )

    def _write_checkpoint(self) -> None:
        with self._lock:
            if self._pending:
                return  # A checkpoint must not know more than the log. The next append tries again.
            content = self.index.to_bytes()
        save_checkpoint(self.store, self._log.settled, content)
        self._checkpoint = self._log.settled

    def _flush_late(self) -> None:
        with self._lock:
            self._timer = None
        # The next claim, or the end of the session, tries again and reports it.
        with suppress(RecordUnavailableError):
            self.flush()
