"""
What may still be spent. Pure, and derived from the ledger each time: a crash cannot lose a reservation.

Sums are exact: US dollars as decimal numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from airflow_provider_apimart.dataset.entry import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.dataset.ledger import State

__all__ = ["Budget", "expected_cost"]

_NOTHING = Decimal(0)
_IN_FLIGHT = frozenset({Status.INTENDED, Status.ACCEPTED})


def expected_cost(listed: float | None, seen: float | None) -> float | None:
    """
    Return US dollars to hold for a request: the dearer of what is known, so that the sum is not exceeded.

    :param listed: what the price table says.
    :param seen: the most that a request of the same kind has cost.
    """
    return max((figure for figure in (listed, seen) if figure is not None), default=None)


@dataclass
class Budget:
    """
    The money of one task, or of a whole DAG run.

    :param max_cost: US dollars; ``None`` for no limit.
    :param spent: what was paid. Where the gateway names no cost, what was held for it counts.
    :param reserved: held for what is in flight.
    :param unknown: held for calls that may have been paid for.
    :param unpriced: calls in flight for which nothing is held, because nobody knew a price or set a limit.
    :param untold: paid calls whose cost the gateway did not name.
    """

    max_cost: Decimal | None = None
    spent: Decimal = _NOTHING
    reserved: Decimal = _NOTHING
    unknown: Decimal = _NOTHING
    unpriced: int = 0
    untold: int = 0

    @classmethod
    def of(cls, states: Iterable[State], *, max_cost: float | None) -> Budget:
        """
        Add up the money of purchases.

        :param states: those of one DAG run, since each run has its own money.
        :param max_cost: US dollars; ``None`` for no limit.
        """
        budget = cls(None if max_cost is None else _dollars(max_cost))
        for state in states:
            budget._count(state)
        return budget

    @property
    def left(self) -> Decimal | None:
        """US dollars that nothing is held for, never less than 0; ``None`` without a limit."""
        if self.max_cost is None:
            return None
        return max(_NOTHING, self.max_cost - self.spent - self.reserved - self.unknown)

    def objection(self, expected: float | None) -> str | None:
        """
        Return why a purchase may not be made now, or ``None`` when it may.

        What is in flight may cost less than is held for it, so an objection holds for good only when nothing is.

        :param expected: US dollars, or ``None`` where no price is known. Such a request takes all that is left: the
            next one waits until this one has told what it costs.
        """
        if self.max_cost is None or self.left is None:
            return None
        if expected is None and self.untold:
            return (
                f"No price is known, and the gateway has not named the cost of {self.untold} finished purchase(s): "
                "max_cost cannot be kept. Nothing more is bought; without max_cost it would be."
            )
        if self.unpriced:
            return f"{self.unpriced} purchase(s) are in flight whose price nobody knows yet. {self}."
        if self.left > 0 and (expected is None or _dollars(expected) <= self.left):
            return None
        price = "an amount that nobody knows yet" if expected is None else f"about {_text(_dollars(expected))} USD"
        return f"The next purchase takes {price}, and {_text(self.left)} USD are left. {self}."

    def reserve(self, expected: float | None) -> float | None:
        """
        Hold money for a purchase that meets no objection, and return the US dollars that are held.

        :return: ``None`` where neither a price nor a limit is known.
        """
        if expected is None and self.left is None:
            self.unpriced += 1
            return None
        amount = _dollars(expected) if expected is not None else self.left or _NOTHING
        self.reserved += amount
        return float(amount)

    def __str__(self) -> str:
        limit = "" if self.max_cost is None else f" of {_text(self.max_cost)} USD"
        parts = [f"{_text(self.spent)} USD spent{limit}"]
        if self.reserved:
            parts.append(f"{_text(self.reserved)} USD held for what is in flight")
        if self.unknown:
            parts.append(f"{_text(self.unknown)} USD held for calls whose outcome nobody knows")
        if self.untold:
            parts.append(f"the cost of {self.untold} purchase(s) not named by the gateway")
        return ", ".join(parts)

    def _count(self, state: State) -> None:
        if state.cost is not None:
            self.spent += _dollars(state.cost)
            return
        held = _NOTHING if state.reserved is None else _dollars(state.reserved)
        if state.status in _IN_FLIGHT:
            self.reserved += held
            self.unpriced += state.reserved is None
        elif state.charged == "yes":
            self.spent += held
            self.untold += 1
        else:
            self.unknown += held


def _dollars(amount: float) -> Decimal:
    """Return the decimal number that a float was written as."""
    return Decimal(str(amount))


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
