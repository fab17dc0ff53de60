"""Which purchases have been copied to S3 by another task of the same run. I/O."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_event
from airflow_provider_apimart.plugins.web.event_queries import EVENTS_AT_ONCE, find_events
from airflow_provider_apimart.plugins.web.listing import pictures_of
from airflow_provider_apimart.plugins.web.scope import UNMAPPED, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event

__all__ = ["with_copies"]

#: Lists of pictures outside of events that are read of one run at most.
_LISTS: Final = 8


async def with_copies(api: AirflowApi, cards: Iterable[Card], *, known: Iterable[Card] = ()) -> list[Card]:
    """
    Return purchases, each as the picture in S3 that was made of it, where one was reported.

    :param cards: of purchases, no more than a page of them.
    :param known: pictures in S3 that are known already.
    """
    bought = list(cards)
    copies = _by_name(known)
    runs: defaultdict[Scope, list[Card]] = defaultdict(list)
    for card in bought:
        if card.name not in copies:
            runs[Scope(card.source.dag_id, card.source.run_id)].append(card)
    for found in await asyncio.gather(*(_copies(api, run, uncopied) for run, uncopied in runs.items())):
        copies |= found
    return [copies.get(card.name, card) for card in bought]


async def _copies(api: AirflowApi, run: Scope, bought: Iterable[Card]) -> dict[str, Card]:
    events = await find_events(api, run, Status.STORED)
    copies = _by_name(await _cards(api, run, events))
    if len(events) < EVENTS_AT_ONCE:
        return copies
    # Of thousands of mapped copies it is most often the one with the same index.
    uncopied = (card.source for card in bought if card.name not in copies)
    same_index = {replace(source, task_id=None) for source in uncopied if source.map_index != UNMAPPED}
    for others in await asyncio.gather(*(find_events(api, scope, Status.STORED) for scope in same_index)):
        copies |= _by_name(await _cards(api, run, others))
    return copies


async def _cards(api: AirflowApi, run: Scope, events: Iterable[Event]) -> list[Card]:
    # A dataset copies what it has bought itself.
    copied = [event for event in events if "manifest" not in event.extra]
    cards = [card for event in copied for card in cards_of_event(event)]
    for event in islice((event for event in copied if event.has_list), _LISTS):
        cards += (await pictures_of(api, event, run)).cards
    return cards


def _by_name(cards: Iterable[Card]) -> dict[str, Card]:
    return {card.name: card for card in cards if card.name}
