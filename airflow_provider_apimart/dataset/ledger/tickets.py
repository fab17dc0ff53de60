"""
Turns to append to a log, for stores that do not honour conditional writes.

Each worker puts a ticket into ``queue/``, whose name begins with the time, and waits until no ticket comes before it. A
ticket that nobody has renewed for a minute is removed by the worker that waits behind it. Tickets only keep the workers
out of each other's way: two that have their turn at once do no harm, see :mod:`.log`.
"""

from __future__ import annotations

import random
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

__all__ = ["turn_of"]

_FOLDER: Final = "queue/"
#: Seconds after which a ticket counts as left behind, and after which its worker renews it while it waits.
_LEASE: Final = 60.0
_RENEWAL: Final = 15.0
#: Seconds between two listings for each worker before, drawn at random from this range; more of them count as so many.
_PAUSE: Final = (0.05, 0.3)
_FAR_BEHIND: Final = 10
#: Seconds that a worker waits for its turn.
_PATIENCE: Final = 600.0


@contextmanager
def turn_of(store: LedgerStore, owner: str, sleep: Callable[[float], None]) -> Iterator[None]:
    """
    Wait for the turn, for the length of a ``with`` statement.

    :param owner: the task instance. Its later tries do not wait for the earlier ones.
    :raises RecordUnavailableError: when the turn does not come, or the store fails. Nothing may be submitted.
    """
    ticket = f"{_FOLDER}{round(store.now() * 1000):014}-{owner}-{uuid.uuid4().hex[:12]}"
    store.put(ticket, b"\n")
    try:
        _wait(store, ticket, owner, sleep)
        yield
    finally:
        # Left behind, it is removed after a minute.
        with suppress(RecordUnavailableError):
            store.delete([ticket])


def _wait(store: LedgerStore, ticket: str, owner: str, sleep: Callable[[float], None]) -> None:
    since = renewed_at = store.now()
    while store.now() - since < _PATIENCE:
        tickets = store.list(_FOLDER)
        now = store.now()
        if ticket not in {found.name for found in tickets} or now - renewed_at >= _RENEWAL:
            store.put(ticket, b"\n")
            renewed_at = now
            continue
        before = [found for found in tickets if found.name < ticket]
        dead = [found.name for found in before if f"-{owner}-" in found.name or now - found.modified > _LEASE]
        store.delete(dead)
        if len(dead) == len(before):
            return
        # No secret is drawn here, only what keeps the workers out of step.
        sleep(min(len(before) - len(dead), _FAR_BEHIND) * random.uniform(*_PAUSE))  # noqa: S311
    raise RecordUnavailableError(
        f"The ledger {store.address} could not be written: for {_PATIENCE / 60:.0f} minutes other workers came first. "
        "Nothing was submitted; a retry continues from what the ledger says."
    )
