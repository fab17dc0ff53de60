"""
The money of a dataset: the accounts of its task instances, and the budget of a DAG run. Does no I/O.

Sums are exact: US dollars as decimal numbers. Both are derived from the ledger each time, so that a crash cannot lose a
reservation. A wrong price list must not overspend much: with a limit, no more calls are in flight than the settled
costs justify, and twice the cost of those in flight must fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_apimart.dataset.ledger.entry import CallState, Entry

__all__ = ["Account", "Budget", "Objection", "PurchaseHistory", "expected_cost"]

_NOTHING: Final = Decimal(0)
_IN_FLIGHT: Final = frozenset({EntryStatus.INTENDED, EntryStatus.ACCEPTED})
#: Settled calls of a kind whose costs outweigh the price list.
_ENOUGH: Final = 3
#: Calls in flight before the first cost is settled, and additional ones for each settled cost.
_FIRST_WAVE: Final = 8
_GROWTH: Final = 2
#: With fewer calls than this in flight, the next one may take all that is left; half of it would never be spent
#: otherwise.
_FEW: Final = 4
#: A call may cost so many times its expected cost.
_CAUTION: Final = 2


@dataclass(slots=True)
class Account:
    """
    The settled money of one task instance and one model, over all generations.

    :param calls: number of calls that were charged, or may have been.
    :param pictures: number of pictures in S3.
    :param spent: US dollars. A call whose cost the gateway does not report counts with its reservation.
    :param credits: the known part of ``spent`` in the gateway's credits.
    :param untold: number of paid calls whose cost is not known; ``untold_credits`` in credits.
    :param unknown: US dollars that are reserved for calls that may have been charged.
    :param bought_at: Unix seconds of the newest call.
    """

    run_id: str
    buyer: str
    model: str
    calls: int = 0
    pictures: int = 0
    spent: Decimal = _NOTHING
    credits: Decimal = _NOTHING
    untold: int = 0
    untold_credits: int = 0
    unknown: Decimal = _NOTHING
    bought_at: float = 0.0

    @property
    def cost(self) -> float | None:
        """US dollars; ``None`` where part of them is not known."""
        return None if self.untold or self.unknown else float(self.spent)

    @property
    def credits_cost(self) -> float | None:
        """Credits; ``None`` where part of them is not known."""
        return None if self.untold_credits or self.unknown else float(self.credits)

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Account:
        """Return an account from the values of its fields, with decimal numbers as text."""
        account = cls(*values)
        account.spent, account.credits = Decimal(account.spent), Decimal(account.credits)
        account.unknown = Decimal(account.unknown)
        return account

    def add(self, state: CallState, sign: int) -> None:
        """Add a settled purchase, or subtract it with ``sign=-1``."""
        if state.charged == "no":
            return
        self.calls += sign
        self.pictures += sign * state.n_objects
        self.credits += sign * _dollars(state.credits_cost)
        self.untold_credits += sign * (state.credits_cost is None)
        self.bought_at = max(self.bought_at, state.intended_at)
        if state.charged == "unknown" and state.cost is None:
            self.unknown += sign * _dollars(state.reserved)
            self.untold += sign * (state.reserved is None)
            return
        self.spent += sign * _dollars(state.reserved if state.cost is None else state.cost)
        self.untold += sign * (state.cost is None)

    def add_open(self, intended_at: float) -> None:
        """Add a purchase that is not settled: it may be charged, and its cost is not known yet."""
        self.calls += 1
        self.untold += 1
        self.untold_credits += 1
        self.bought_at = max(self.bought_at, intended_at)


class PurchaseHistory(Protocol):
    """The part of an index that a budget is made of."""

    def accounts(self, *, run_id: str | None = None) -> Iterable[Account]:
        """Return the settled money."""

    def open_entries(self) -> Iterable[Entry]:
        """Return the entries of all purchases that are not settled."""


def expected_cost(listed: float | None, recent: Sequence[float]) -> float | None:
    """
    Return US dollars to reserve for a request, or ``None`` where nothing is known.

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

    :param is_final: whether no call is in flight that may cost less than its reservation.
    """

    reason: str
    is_final: bool


@dataclass
class Budget:
    """
    The money of one DAG run, over all its task instances and all generations.

    :param max_cost: US dollars; ``None`` for no limit.
    :param spent: US dollars that were paid. A call whose cost the gateway does not report counts with its reservation.
    :param reserved: US dollars that are reserved for calls in flight.
    :param unknown: US dollars that are reserved for calls that may have been charged.
    :param in_flight: number of calls that are about to be submitted, or accepted and not settled.
    :param settled: number of calls that were charged.
    :param unpriced: number of calls in flight without a reservation, because there was neither a price nor a limit.
    :param untold: number of paid calls whose cost the gateway did not report.
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
    def of(cls, index: PurchaseHistory, *, run_id: str, max_cost: float | None, now: float) -> Budget:
        """
        Add up the money of a DAG run.

        :param max_cost: US dollars; ``None`` for no limit.
        :param now: Unix seconds by the store's clock. A call whose sender has stopped waiting before has an unknown
            outcome.
        """
        budget = cls(None if max_cost is None else _dollars(max_cost))
        for account in index.accounts(run_id=run_id):
            budget.spent += account.spent
            budget.unknown += account.unknown
            budget.settled += account.calls
            budget.untold += account.untold
        for entry in index.open_entries():
            if entry.run_id != run_id:
                continue
            is_lost = entry.status is EntryStatus.INTENDED and entry.answer_by < now
            if entry.status in _IN_FLIGHT and not is_lost:
                budget.reserved += _dollars(entry.reserved)
                budget.in_flight += 1
                budget.unpriced += entry.reserved is None
            else:
                budget.unknown += _dollars(entry.reserved)
        return budget

    @property
    def left(self) -> Decimal | None:
        """US dollars that are neither spent nor reserved, never less than 0; ``None`` without a limit."""
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
                f"No price is known, and the gateway has not reported the cost of {self.untold} finished call(s), so "
                "that max_cost cannot be kept. Nothing more is bought. Remove max_cost to buy without a limit.",
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
        Reserve money for a call that meets no objection, and return the US dollars.

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
        # The reservation of a call counts where its cost is not known.
        at_most = "at most " if self.untold else ""
        parts = [f"{at_most}{_text(self.spent)} USD spent{limit}"]
        if self.reserved:
            parts.append(f"{_text(self.reserved)} USD reserved for calls in flight")
        if self.unknown:
            parts.append(f"{_text(self.unknown)} USD reserved for calls of unknown outcome")
        if self.untold:
            parts.append(f"the cost of {self.untold} call(s) not reported by the gateway")
        return ", ".join(parts)

    def _not_now(self, reason: str) -> Objection:
        return Objection(f"{reason} {self}.", is_final=not self.in_flight)


def _dollars(amount: float | None) -> Decimal:
    """Return the decimal number that a float was written as; 0 for ``None``."""
    return _NOTHING if amount is None else Decimal(str(amount))


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
