"""
Whose turn it is to write down what is about to be bought. I/O.

Two workers may want the same rows, or the same money: a try that Airflow has given up for dead and its successor, two
runs over one dataset, the shards of one. Each puts a ticket into ``{prefix}/ledger/queue/``, whose name begins with
the time, and waits until no ticket comes before it. Then it reads what the others have written, writes its intents, and
looks once more: if its ticket is still the first, and nobody has written intents since it read, they count. If not, it
takes them back and begins again.

Of two workers whose intents count, one had looked for the last time before the ticket of the other was there, so that
the other has read its intents; or else it has seen that there are new ones. Neither clocks that differ nor a worker
that stands still for minutes change that. It needs a store that shows what it has accepted, as S3 does; it needs no
conditional writes, which some stores accept and ignore. A ticket that nobody has renewed for a minute is removed by
whoever waits behind it, as is that of an earlier try by the next one.
"""

from __future__ import annotations

import io
import random
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.journal import Journal
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObject

__all__ = ["FOLDER", "Place", "Queue"]

#: Holds the tickets, whose names are in the order of the turns.
FOLDER: Final = "queue/"
#: Seconds after which a ticket is taken to be left behind, and after which its worker renews it while it waits.
_LEASE: Final = 60.0
_RENEWAL: Final = 15.0
#: Seconds between two looks for each worker before, drawn at random from this range; more of them count as so many.
_PAUSE: Final = (0.05, 0.3)
_FAR_BEHIND: Final = 10
#: Seconds that a worker waits for its turn.
_PATIENCE: Final = 600.0


@dataclass
class Queue:
    """
    One worker's access to the queue of a ledger.

    :param owner: stands for the task instance, in letters and digits. A later try of the same one does not wait for an
        earlier one, which is dead, or cannot confirm anything any more.
    :param clock: Unix seconds.
    :param elapsed: monotonic seconds.
    """

    journal: Journal
    owner: str
    clock: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def remove_earlier(self) -> None:
        """
        Remove what an earlier try of the same task instance has left behind, for which others would wait.

        :raises RecordUnavailableError: when the store refuses.
        """
        for ticket in _tickets(self.journal.objects.listing()).values():
            if _owner(ticket) == self.owner:
                self.journal.objects.delete(ticket.name)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """
        Queue up, for the length of a ``with`` statement.

        :raises RecordUnavailableError: when the ticket could not be put down.
        """
        place = Place(self, f"{FOLDER}{_stamp(self.clock())}-{self.owner}-{uuid.uuid4().hex[:12]}.json")
        place.renew()
        try:
            yield place
        finally:
            # Left behind, it is removed after a minute.
            with suppress(RecordUnavailableError):
                self.journal.objects.delete(place.ticket)


@dataclass
class Place:
    """
    A worker's place in the queue.

    :param ticket: name of the object.
    """

    queue: Queue
    ticket: str
    _renewed_at: float = field(default=0.0, init=False)

    def turn(self) -> Iterator[Entry]:
        """
        Wait for the turn, and yield what others have written meanwhile.

        :raises RecordUnavailableError: when it does not come, or the ledger cannot be read. Nothing must be sent.
        """
        yield from self.queue.journal.read(self._wait())

    def confirm(self, intents: Sequence[Entry]) -> bool:
        """
        Write down what is about to be bought, and return whether it may be.

        Everything that :meth:`turn` yields must have been read, and thought of, before.

        :return: ``False`` when another worker was quicker. Nothing must be sent, and the intents are taken back.
        :raises RecordUnavailableError: when that is not certain. Nothing must be sent.
        """
        journal = self.queue.journal
        name = journal.intend(intents)
        try:
            listed = journal.objects.listing()
            is_first = self.ticket == min(_tickets(listed), default=None) and not journal.has_news(listed)
        except RecordUnavailableError:
            is_first = False
        if not is_first:
            journal.objects.delete(name)
        return is_first

    def renew(self) -> None:
        """Say that somebody is still here."""
        self._renewed_at = self.queue.elapsed()
        self.queue.journal.objects.put(self.ticket, io.BytesIO(b"{}\n"))

    def _wait(self) -> list[LedgerObject]:
        """Return what there is as soon as nobody comes before."""
        since = self.queue.elapsed()
        while self.queue.elapsed() - since < _PATIENCE:
            listed = self.queue.journal.objects.listing()
            tickets = _tickets(listed)
            own = tickets.get(self.ticket)
            if own is None or self.queue.elapsed() - self._renewed_at >= _RENEWAL:
                self.renew()
                continue
            before = [ticket for ticket in tickets.values() if ticket.name < self.ticket]
            living = [ticket for ticket in before if not self._is_dead(ticket, own)]
            for ticket in before:
                if ticket not in living:
                    self.queue.journal.objects.delete(ticket.name)
            if not living:
                return listed
            # Who comes soon looks often. No secret is drawn here, only what keeps the workers out of step.
            self.queue.sleep(min(len(living), _FAR_BEHIND) * random.uniform(*_PAUSE))  # noqa: S311
        raise RecordUnavailableError(
            f"Other workers buy from the same ledger ({self.queue.journal.objects.address}), and for "
            f"{_PATIENCE / 60:.0f} minutes all turns were theirs. Nothing was sent; a retry goes on."
        )

    def _is_dead(self, ticket: LedgerObject, own: LedgerObject) -> bool:
        if _owner(ticket) == self.queue.owner:
            return True
        # In the store's own time, whatever the clocks of the workers say.
        now = own.modified + self.queue.elapsed() - self._renewed_at
        return now - ticket.modified > _LEASE


def _tickets(listed: Sequence[LedgerObject]) -> dict[str, LedgerObject]:
    return {found.name: found for found in listed if found.name.startswith(FOLDER)}


def _owner(ticket: LedgerObject) -> str:
    return ticket.name.split("-")[1]


def _stamp(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y%m%dT%H%M%S.%fZ}"
