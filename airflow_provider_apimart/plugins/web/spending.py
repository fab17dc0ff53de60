"""Sums of what was spent: over time, by what it was spent on, and per run. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from datetime import date

    from airflow_provider_apimart.plugins.web.periods import Period, Unit
    from airflow_provider_apimart.plugins.web.purchases import Charge

__all__ = ["Bar", "By", "Share", "Spent", "Timeline", "dearest_runs", "over_time", "shares", "total"]

K = TypeVar("K", bound="Hashable")

#: Colours that people tell apart; the rest of a chart is one more.
_MOST_COLOURS: Final = 6


class By(StrEnum):
    """What sums are told apart by."""

    MODEL = "model"
    DAG = "dag"
    CONNECTION = "connection"

    def name_of(self, charge: Charge) -> str:
        """Return where a charge belongs."""
        match self:
            case By.MODEL:
                return charge.model
            case By.DAG:
                return charge.source.dag_id
            case By.CONNECTION:
                return charge.connection


@dataclass(frozen=True, slots=True)
class Spent:
    """
    A sum of charges.

    :param cost: US dollars, as far as they are known.
    :param unknown: paid calls whose cost is not known. They are in no sum, and never count as 0.
    :param pictures: how many came, whether their cost is known or not.
    :param priced: pictures of those charges whose cost is fully known.
    :param price: what these have cost.
    """

    cost: Decimal = Decimal(0)
    unknown: int = 0
    pictures: int = 0
    priced: int = 0
    price: Decimal = Decimal(0)

    @property
    def pictures_per_dollar(self) -> Decimal | None:
        """How many pictures a dollar buys, where both figures are known."""
        return self.priced / self.price if self.price else None

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.cost + other.cost,
            self.unknown + other.unknown,
            self.pictures + other.pictures,
            self.priced + other.priced,
            self.price + other.price,
        )


class Share(NamedTuple):
    """
    A part of what was spent.

    :param name: what it was spent on; ``None`` for all that the list does not name.
    """

    name: str | None
    spent: Spent


class Bar(NamedTuple):
    """
    A bar of a chart.

    :param first: the day with which it begins.
    :param parts: one for each name of the chart.
    """

    first: date
    parts: list[Spent]
    total: Spent


class Timeline(NamedTuple):
    """
    What was spent when.

    :param unit: what each bar stands for.
    :param names: what the parts of the bars are; ``None`` for all others.
    """

    unit: Unit
    names: list[str | None]
    bars: list[Bar]


def total(charges: Iterable[Charge]) -> Spent:
    """Return the sum of charges."""
    listed = list(charges)
    priced = [charge for charge in listed if not charge.unknown]
    return Spent(
        cost=sum((charge.cost for charge in listed), Decimal(0)),
        unknown=sum(charge.unknown for charge in listed),
        pictures=sum(charge.pictures for charge in listed),
        priced=sum(charge.pictures for charge in priced),
        price=sum((charge.cost for charge in priced), Decimal(0)),
    )


def shares(charges: Iterable[Charge], by: By, *, most: int) -> list[Share]:
    """
    Return what was spent on each, the dearest first, and the rest as one.

    :param most: how many are named.
    """
    ranked = _ranked(_sums(charges, by.name_of))
    named = [Share(name, spent) for name, spent in ranked[:most]]
    rest = sum((spent for _, spent in ranked[most:]), Spent())
    return [*named, Share(None, rest)] if len(ranked) > most else named


def dearest_runs(charges: Iterable[Charge], *, most: int) -> list[tuple[Scope, Spent]]:
    """Return the DAG runs that have cost the most."""
    return _ranked(_sums(charges, lambda charge: Scope(charge.source.dag_id, charge.source.run_id)))[:most]


def over_time(charges: Iterable[Charge], period: Period, by: By) -> Timeline:
    """
    Return what was spent in each day of a period, or in each week or month where it is long.

    :param charges: those of the period.
    """
    listed = list(charges)
    names = [share.name for share in shares(listed, by, most=_MOST_COLOURS)]
    unit = period.unit

    def place(charge: Charge) -> tuple[date, str | None]:
        name = by.name_of(charge)
        return unit.first_day(charge.day), name if name in names else None

    sums = _sums(listed, place)
    bars = []
    for first in period.bars():
        parts = [sums.get((first, name), Spent()) for name in names]
        bars.append(Bar(first, parts, sum(parts, Spent())))
    return Timeline(unit, names, bars)


def _sums(charges: Iterable[Charge], key: Callable[[Charge], K]) -> dict[K, Spent]:
    grouped: dict[K, list[Charge]] = defaultdict(list)
    for charge in charges:
        grouped[key(charge)].append(charge)
    return {name: total(members) for name, members in grouped.items()}


def _ranked(sums: dict[K, Spent]) -> list[tuple[K, Spent]]:
    return sorted(sums.items(), key=lambda item: (-item[1].cost, -item[1].unknown, str(item[0])))
