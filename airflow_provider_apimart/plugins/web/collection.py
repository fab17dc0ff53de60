"""The pictures of a DAG, a run or a task, page by page, from the events that report them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_event
from airflow_provider_apimart.plugins.web.event_queries import (
    EVENTS_AT_ONCE,
    events_of_kind,
    find_events,
    query_events,
)
from airflow_provider_apimart.plugins.web.listing import Listing, pictures_of
from airflow_provider_apimart.plugins.web.paging import Cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["PAGE_SIZE", "Page", "find_card", "read_page"]

#: Pictures of one page.
PAGE_SIZE: Final = 24
#: How often one page asks for more: a search goes on where it left off.
_ROUNDS: Final = 5
#: Lists of pictures outside of events that one page reads at most.
_LISTS: Final = 8


@dataclass
class Page:
    """
    A page of pictures.

    :param cards: in the order in which they are shown.
    :param following: the beginning of the next page; ``None`` on the last.
    :param notes: sentences about lists that could not be read, for people.
    """

    cards: list[Card] = field(default_factory=list)
    following: Cursor | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Return whether neither this page nor a later one shows anything."""
        return not self.cards and self.following is None


class _Builder:
    """
    Fills a page from events, the newest first.

    A task that was cleared reports its pictures again; each is shown once.

    :param keep: returns whether to show a picture; ``None`` for all.
    """

    def __init__(self, api: AirflowApi, scope: Scope, keep: Callable[[Card], bool] | None) -> None:
        self._api = api
        self._scope = scope
        self._keep = keep
        self._page = Page()
        self._lists = 0
        self._identities: set[str] = set()
        self._read: set[Scope] = set()

    @property
    def is_full(self) -> bool:
        """Return whether the page is full, or has read enough lists."""
        return len(self._page.cards) == PAGE_SIZE or self._lists == _LISTS

    def skip(self, event: Event) -> None:
        """Leave out the pictures of an event that newer pages show."""
        # A dataset names rows that are shown with the run that bought them, which may be older.
        self._remember(event, [] if "manifest" in event.extra else cards_of_event(event))

    async def add(self, event: Event, within: int) -> int | None:
        """
        Put the pictures of an event on the page.

        :param within: place of the first among them.
        :return: place of the first for which there was no room, or ``None``.
        """
        listing = await self._listing(event)
        room = PAGE_SIZE - len(self._page.cards)
        shown = [(place, card) for place, card in enumerate(listing.cards) if place >= within and self._is_wanted(card)]
        self._page.cards += [card for _, card in shown[:room]]
        if listing.note:
            self._page.notes.append(listing.note)
        self._remember(event, listing.cards)
        return shown[room][0] if len(shown) > room else None

    def page(self, following: Cursor | None) -> Page:
        """Return the page."""
        self._page.following = following
        return self._page

    async def _listing(self, event: Event) -> Listing:
        # A later event of the same task instance has listed them: of a dataset with another manifest, or the same.
        if event.source in self._read:
            return Listing([] if "manifest" in event.extra else cards_of_event(event))
        self._lists += event.has_list
        return await pictures_of(self._api, event, self._scope)

    def _is_wanted(self, card: Card) -> bool:
        return card.identity not in self._identities and (self._keep is None or self._keep(card))

    def _remember(self, event: Event, cards: Iterable[Card]) -> None:
        self._identities.update(card.identity for card in cards if card.identity)
        self._read.add(event.source)


async def read_page(
    api: AirflowApi, scope: Scope, kind: Status, *, cursor: Cursor, keep: Callable[[Card], bool] | None = None
) -> Page:
    """
    Return a page of pictures that have been bought.

    :param kind: ``STORED`` for those in S3, with the rows of datasets that failed; ``BOUGHT`` for all purchases.
    :param keep: returns whether to show a picture; ``None`` for all.
    """
    until = cursor.until or datetime.now(UTC).isoformat()
    offset, within = cursor.offset, cursor.within
    builder = _Builder(api, scope, keep)
    if offset:
        first = max(0, offset - EVENTS_AT_ONCE)
        newer = await query_events(api, scope, kind, until=until, offset=first, limit=offset - first)
        for event in events_of_kind(newer["asset_events"], kind):
            builder.skip(event)
    for _ in range(_ROUNDS):
        limit = EVENTS_AT_ONCE if keep else PAGE_SIZE
        found = await query_events(api, scope, kind, until=until, offset=offset, limit=limit)
        for given in found["asset_events"]:
            for event in events_of_kind([given], kind):
                rest = await builder.add(event, within)
                if rest is not None:
                    return builder.page(Cursor(until, offset, rest))
            offset, within = offset + 1, 0
            if builder.is_full:
                return builder.page(Cursor(until, offset) if offset < found["total_entries"] else None)
        if not found["asset_events"] or offset >= found["total_entries"]:
            return builder.page(None)
    return builder.page(Cursor(until, offset))


async def find_card(api: AirflowApi, scope: Scope, *, uri: str, name: str) -> Card | None:
    """
    Return one picture of a task instance, or ``None`` where it has not reported it.

    :param uri: of its object in S3; empty where it is in none.
    :param name: the gateway's name of it, see :attr:`Card.name`; empty where ``uri`` says which it is.
    """
    for event in await find_events(api, scope, Status.STORED if uri else Status.BOUGHT):
        listing = await pictures_of(api, event, scope)
        for card in listing.cards:
            if card.facts.get("uri") == uri if uri else card.name == name:
                return card
    return None
