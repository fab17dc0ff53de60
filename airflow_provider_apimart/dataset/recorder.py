"""What happens to purchases, into the ledger: at once into memory, and into S3 a second later at most. I/O."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Timer
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.journal import Journal
    from airflow_provider_apimart.dataset.ledger import Ledger

__all__ = ["Recorder"]

#: Seconds for which an entry is held back, so that many go into one object.
_HELD: Final = 1.0
#: Entries that are held back.
_MOST: Final = 500


@dataclass
class Recorder:
    """
    One worker's pen.

    Leave it through :meth:`flush`: what is still held back then is written by nobody else.

    :param held: seconds for which an entry may be held back; 0 writes each at once.
    """

    journal: Journal
    ledger: Ledger
    held: float = _HELD
    _entries: list[Entry] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _timer: Timer | None = None

    @property
    def unwritten(self) -> tuple[Entry, ...]:
        """What is not in S3."""
        return tuple(self._entries)

    def note(self, entry: Entry) -> None:
        """
        Take note of an entry.

        :raises RecordUnavailableError: when this or earlier ones could not be written. They are held for the next try.
        """
        self.ledger.add([entry])
        with self._lock:
            self._entries.append(entry)
            is_due = not self.held or len(self._entries) >= _MOST
            if not is_due and self._timer is None:
                # Whoever waits for an answer does not come by to write.
                self._timer = Timer(self.held, self._flush_late)
                self._timer.daemon = True
                self._timer.start()
        if is_due:
            self.flush()

    def flush(self) -> None:
        """
        Write what is held back.

        :raises RecordUnavailableError: when it is not certain that it is written.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self.journal.append(self._entries)
            self._entries.clear()

    def _flush_late(self) -> None:
        # Whoever notes the next entry, or leaves, tries again and hears of it.
        with suppress(RecordUnavailableError):
            self.flush()
