"""One picture in full, with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query, Request

from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi
from airflow_provider_apimart.plugins.web.collection import find_card
from airflow_provider_apimart.plugins.web.live_rows import find_live_rows
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.scope import Scope, ScopeQuery
from airflow_provider_apimart.plugins.web.under_way import find_instance

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse

    from airflow_provider_apimart.plugins.web.card import Card

__all__ = ["router"]

router = APIRouter()


@router.get("/picture")
async def show_picture(
    request: Request,
    scope: ScopeQuery,
    uri: str = "",
    picture: str = "",
    back: Annotated[str, Query(description="query of the gallery's page that led here")] = "",
) -> HTMLResponse:
    """Show a picture, whether it is in S3 already or not."""
    async with AirflowApi(request) as api:
        await api.require_access(scope)
        card = await find_card(api, scope, uri=uri, name=picture) or await _live(api, scope, uri)
    if card is None:
        raise HTTPException(404, "The task has not reported this picture.")
    # Parsed and written anew, so that it can lead nowhere else.
    return render(request, "picture.html", card=card, back=dict(parse_qsl(back)) or scope.query())


async def _live(api: AirflowApi, scope: Scope, uri: str) -> Card | None:
    instance = await find_instance(api, scope) if uri else None
    rows = await find_live_rows(scope, instance["rendered_fields"]) if instance else []
    return next((card for card in rows if card.facts.get("uri") == uri), None)
