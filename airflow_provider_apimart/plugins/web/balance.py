"""What is left to spend, asked of the gateway when somebody wants to know."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import quote

from airflow.exceptions import AirflowException  # type: ignore[attr-defined] # Airflow 3.1 has it only here.
from anyio import CapacityLimiter, to_thread
from cachetools import TTLCache
from fastapi import APIRouter, HTTPException, Request, status
from fastapi.responses import JSONResponse

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    RateLimitError,
)
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

__all__ = ["Told", "find_balance", "may_ask", "router", "show_balance"]

router = APIRouter()

#: Seconds for which an answer is good: the gateway is asked once in them, however many people look.
_GOOD_FOR: Final = 60
#: Seconds after which the page gives up. The client itself may try again for minutes, as tasks need it.
_PATIENCE: Final = 20
#: What can stand in the path of the API. Anything else would not be found for another reason than that it is not there.
_NAME: Final = re.compile(r"(?=.*\w)[^/]{1,250}")
_THREADS: Final = CapacityLimiter(4)

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """
    What there is to say about a balance. It holds no text of the gateway's, which might repeat the key.

    :param message: for people.
    :param at: Unix seconds.
    :param status: HTTP status.
    """

    message: str
    at: float
    status: int = status.HTTP_200_OK

    @property
    def is_good(self) -> bool:
        """Whether it is the balance itself."""
        return self.status == status.HTTP_200_OK


#: The question that was last put to each connection: those who come while it is under way wait for the same answer.
_QUESTIONS: Final[TTLCache[str, asyncio.Task[Told]]] = TTLCache(maxsize=256, ttl=_GOOD_FOR)


async def may_ask(api: AirflowApi, conn_id: str) -> bool:
    """Whether who asks may read a connection by Airflow's own API."""
    try:
        await _require_access(api, conn_id)
    except HTTPException:
        return False
    return True


@router.get("/balance")
async def show_balance(request: Request, conn_id: str) -> JSONResponse:
    """Tell the balance of a connection, to those who may read that connection."""
    try:
        async with AirflowApi(request) as api:
            await _require_access(api, conn_id)
    except HTTPException as refusal:
        return JSONResponse({"message": refusal.detail}, refusal.status_code)
    told = await find_balance(conn_id)
    at = datetime.fromtimestamp(told.at, UTC).isoformat(timespec="seconds")
    return JSONResponse({"message": told.message, "at": at}, told.status)


async def find_balance(conn_id: str, *, patience: float = _PATIENCE) -> Told:
    """
    Return the balance of a connection, from this minute.

    :param patience: seconds to wait for the gateway. Its answer, when it comes later, is there for whoever asks next.
    """
    asked: asyncio.Task[Told] | None = _QUESTIONS.get(conn_id)
    if asked is None or (asked.done() and (asked.exception() or not asked.result().is_good)):
        asked = _QUESTIONS[conn_id] = asyncio.create_task(to_thread.run_sync(partial(_ask, conn_id), limiter=_THREADS))
    try:
        return await asyncio.wait_for(asyncio.shield(asked), patience)
    except TimeoutError:
        return Told("The gateway has not answered yet. Ask again in a minute.", _now(), 504)


async def _require_access(api: AirflowApi, conn_id: str) -> None:
    """
    Refuse those who may not read a connection.

    The API looks at rights first. So it answers "not found" only to those who may read a connection of that name, which
    then is none of Airflow's database: it may be one of the environment, or of a secrets backend.

    :raises HTTPException: 401 or 403, and 404 for a name that the API cannot be asked for.
    """
    if not _NAME.fullmatch(conn_id):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Airflow cannot be asked for a connection of such a name.")
    if await api.find(f"/connections/{quote(conn_id, safe='')}") is None:
        # That the API knows connections at all shows that it was the connection which it has not found.
        await api.get("/connections", limit=1)


def _ask(conn_id: str) -> Told:
    now = _now()
    try:
        if ApimartHook.get_connection(conn_id).conn_type != ApimartHook.conn_type:
            return Told("This is no connection of type apimart.", now, 404)
        with ApimartHook(conn_id) as hook:
            balance = hook.get_balance()
    except AirflowException:
        return Told("The API server finds no connection of this name.", now, 404)
    except ApimartError as error:
        _log.warning("The balance of connection %r is not known: %s", conn_id, error)
        return Told(_reason(error), now, 502)
    if balance.remaining is None:
        return Told("No limit", now)
    return Told(f"{balance.remaining:,.2f} left", now)


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _reason(error: ApimartError) -> str:
    match error:
        case ConfigurationError():
            return "The connection cannot be used: the API server's log says why."
        case AuthenticationError():
            return "The gateway refuses the connection's key."
        case NotFoundError():
            return "This gateway tells no balance."
        case RateLimitError():
            return "The gateway has too much to do. Ask again in a minute."
        case ConnectionFailedError():
            return "The API server could not reach the gateway."
        case _:
            # A wrong key is such a case: APIMart answers HTTP 200, and that it knows nothing of the token.
            return "The gateway did not tell the balance. Is the key right? The API server's log has its words."
