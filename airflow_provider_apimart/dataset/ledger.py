"""
What is known of every purchase: the newest entry of each, whatever the order in which they are read. Pure.

An entry is newer when its generation is, then its attempt, then its status, then its time (:class:`Rank`). That makes
merging associative, commutative and idempotent: a line that is read twice, late, or out of turn changes nothing, and a
worker that lags behind takes nothing back.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from airflow_provider_apimart.dataset.entry import UNSETTLED, Status
from airflow_provider_apimart.dataset.line import to_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.part import Kind
    from airflow_provider_apimart.exceptions import Charged

__all__ = ["Ledger", "Rank", "State", "rank_of"]

_ORDER: Final = {status: place for place, status in enumerate(Status)}


class Rank(NamedTuple):
    """
    Which of two entries of one purchase is the newer. No two different entries have the same rank.

    :param attempt: before the status, because a later purchase outdoes whatever became of an earlier one.
    :param refusals: of a call that was not accepted. What was accepted once, by whichever call with the key, counts
        for more than any refusal.
    :param order: the place of the status, before the time, because the clocks of two workers differ.
    :param digest: of the whole line, so that the choice never depends on which is read first.
    """

    generation: int
    attempt: int
    refusals: float
    order: int
    updated_at: float
    digest: int


def rank_of(entry: Entry) -> Rank:
    """Return what decides whether an entry is newer than another of the same purchase."""
    digest = int.from_bytes(blake2b(to_line(entry), digest_size=8).digest())
    order = _ORDER[entry.status]
    refusals = math.inf if order >= _ORDER[Status.ACCEPTED] else entry.refusals
    return Rank(entry.generation, entry.attempt, refusals, order, entry.updated_at, digest)


class State(NamedTuple):
    """
    What decisions need of an entry, and none of its texts: a ledger holds one for each row.

    :param retryable: whether the same request may succeed later, after a failure or a refusal.
    """

    rank: Rank
    status: Status
    charged: Charged
    retryable: bool
    refusals: int
    retries: int
    cost: float | None
    credits_cost: float | None
    reserved: float | None
    kind: Kind
    run_id: str
    max_tries: int
    intended_at: float

    @property
    def generation(self) -> int:
        """How often the row was bought anew on request."""
        return self.rank.generation

    @property
    def attempt(self) -> int:
        """How many purchases before this one failed and cost nothing."""
        return self.rank.attempt

    @property
    def model(self) -> str:
        """The vendor's name of it."""
        return self.kind[0]

    @property
    def updated_at(self) -> float:
        """Unix seconds."""
        return self.rank.updated_at


@dataclass
class Ledger:
    """
    The state of every purchase, by its key.

    :param unsettled: whole entries of those that are not settled: as many as are in flight, and those whose outcome
        is not known.
    """

    unsettled: dict[bytes, Entry] = field(default_factory=dict)
    _states: dict[bytes, State] = field(default_factory=dict)
    _kinds: dict[Kind, Kind] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return len(self._states)

    def add(self, entries: Iterable[Entry]) -> None:
        """Take note of entries, in any order."""
        for entry in entries:
            key, rank = entry.key, rank_of(entry)
            known = self._states.get(key)
            if known is None or known.rank < rank:
                self._states[key] = self._state(entry, rank)
                if entry.status in UNSETTLED:
                    self.unsettled[key] = entry
                else:
                    self.unsettled.pop(key, None)

    def find(self, key: bytes) -> State | None:
        """Return how far a purchase has come, or ``None`` when nothing was ever noted of it."""
        return self._states.get(key)

    def is_newest(self, entry: Entry) -> bool:
        """Whether nothing newer is known of the purchase; to find the texts of a state by reading the file again."""
        state = self._states.get(entry.key)
        return state is None or state.rank <= rank_of(entry)

    def states(self) -> Iterable[State]:
        """Return the states of all purchases."""
        return self._states.values()

    def dearest(self) -> Mapping[Kind, float]:
        """Return for each kind of request the most that one has cost, in US dollars."""
        costs: dict[Kind, float] = {}
        for state in self._states.values():
            if state.cost is not None and state.charged == "yes":
                costs[state.kind] = max(state.cost, costs.get(state.kind, 0.0))
        return costs

    def _state(self, entry: Entry, rank: Rank) -> State:
        # Many rows share their kind and their run: each is held once.
        return State(
            rank=rank,
            status=entry.status,
            charged=entry.charged,
            retryable=entry.error is not None and entry.error.retryable,
            refusals=entry.refusals,
            retries=entry.retries,
            cost=entry.cost,
            credits_cost=entry.credits_cost,
            reserved=entry.reserved,
            kind=self._kinds.setdefault(entry.kind, entry.kind),
            run_id=sys.intern(entry.run_id),
            max_tries=entry.max_tries,
            intended_at=entry.intended_at,
        )
