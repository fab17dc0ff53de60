"""
The two ways to append an object to the log so that of two workers that append at the same time at most one counts.

======================  ========================  ====================================================================
Store                   Name of the object        Why at most one counts
======================  ========================  ====================================================================
honours conditional     ``00000007.jsonl.gz``     The store creates it once. The other worker has to read what the
writes                                            first one wrote before it tries the next number.
ignores or refuses      ``00000007-{random}...``  An object counts if a listing after it was written shows nothing that
conditions                                        its writer has not read. Of two workers, at least one sees the other.
======================  ========================  ====================================================================

Which one it is, is found out with an object that exists already, before the first append of each session.
"""

from __future__ import annotations

import random
import uuid
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["LOG", "AppendUncertainError", "NamedAppends", "NumberedAppends", "appends_of"]

LOG: Final = "log/"
_PROBE: Final = "probe"
_REQUESTS: Final = 3
_QUEUE: Final = "queue/"
#: Seconds after which a ticket counts as abandoned, and after which a worker that waits renews its own.
_LEASE: Final = 60.0
_RENEWAL: Final = 15.0
#: Seconds between two listings for each worker in front, drawn from this range, and the most workers that count.
_PAUSE: Final = (0.05, 0.3)
_FAR_BEHIND: Final = 10
#: Seconds that a worker waits for its turn.
_PATIENCE: Final = 600.0


class AppendUncertainError(Exception):
    """An append does not count, but others may have read it: its intents must be taken back."""


def appends_of(store: LedgerStore, writer: str, sleep: Callable[[float], None]) -> NumberedAppends | NamedAppends:
    """
    Return the way to append that a store allows.

    :raises RecordUnavailableError: when the store does not say.
    """
    try:
        # At most the first request may write it.
        written = [store.put(_PROBE, b"exists\n", only_if_new=True) for _ in range(2)]
    except NotImplementedError:
        written = [True]
    return NamedAppends(store, writer, sleep) if written[-1] else NumberedAppends(store)


@dataclass(frozen=True)
class NumberedAppends:
    """Appends to a store that honours conditional writes."""

    store: LedgerStore

    def turn(self) -> AbstractContextManager[bool]:
        """Return at once: workers need not wait for each other."""
        return nullcontext(enter_result=False)

    def append(self, number: int, body: bytes, *, known: set[str], has_unread: Callable[[], bool]) -> bool:  # noqa: ARG002
        """
        Create the object of a number, and return whether this session has.

        A response may be lost, and a repeated request meets its own object: the object is read and compared.

        :param known: names of all objects that this session has read or written; the name is added.
        :raises RecordUnavailableError: when it is not certain whether it is written.
        """
        name = f"{LOG}{number:08}.jsonl.gz"
        for request in range(_REQUESTS):
            try:
                is_own = self.store.put(name, body, only_if_new=True)
            except RecordUnavailableError:
                if request == _REQUESTS - 1:
                    raise
                is_own = False
            with suppress(FileNotFoundError):  # The request did not arrive, or met another one that failed.
                if is_own or self.store.get(name).body == body:
                    known.add(name)
                    self.store.keep(name, body)  # The table is made of it when the task ends.
                    return True
                return False
        raise RecordUnavailableError(
            f"The ledger could not be written: {self.store.address}{name} could neither be created nor read. Nothing "
            "was submitted after that; a retry continues from the ledger."
        )


@dataclass(frozen=True)
class NamedAppends:
    """
    Appends to a store without conditional writes.

    Each worker puts a ticket into ``queue/``, whose name begins with the time, and waits until no ticket comes before
    it. Tickets only make it rare that two workers append at the same time; two that do cause no harm.

    :param owner: the task instance. Its later tries do not wait for tickets of the earlier ones.
    """

    store: LedgerStore
    owner: str
    sleep: Callable[[float], None]

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """
        Wait for the turn, for the length of a ``with`` statement; others have appended meanwhile.

        :raises RecordUnavailableError: when the turn does not come, or the store fails. Nothing may be submitted.
        """
        ticket = f"{_QUEUE}{round(self.store.now() * 1000):014}-{self.owner}-{uuid.uuid4().hex[:12]}"
        self.store.put(ticket, b"\n")
        try:
            self._wait(ticket)
            yield True
        finally:
            # Others remove an abandoned ticket after a minute.
            with suppress(RecordUnavailableError):
                self.store.delete([ticket])

    def append(self, number: int, body: bytes, *, known: set[str], has_unread: Callable[[], bool]) -> bool:
        """
        Write an object, and return ``True`` if it counts.

        :param known: names of all objects that this session has read or written; the name is added.
        :param has_unread: lists the log, and returns whether it has an object that is not known.
        :raises AppendUncertainError: when it does not count, although others may have read it.
        :raises RecordUnavailableError: when it is not certain whether it is written.
        """
        name = f"{LOG}{number:08}-{uuid.uuid4().hex[:12]}.jsonl.gz"
        known.add(name)
        self.store.put(name, body)
        if has_unread():
            known.remove(name)
            self.store.delete([name])
            raise AppendUncertainError
        self.store.keep(name, body)
        return True

    def _wait(self, ticket: str) -> None:
        since = renewed_at = self.store.now()
        while self.store.now() - since < _PATIENCE:
            tickets = self.store.list(_QUEUE)
            now = self.store.now()
            if ticket not in {found.name for found in tickets} or now - renewed_at >= _RENEWAL:
                self.store.put(ticket, b"\n")
                renewed_at = now
                continue
            before = [found for found in tickets if found.name < ticket]
            dead = [found.name for found in before if f"-{self.owner}-" in found.name or now - found.modified > _LEASE]
            self.store.delete(dead)
            if len(dead) == len(before):
                return
            # Not a secret: it only keeps the workers out of step.
            self.sleep(min(len(before) - len(dead), _FAR_BEHIND) * random.uniform(*_PAUSE))  # noqa: S311
        raise RecordUnavailableError(
            f"The ledger {self.store.address} could not be written: for {_PATIENCE / 60:.0f} minutes other workers "
            "had their turn. Nothing was submitted; a retry continues from the ledger."
        )
