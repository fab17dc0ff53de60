"""The pages as one application. Each of its routes asks for a login first."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_provider_apimart.plugins.web.balance import router as balance
from airflow_provider_apimart.plugins.web.gallery import router as gallery
from airflow_provider_apimart.plugins.web.images import router as images
from airflow_provider_apimart.plugins.web.picture import router as picture
from airflow_provider_apimart.plugins.web.rendering import render
from airflow_provider_apimart.plugins.web.spend import router as spend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["create_app"]

_STATIC: Final = {
    file.name: file.read_bytes() for file in (files("airflow_provider_apimart.plugins.web") / "static").iterdir()
}
_CONTENT_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain"}
#: Nothing but what this application serves itself, inside Airflow's own pages. It has the session of whoever looks,
#: so that a script that somebody smuggles into a prompt must not run.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app() -> FastAPI:
    """Return the application, to be mounted in Airflow's."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    for router in (gallery, picture, images, spend, balance):
        app.include_router(router)
    app.add_api_route("/static/{name}", static_file, methods=["GET"])
    app.add_exception_handler(StarletteHTTPException, _show_error)
    app.middleware("http")(_with_headers)
    return app


async def static_file(request: Request, name: str) -> Response:
    """Return a style sheet or a script of ours, unless the browser has the one of this release."""
    if name not in _STATIC:
        raise HTTPException(404, "There is no such file.")
    content, content_type = _STATIC[name], _CONTENT_TYPES[f".{name.rpartition('.')[2]}"]
    # The browser keeps it, and asks each time whether it is still that of the page.
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=content_type, headers=headers)


async def _show_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101 - what it was registered for
    return render(request, "error.html", status=error.status_code, reason=error.detail)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update({"Cache-Control": "private, no-store", **_HEADERS, **response.headers})
    return response
