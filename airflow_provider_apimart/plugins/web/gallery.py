"""The gallery: the pictures of a DAG, a run or a task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request

from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_event
from airflow_provider_apimart.plugins.web.collection import PAGE_SIZE, Page, find_events, read_page
from airflow_provider_apimart.plugins.web.live_rows import find_live_rows
from airflow_provider_apimart.plugins.web.paging import START, Cursor, read_cursor
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.scope import Scope, ScopeQuery
from airflow_provider_apimart.plugins.web.under_way import UnderWay, find_instance, find_under_way

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.responses import HTMLResponse

__all__ = ["router"]

router = APIRouter()

#: Tasks at work that are shown above the pictures.
_AT_WORK: Final = 12
_NONE: Final = UnderWay([], 0)


@dataclass
class Gallery:
    """
    What the page shows.

    :param chosen: the status that was asked for; ``None`` for all.
    :param kind: which pictures ``page`` lists.
    :param running: tasks that are at work.
    :param failed: tasks that have failed.
    """

    chosen: Status | None
    kind: Status
    page: Page
    running: UnderWay = field(default=_NONE)
    failed: UnderWay = field(default=_NONE)

    @property
    def status(self) -> str:
        """The status by which later pages go on with the same list."""
        is_default = self.chosen is None and self.kind is Status.STORED
        return "" if is_default else str(self.chosen or self.kind)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.page.cards or self.running.cards or self.failed.cards)


@router.get("/gallery")
async def show_gallery(
    request: Request, scope: ScopeQuery, status: str = "", text: str = "", after: str = ""
) -> HTMLResponse:
    """Show a page of pictures, with the tasks that are still at work."""
    chosen = Status(status) if status in set(Status) else None
    text = text.strip()
    async with AirflowApi(request) as api:
        await api.require_access(scope)
        gallery = await _gather(api, scope, chosen, text, read_cursor(after))
    return render(
        request,
        "gallery.html",
        gallery=gallery,
        scope=scope,
        text=text,
        is_filtered=bool(chosen or text or after),
        # What leads back here from a picture.
        here={**scope.query(), "status": status, "text": text, "after": after},
    )


async def _gather(api: AirflowApi, scope: Scope, chosen: Status | None, text: str, cursor: Cursor) -> Gallery:
    if chosen is Status.RUNNING:
        return Gallery(chosen, chosen, Page(), running=await find_under_way(api, scope, chosen, limit=PAGE_SIZE))
    if chosen is Status.FAILED:
        failed = await find_under_way(api, scope, chosen, limit=PAGE_SIZE) if cursor == START else _NONE
        rows = await read_page(api, scope, Status.STORED, cursor=cursor, keep=_keeper(chosen, text))
        return Gallery(chosen, Status.STORED, rows, failed=failed)
    if chosen is not None:
        page = await read_page(api, scope, chosen, cursor=cursor, keep=_keeper(chosen, text))
        return Gallery(chosen, chosen, await _with_copies(api, scope, page))
    keep = _keeper(None, text)
    gallery = Gallery(None, Status.STORED, await read_page(api, scope, Status.STORED, cursor=cursor, keep=keep))
    if cursor != START:
        return gallery
    gallery.running = await find_under_way(api, scope, Status.RUNNING, limit=_AT_WORK)
    if gallery.page.is_empty:
        page = await read_page(api, scope, Status.BOUGHT, cursor=cursor, keep=keep)
        gallery = replace(gallery, kind=Status.BOUGHT, page=await _with_copies(api, scope, page))
    if gallery.page.is_empty and scope.is_task:
        gallery.page = await _live(api, scope, text)
    return gallery


def _keeper(chosen: Status | None, text: str) -> Callable[[Card], bool] | None:
    """Return which of the pictures are looked for; a purchase counts as one, wherever its pictures are."""
    status = None if chosen is Status.BOUGHT else chosen
    if status is None and not text:
        return None
    return lambda card: (status is None or card.status is status) and (not text or card.matches(text))


async def _with_copies(api: AirflowApi, scope: Scope, page: Page) -> Page:
    """Return purchases with the objects that another task of the same run has made of them."""
    if scope.run_id is None or not page.cards:
        return page
    copies = await _copies(api, Scope(scope.dag_id, scope.run_id))
    if scope.map_index is not None and not all(card.name in copies for card in page.cards):
        # Of ten thousand mapped copies it is most often the one with the same index.
        copies |= await _copies(api, replace(scope, task_id=None))
    page.cards = [copies.get(card.name, card) for card in page.cards]
    return page


async def _copies(api: AirflowApi, scope: Scope) -> dict[str, Card]:
    events = await find_events(api, scope, Status.STORED)
    return {card.name: card for event in events for card in cards_of_event(event)}


async def _live(api: AirflowApi, scope: Scope, text: str) -> Page:
    instance = await find_instance(api, scope)
    rows = await find_live_rows(scope, instance["rendered_fields"]) if instance else []
    return Page([card for card in rows if not text or card.matches(text)])
