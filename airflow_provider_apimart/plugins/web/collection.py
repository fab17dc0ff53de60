"""The pictures of a DAG, a run or a task, page by page, from what Airflow and S3 hold. I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread
from fastapi import HTTPException

from airflow_provider_apimart.assets.producer import IMAGES, PURCHASES
from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.card import (
    Card,
    Status,
    card_of_image,
    cards_of_event,
    cards_of_line,
)
from airflow_provider_apimart.plugins.web.events import read_events
from airflow_provider_apimart.plugins.web.paging import Cursor
from airflow_provider_apimart.plugins.web.stores import READING, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
    from airflow_provider_apimart.plugins.web.events import Event
    from airflow_provider_apimart.plugins.web.scope import Scope

__all__ = ["PAGE_SIZE", "Page", "find_card", "find_events", "read_page"]

#: Pictures of one page.
PAGE_SIZE: Final = 24
#: Events that one page asks for at once, and how often: a search goes on where it left off.
_EVENTS: Final = 100
_ROUNDS: Final = 5
#: Lists of pictures outside of events that one page reads at most.
_LISTS: Final = 8


@dataclass
class Page:
    """
    A page of pictures.

    :param cards: in the order in which they are shown.
    :param following: where the next page begins; ``None`` on the last.
    :param notes: what could not be read, for people.
    """

    cards: list[Card] = field(default_factory=list)
    following: Cursor | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing on it, nor on later ones."""
        return not self.cards and self.following is None


async def read_page(
    api: AirflowApi, scope: Scope, kind: Status, *, cursor: Cursor, keep: Callable[[Card], bool] | None = None
) -> Page:
    """
    Return a page of pictures that have been bought.

    :param kind: ``STORED`` for those in S3, with the rows of datasets that failed; ``BOUGHT`` for all purchases.
    :param keep: whether a picture is looked for; ``None`` for all.
    """
    until = cursor.until or datetime.now(UTC).isoformat()
    offset, within = cursor.offset, cursor.within
    limit = _EVENTS if keep else PAGE_SIZE
    page, lists = Page(), 0
    for _ in range(_ROUNDS):
        found = await _ask(api, scope, kind, until=until, offset=offset, limit=limit)
        for given in found["asset_events"]:
            for event in read_events([given]):
                lists += event.has_list
                cards = [card for card in await _cards(api, scope, event, page) if keep is None or keep(card)]
                room = PAGE_SIZE - len(page.cards)
                page.cards += cards[within : within + room]
                if len(cards) > within + room:
                    page.following = Cursor(until, offset, within + room)
                    return page
            offset, within = offset + 1, 0
            if len(page.cards) == PAGE_SIZE or lists == _LISTS:
                page.following = Cursor(until, offset) if offset < found["total_entries"] else None
                return page
        if not found["asset_events"] or offset >= found["total_entries"]:
            return page
    page.following = Cursor(until, offset)
    return page


async def find_card(api: AirflowApi, scope: Scope, *, uri: str, name: str) -> Card | None:
    """
    Return one picture of a task instance, or ``None`` where it has not reported it.

    :param uri: of its object in S3; empty where it is in none.
    :param name: the gateway's name of it, see :attr:`Card.name`; empty where ``uri`` says which it is.
    """
    for event in await find_events(api, scope, Status.STORED if uri else Status.BOUGHT):
        for card in await _cards(api, scope, event, Page()):
            if card.facts.get("uri") == uri if uri else card.name == name:
                return card
    return None


async def find_events(api: AirflowApi, scope: Scope, kind: Status, *, limit: int = _EVENTS) -> list[Event]:
    """Return the newest events of a DAG, a run or a task: ``STORED`` for pictures in S3, ``BOUGHT`` for purchases."""
    until = datetime.now(UTC).isoformat()
    found = await _ask(api, scope, kind, until=until, offset=0, limit=limit)
    return read_events(found["asset_events"])


async def _ask(api: AirflowApi, scope: Scope, kind: Status, *, until: str, offset: int, limit: int) -> dict[str, Any]:
    return await api.get(
        "/assets/events",
        **scope.of_events(),
        name_pattern=(PURCHASES if kind is Status.BOUGHT else IMAGES).name,
        timestamp_lte=until,
        order_by="-timestamp",
        limit=limit,
        offset=offset,
    )


async def _cards(api: AirflowApi, scope: Scope, event: Event, page: Page) -> list[Card]:
    """Return all pictures of an event, or those that it lists itself, where the others cannot be read."""
    if not event.has_list:
        return cards_of_event(event)
    try:
        # A manifest has the rows that failed too, and says which run has bought each.
        return await (_of_manifest(scope, event) if "manifest" in event.extra else _of_transfer(api, event))
    except (TransferError, HTTPException) as error:
        reason = error.detail if isinstance(error, HTTPException) else error
        page.notes.append(
            f"{len(event.images)} of {event.count} pictures of {event.source.task_id} are shown: {reason}"
        )
        return cards_of_event(event)


async def _of_manifest(scope: Scope, event: Event) -> list[Card]:
    manifest = event.extra["manifest"]
    read = partial(read_lines, manifest, aws_conn_id=event.extra.get("aws_connection"))
    # What a run has found in place is shown with the run that bought it.
    run = None if scope.run_id else f"{event.source.dag_id}/{event.source.run_id}"
    try:
        lines = await to_thread.run_sync(read, limiter=READING)
        return [card for line in lines if run in {None, line["run_id"]} for card in cards_of_line(event.source, line)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TransferError(f"{manifest} is no manifest of this release ({type(error).__name__}: {error})") from error


async def _of_transfer(api: AirflowApi, event: Event) -> list[Card]:
    returned = await api.xcom(event.source, "return_value")
    objects = returned.get("objects") if isinstance(returned, dict) else None
    if not isinstance(objects, list):
        raise HTTPException(404, "the task's XCom is not there any more, or is kept elsewhere.")
    return [card_of_image(event, held) for held in objects]
