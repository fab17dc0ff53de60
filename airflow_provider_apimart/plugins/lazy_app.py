"""An ASGI application that is loaded by its first request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

__all__ = ["AIRFLOW", "LazyApp"]

#: Where the scope holds Airflow's own application, to which the pages address their questions.
AIRFLOW: Final = "apimart.airflow"

_UNAVAILABLE: Final = b"The APIMart pages do not work with this release of Airflow. The API server's log says why."


class LazyApp:
    """
    Stands in for the pages until somebody asks for one.

    Where they cannot be loaded, because this Airflow's way to authenticate is not the one that they know, nothing
    is shown to anybody.
    """

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        try:
            app = self._app = self._app or _load()
        except Exception:
            # Whatever it is, the rest of Airflow must go on, and the pages must stay closed.
            logging.getLogger(__name__).exception("The APIMart pages could not be loaded")
            await _refuse(send)
            return
        # Starlette names the application that it hands a request on from.
        scope[AIRFLOW] = scope["app"]
        await app(scope, receive, send)


def _load() -> Callable[..., Awaitable[None]]:
    from airflow_provider_apimart.plugins.web.app import create_app  # noqa: PLC0415 - loads FastAPI

    return create_app()


async def _refuse(send: Callable[..., Any]) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _UNAVAILABLE})
