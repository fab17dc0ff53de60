"""
The money of a DAG run that is left, derived from the ledger each time: a crash cannot lose a reservation. Does no I/O.

Sums are exact: US dollars as decimal numbers. A wrong price list must not overspend much, so with a limit no more calls
are in flight than the costs that have been settled justify, and twice what is in flight must fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.index import Index

__all__ = ["Budget", "Objection", "expected_cost"]

_NOTHING: Final = Decimal(0)
_IN_FLIGHT: Final = frozenset({EntryStatus.INTENDED, EntryStatus.ACCEPTED})
#: Settled calls of a kind whose costs outweigh the price list.
_ENOUGH: Final = 3
#: Calls in flight before the first cost is settled, and for each that is.
_FIRST_WAVE: Final = 8
_GROWTH: Final = 2
#: Fewer calls in flight than these may have all that is left: they would otherwise leave half of it for ever.
_FEW: Final = 4
#: A call may cost so many times what is expected of it.
_CAUTION: Final = 2


def expected_cost(listed: float | None, recent: Sequence[float]) -> float | None:
    """
    Return US dollars to hold for a request, or ``None`` where nothing is known.

    :param listed: by the gateway's price table; it counts until three calls of the kind are settled.
    :param recent: costs of the last settled calls of the same kind.
    """
    figures = list(recent)
    if listed is not None and len(figures) < _ENOUGH:
        figures.append(listed)
    return max(figures, default=None)


@dataclass(frozen=True, slots=True)
class Objection:
    """
    The reason why a call may not be bought now.

    :param is_final: whether nothing is in flight that may cost less than is held for it.
    """

    reason: str
    is_final: bool


@dataclass
class Budget:
    """
    The money of one DAG run, over all its task instances and all generations.

    :param max_cost: US dollars; ``None`` for no limit.
    :param spent: US dollars that were paid. Where the gateway names no cost, what was held for the call counts.
    :param reserved: US dollars that are held for calls in flight.
    :param unknown: US dollars that are held for calls that may have been charged.
    :param in_flight: number of calls that are about to be made, or accepted and not settled.
    :param settled: number of calls that were charged.
    :param unpriced: calls in flight for which nothing is held, because there was neither a price nor a limit.
    :param untold: paid calls whose cost the gateway did not name.
    """

    max_cost: Decimal | None = None
    spent: Decimal = _NOTHING
    reserved: Decimal = _NOTHING
    unknown: Decimal = _NOTHING
    in_flight: int = 0
    settled: int = 0
    unpriced: int = 0
    untold: int = 0

    @classmethod
    def of(cls, index: Index, *, run_id: str, max_cost: float | None, now: float) -> Budget:
        """
        Add up the money of a DAG run.

        :param max_cost: US dollars; ``None`` for no limit.
        :param now: Unix seconds by the store's clock. A call whose sender waits no longer is of unknown outcome.
        """
        budget = cls(None if max_cost is None else _dollars(max_cost))
        for account in index.accounts(run_id=run_id):
            budget.spent += account.spent
            budget.unknown += account.unknown
            budget.settled += account.calls
            budget.untold += account.untold
        for entry in index.open_entries():
            if entry.run_id == run_id:
                budget._count(entry, now)
        return budget

    @property
    def left(self) -> Decimal | None:
        """US dollars that nothing is held for, never less than 0; ``None`` without a limit."""
        if self.max_cost is None:
            return None
        return max(_NOTHING, self.max_cost - self.spent - self.reserved - self.unknown)

    def objection(self, expected: float | None) -> Objection | None:  # noqa: PLR0911 - one for each reason
        """
        Return why a call may not be bought now, or ``None`` when it may.

        :param expected: US dollars, or ``None`` where no price is known. Such a call takes all that is left: the next
            one waits until its cost is known.
        """
        if self.max_cost is None or self.left is None:
            return None
        if expected is None and self.untold:
            return Objection(
                f"No price is known, and the gateway has not named the cost of {self.untold} finished call(s), so that "
                "max_cost cannot be kept. Nothing more is bought; without max_cost it would be.",
                is_final=True,
            )
        if self.unpriced:
            return self._not_now(f"{self.unpriced} call(s) are in flight whose price is not known yet.")
        if self.left <= 0 or (expected is not None and _dollars(expected) > self.left):
            price = "an unknown amount" if expected is None else f"about {_text(_dollars(expected))} USD"
            return self._not_now(f"The next call takes {price}, and {_text(self.left)} USD are left.")
        if self.in_flight >= _FIRST_WAVE + _GROWTH * self.settled:
            return self._not_now(
                f"{self.in_flight} calls are in flight and the cost of {self.settled} is settled: more are bought as "
                "costs settle."
            )
        held = self.reserved + (self.left if expected is None else _dollars(expected))
        if self.in_flight >= _FEW and self.spent + self.unknown + _CAUTION * held > self.max_cost:
            return self._not_now(
                "The last calls within max_cost are bought when the cost of those in flight is settled."
            )
        return None

    def reserve(self, expected: float | None) -> float | None:
        """
        Hold money for a call that meets no objection, and return the US dollars that are held.

        :return: ``None`` where neither a price nor a limit is known.
        """
        self.in_flight += 1
        if expected is None and self.left is None:
            self.unpriced += 1
            return None
        amount = _dollars(expected) if expected is not None else self.left or _NOTHING
        self.reserved += amount
        return float(amount)

    def __str__(self) -> str:
        limit = "" if self.max_cost is None else f" of {_text(self.max_cost)} USD"
        # For a call without a known cost, the amount that was held for it counts.
        at_most = "at most " if self.untold else ""
        parts = [f"{at_most}{_text(self.spent)} USD spent{limit}"]
        if self.reserved:
            parts.append(f"{_text(self.reserved)} USD held for calls in flight")
        if self.unknown:
            parts.append(f"{_text(self.unknown)} USD held for calls of unknown outcome")
        if self.untold:
            parts.append(f"the cost of {self.untold} call(s) not named by the gateway")
        return ", ".join(parts)

    def _not_now(self, reason: str) -> Objection:
        return Objection(f"{reason} {self}.", is_final=not self.in_flight)

    def _count(self, entry: Entry, now: float) -> None:
        held = _NOTHING if entry.reserved is None else _dollars(entry.reserved)
        is_lost = entry.status is EntryStatus.INTENDED and entry.answer_by < now
        if entry.status in _IN_FLIGHT and not is_lost:
            self.reserved += held
            self.in_flight += 1
            self.unpriced += entry.reserved is None
        else:
            self.unknown += held


def _dollars(amount: float) -> Decimal:
    """Return the decimal number that a float was written as."""
    return Decimal(str(amount))


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
