"""The money of one task instance. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.dataset.ledger.records import CallRecord

__all__ = ["Account"]


@dataclass(slots=True)
class Account:
    """
    The settled money of one task instance and one model, over all generations.

    :param calls: that were charged, or may have been.
    :param pictures: that are in S3.
    :param spent: US dollars, exact. Where the gateway names no cost, what was held for the call counts.
    :param credits: the same in credits, as far as they are known.
    :param untold: paid calls whose cost is not known.
    :param unknown: US dollars that are held for calls that may have been charged.
    :param bought_at: Unix seconds, of the newest call.
    """

    run_id: str
    buyer: str
    model: str
    calls: int = 0
    pictures: int = 0
    spent: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)
    untold: int = 0
    unknown: Decimal = Decimal(0)
    bought_at: float = 0.0

    @property
    def cost(self) -> float | None:
        """US dollars; ``None`` where part of them is not known."""
        return None if self.untold or self.unknown else float(self.spent)

    @property
    def credits_cost(self) -> float | None:
        """The same in credits."""
        return None if self.untold or self.unknown else float(self.credits)

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Account:
        """Return what :meth:`to_json` gave."""
        money: dict[str, Any] = {name: Decimal(values[_FIELDS.index(name)]) for name in _MONEY}
        return replace(cls(*values), **money)

    def to_json(self) -> list[Any]:
        """Return the values of all fields, money as text."""
        return [str(getattr(self, name)) if name in _MONEY else getattr(self, name) for name in _FIELDS]

    def add(self, record: CallRecord, sign: int) -> None:
        """Add a settled purchase, or take it back with ``sign=-1``."""
        if record.charged == "no":
            return
        self.calls += sign
        self.pictures += sign * record.pictures
        self.credits += sign * _decimal(record.credits_cost)
        self.bought_at = max(self.bought_at, record.intended_at)
        if record.charged == "unknown" and record.cost is None:
            self.unknown += sign * _decimal(record.reserved)
            self.untold += sign * (record.reserved is None)
            return
        self.spent += sign * _decimal(record.reserved if record.cost is None else record.cost)
        self.untold += sign * (record.cost is None)

    def add_open(self, intended_at: float) -> None:
        """Add a purchase that may be charged, and whose cost is not known yet."""
        self.calls += 1
        self.untold += 1
        self.bought_at = max(self.bought_at, intended_at)


_FIELDS: Final = tuple(field.name for field in fields(Account))
_MONEY: Final = ("spent", "credits", "unknown")


def _decimal(amount: float | None) -> Decimal:
    """Return the decimal number that a float was written as."""
    return Decimal(0) if amount is None else Decimal(str(amount))
