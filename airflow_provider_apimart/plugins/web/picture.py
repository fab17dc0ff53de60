"""One picture in full, with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query, Request

from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.card import Card, Status
from airflow_provider_apimart.plugins.web.collection import find_card
from airflow_provider_apimart.plugins.web.copies import with_copies
from airflow_provider_apimart.plugins.web.live_rows import find_live_rows
from airflow_provider_apimart.plugins.web.named import Named, NamedQuery
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.under_way import find_instance

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse

__all__ = ["router"]

router = APIRouter()


@router.get("/picture")
async def show_picture(
    request: Request,
    named: NamedQuery,
    back: Annotated[str, Query(description="query of the gallery's page that led here")] = "",
) -> HTMLResponse:
    """Show a picture, whether it is in S3 already or not."""
    async with AirflowApi(request) as api:
        await api.require_access(named.scope)
        card = await _find(api, named)
    if card is None:
        raise HTTPException(404, "The task has not reported this picture.")
    # Parsed and written anew, so that it can lead nowhere else.
    return render(request, "picture.html", card=card, back=dict(parse_qsl(back)) or named.scope.query())


async def _find(api: AirflowApi, named: Named) -> Card | None:
    card = await find_card(api, named.scope, uri=named.uri, name=named.name)
    if card is None:
        return await _live(api, named)
    if card.status is Status.BOUGHT:
        (card,) = await with_copies(api, [card])
    return card


async def _live(api: AirflowApi, named: Named) -> Card | None:
    instance = await find_instance(api, named.scope) if named.uri else None
    if instance is None:
        return None
    page = await find_live_rows(named.scope, instance["rendered_fields"], lambda it: it.facts.get("uri") == named.uri)
    return next(iter(page.cards), None)
