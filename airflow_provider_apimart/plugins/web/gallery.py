"""The gallery: the pictures of a DAG, a run or a task."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Request

from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_event
from airflow_provider_apimart.plugins.web.collection import PAGE_SIZE, Page, read_page
from airflow_provider_apimart.plugins.web.copies import with_copies
from airflow_provider_apimart.plugins.web.event_queries import find_events
from airflow_provider_apimart.plugins.web.live_rows import find_live_rows
from airflow_provider_apimart.plugins.web.paging import START, Cursor, read_cursor
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.scope import Scope, ScopeQuery
from airflow_provider_apimart.plugins.web.under_way import UnderWay, find_instance, find_under_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fastapi.responses import HTMLResponse

__all__ = ["router"]

router = APIRouter()

#: Tasks, and purchases without a copy, that are shown beside the pictures.
_BESIDE: Final = 12
_NONE: Final = UnderWay([], 0, None)


@dataclass(frozen=True)
class Question:
    """
    What is asked for.

    :param status: ``None`` for all.
    :param text: that is looked for; empty for all.
    :param cursor: where the page of pictures begins.
    :param tasks: place of the first of the tasks.
    """

    scope: Scope
    status: Status | None
    text: str
    cursor: Cursor
    tasks: int

    @property
    def is_beginning(self) -> bool:
        """Whether nobody has turned a page yet."""
        return self.cursor == START and not self.tasks

    def keeps(self, card: Card) -> bool:
        """Whether a picture is looked for; a purchase counts as one, wherever its pictures are."""
        has_status = self.status in {None, Status.BOUGHT, card.status}
        return has_status and (not self.text or card.matches(self.text))

    @property
    def keep(self) -> Callable[[Card], bool] | None:
        """The same, or ``None`` where every picture is."""
        return self.keeps if self.text or self.status not in {None, Status.BOUGHT} else None


@dataclass
class Gallery:
    """
    What the page shows.

    :param kind: which pictures ``page`` lists.
    :param uncopied: purchases of which no picture is in S3.
    :param running: tasks that are at work.
    :param failed: tasks that have failed.
    """

    kind: Status = Status.STORED
    page: Page = field(default_factory=Page)
    uncopied: list[Card] = field(default_factory=list)
    running: UnderWay = _NONE
    failed: UnderWay = _NONE

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.page.cards or self.uncopied or self.running.cards or self.failed.cards)


@router.get("/gallery")
async def show_gallery(
    request: Request,
    scope: ScopeQuery,
    *,
    status: str = "",
    text: str = "",
    after: str = "",
    tasks: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> HTMLResponse:
    """
    Show a page of pictures, with the tasks that are still at work and those that have failed.

    :param after: where the page begins, as the page before it says.
    :param tasks: likewise for the tasks.
    """
    chosen = Status(status) if status in set(Status) else None
    question = Question(scope, chosen, text.strip(), read_cursor(after), tasks)
    async with AirflowApi(request) as api:
        await api.require_access(scope)
        gallery = await _gather(api, question)
    return render(
        request,
        "gallery.html",
        gallery=gallery,
        question=question,
        scope=scope,
        text=question.text,
        is_filtered=bool(chosen or question.text or not question.is_beginning),
        # What leads back here from a picture.
        here={**scope.query(), "status": status, "text": text, "after": after},
    )


async def _gather(api: AirflowApi, question: Question) -> Gallery:
    if question.status is Status.RUNNING:
        return Gallery(running=await _tasks(api, question, Status.RUNNING, limit=PAGE_SIZE))
    if question.tasks:
        return Gallery(failed=await _tasks(api, question, Status.FAILED, limit=PAGE_SIZE))
    if question.status is Status.BOUGHT:
        return await _bought(api, question)
    gallery = Gallery(page=await _page(api, question, Status.STORED))
    if not question.is_beginning:
        return gallery
    if question.status is None:
        gallery.running = await _tasks(api, question, Status.RUNNING, limit=_BESIDE)
        if gallery.page.is_empty:
            gallery = replace(await _bought(api, question), running=gallery.running)
        else:
            gallery.uncopied = await _uncopied(api, question, known=gallery.page.cards)
    if question.status in {None, Status.FAILED}:
        limit = PAGE_SIZE if question.status else _BESIDE
        gallery.failed = await _tasks(api, question, Status.FAILED, limit=limit)
    if gallery.page.is_empty and question.scope.is_task:
        gallery.page = await _live(api, question)
    return gallery


async def _page(api: AirflowApi, question: Question, kind: Status) -> Page:
    return await read_page(api, question.scope, kind, cursor=question.cursor, keep=question.keep)


async def _bought(api: AirflowApi, question: Question) -> Gallery:
    """Return all purchases, those that were copied with their copies."""
    page = await _page(api, question, Status.BOUGHT)
    page.cards = await with_copies(api, page.cards)
    return Gallery(Status.BOUGHT, page)


async def _uncopied(api: AirflowApi, question: Question, *, known: Iterable[Card]) -> list[Card]:
    """Return the purchases, among the newest, of which no copy was reported."""
    events = await find_events(api, question.scope, Status.BOUGHT)
    bought = [card for event in events for card in cards_of_event(event) if question.keeps(card)]
    found = await with_copies(api, bought[:PAGE_SIZE], known=known)
    return [card for card in found if card.status is Status.BOUGHT][:_BESIDE]


async def _tasks(api: AirflowApi, question: Question, status: Status, *, limit: int) -> UnderWay:
    return await find_under_way(api, question.scope, status, limit=limit, offset=question.tasks, text=question.text)


async def _live(api: AirflowApi, question: Question) -> Page:
    """Return what a dataset that has not come to its end has bought so far."""
    instance = await find_instance(api, question.scope)
    return await find_live_rows(question.scope, instance["rendered_fields"], question.keep) if instance else Page()
