"""What was bought, as the asset events of the operators tell it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from airflow_provider_apimart.plugins.web.events import read_events
from airflow_provider_apimart.plugins.web.facts import Moment
from airflow_provider_apimart.plugins.web.periods import day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["Charge", "Purchase", "latest", "read_purchases"]


@dataclass(frozen=True, slots=True)
class Charge:
    """
    What the pictures of one model have cost in one purchase.

    :param source: the task instance that bought them.
    :param connection: id of the connection that paid.
    :param day: when, in UTC.
    :param pictures: how many came.
    :param cost: US dollars, as far as they are known.
    :param unknown: paid calls whose cost is not known, and which are not in ``cost``.
    """

    source: Scope
    connection: str
    model: str
    day: date
    pictures: int
    cost: Decimal
    unknown: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """
    A purchase, as one event tells of it.

    :param source: the task instance that made it.
    :param name: stands for what was bought.
    :param reported_at: Unix seconds of the event, which may be days after the purchase: a task that is cleared and
        finds its pictures reports them again.
    :param charges: one for each model.
    """

    source: Scope
    name: str
    reported_at: float
    charges: tuple[Charge, ...]


class _Model(BaseModel):
    model: str
    delivered: NonNegativeInt
    cost: Annotated[Decimal, Field(ge=0)] | None
    unknown: NonNegativeInt


class _Extra(BaseModel):
    """What :mod:`airflow_provider_apimart.assets` writes; anybody who writes DAGs can write something else."""

    schema_version: Literal[1]
    purchase: str
    connection: str
    bought_at: Moment
    currency: Literal["USD"]
    models: list[_Model]


def read_purchases(found: Iterable[Mapping[str, Any]]) -> tuple[list[Purchase], set[int]]:
    """
    Return the purchases among events, and the ids of those events that claim to tell of one and cannot be understood.

    :param found: as Airflow's API gives them.
    """
    purchases: list[Purchase] = []
    unreadable: set[int] = set()
    for given in found:
        for event in read_events([given]):
            if event.is_purchase:
                try:
                    purchases.append(_purchase(event))
                except ValidationError:
                    unreadable.add(given["id"])
    return purchases, unreadable


def latest(purchases: Iterable[Purchase]) -> list[Purchase]:
    """Return each purchase as its last event tells of it: the figures of datasets grow from one to the next."""
    known: dict[tuple[Scope, str], Purchase] = {}
    for purchase in purchases:
        key = purchase.source, purchase.name
        if key not in known or known[key].reported_at < purchase.reported_at:
            known[key] = purchase
    return list(known.values())


def _purchase(event: Event) -> Purchase:
    extra = _Extra.model_validate(event.extra)
    day = day_of(extra.bought_at)
    charges = [
        Charge(
            source=event.source,
            connection=extra.connection,
            model=it.model,
            day=day,
            pictures=it.delivered,
            cost=it.cost or Decimal(0),
            # No figure at all is an unknown one, whatever the event counts.
            unknown=max(it.unknown, it.cost is None),
        )
        for it in extra.models
    ]
    return Purchase(event.source, extra.purchase, event.at, tuple(charges))
