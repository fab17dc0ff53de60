"""
The moment before money is spent: whose turn it is, what others have bought meanwhile, and what the budget allows.

Everything that decides about a purchase is read inside the turn, so that two workers can neither buy one row twice nor
spend the same money twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.budget import Budget, expected_cost
from airflow_provider_apimart.dataset.part import kind_of
from airflow_provider_apimart.dataset.plan import Step, intended, need
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger import Ledger
    from airflow_provider_apimart.dataset.part import Kind, Part
    from airflow_provider_apimart.dataset.plan import Rules
    from airflow_provider_apimart.dataset.queue import Queue
    from airflow_provider_apimart.gateway.request import ImageRequest

    ListedPrice = Callable[[ImageRequest], float | None]

__all__ = ["budget_of", "claim", "intents_of", "objection_to"]

_TURNS: Final = 12


def claim(
    parts: Sequence[Part],
    queue: Queue,
    ledger: Ledger,
    rules: Rules,
    *,
    listed_price: ListedPrice,
    clock: Callable[[], float] = time.time,
) -> list[tuple[Part, Entry]]:
    """
    Write down what is about to be bought, and return what may be: each paid call may go out, with its entry's key.

    :param parts: candidates, in the order of the dataset.
    :param ledger: is brought up to date.
    :param listed_price: US dollars by the gateway's price table, or ``None`` where it does not tell.
    :param clock: Unix seconds.
    :raises RecordUnavailableError: when the intents could not be written down. Nothing was sent.
    """
    if not parts:
        return []
    with queue.place() as place:
        for _ in range(_TURNS):
            ledger.add(place.turn())
            intents = intents_of(parts, ledger, rules, listed_price=listed_price, now=clock())
            entries = [entry for _, entry in intents]
            if not entries or place.confirm(entries):
                ledger.add(entries)
                return intents
    raise RecordUnavailableError(
        f"Other workers buy from the same ledger ({queue.journal.objects.address}), and {_TURNS} times one of them "
        "came first. Nothing was sent; a retry goes on."
    )


def intents_of(
    parts: Iterable[Part], ledger: Ledger, rules: Rules, *, listed_price: ListedPrice, now: float
) -> list[tuple[Part, Entry]]:
    """
    Return the entries of what the ledger still lacks, up to the first part that the budget does not allow.

    :param now: Unix seconds.
    """
    budget, dearest = budget_of(ledger, rules), ledger.dearest()
    intents: list[tuple[Part, Entry]] = []
    for part in parts:
        state = ledger.find(part.key)
        if need(state, rules, now=now).step is not Step.BUY:
            continue
        expected = _expected(part, dearest, listed_price)
        if budget.objection(expected):
            break
        reserved = budget.reserve(expected)
        intents.append((part, intended(part, state, rules, reserved=reserved, now=now)))
    return intents


def objection_to(part: Part, ledger: Ledger, rules: Rules, *, listed_price: ListedPrice) -> str | None:
    """Return why the budget does not allow a part to be bought now, or ``None`` when it does."""
    return budget_of(ledger, rules).objection(_expected(part, ledger.dearest(), listed_price))


def budget_of(ledger: Ledger, rules: Rules) -> Budget:
    """Return the money of the DAG run, with what all its tasks have spent from this ledger."""
    own = (state for state in ledger.states() if state.run_id == rules.run_id)
    return Budget.of(own, max_cost=rules.max_cost)


def _expected(part: Part, dearest: Mapping[Kind, float], listed_price: ListedPrice) -> float | None:
    return expected_cost(listed_price(part.request), dearest.get(kind_of(part.request)))
