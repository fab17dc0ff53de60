"""Prepared answers for a client, and what a client sends to get them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx
from gateway.clock import Clock

from airflow_provider_apimart.gateway.client import MAX_BODY_BYTES, GatewayClient
from airflow_provider_apimart.gateway.response import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.gateway.endpoints import Endpoint
    from airflow_provider_apimart.gateway.settings import GatewaySettings

T = TypeVar("T")


def answer(payload: Any = None, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(status, httpx.Headers(headers), json.dumps(payload))


def text_answer(text: str, status: int = 200) -> Response:
    """An answer whose body is this text, whatever it is."""
    return Response(status, httpx.Headers(), text)


def html(status: int = 200) -> httpx.Response:
    return httpx.Response(status, html="<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head></html>")


def accepted(task_id: str = "task_1") -> httpx.Response:
    """The classic answer to a submit."""
    return httpx.Response(200, json={"code": 200, "data": [{"status": "submitted", "task_id": task_id}]})


def error_response(
    status: int, code: Any = None, message: str = "no", *, http: int | None = None, **headers: str
) -> httpx.Response:
    """The documented error for a status; ``http`` where another HTTP status carries it."""
    body = {"error": {"code": status if code is None else code, "message": message, "type": "apimart_error"}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(http or status, json=body, headers=named)


class Script(httpx.MockTransport):
    """
    Gives prepared answers in turn, the last one again and again; an exception among them is raised.

    ``requests`` keeps what was sent, ``is_closed`` whether the client has let go of it.
    """

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        super().__init__(self._next)
        self.requests: list[httpx.Request] = []
        self.is_closed = False
        self._answers = list(answers)

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        prepared = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(prepared, Exception):
            raise prepared
        raw = cast("httpx.SyncByteStream", prepared.stream)  # As sent: the content is decoded.
        return httpx.Response(prepared.status_code, headers=prepared.headers, content=b"".join(raw))

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Exchange:
    """
    A client that never really pauses, in a new event loop for each request.

    :param clock: the time in which it pauses.

    ``client`` is that of the last request, ``notes`` the messages about its limits.
    """

    settings: GatewaySettings
    clock: Clock = field(default_factory=Clock)
    client: GatewayClient = field(init=False)
    notes: list[str] = field(default_factory=list)
    max_body_bytes: int = MAX_BODY_BYTES

    @property
    def pauses(self) -> list[float]:
        """Seconds that it would have paused."""
        return self.clock.pauses

    def send(self, endpoint: Endpoint[T], transport: httpx.AsyncBaseTransport | None = None) -> T:
        """Send a request through a client of its own."""
        return asyncio.run(self._send(endpoint, transport))

    async def _send(self, endpoint: Endpoint[T], transport: httpx.AsyncBaseTransport | None) -> T:
        self.client = GatewayClient(
            self.settings,
            transport=transport,
            clock=self.clock,
            sleep=self.clock.async_sleep,
            notify=self.notes.append,
            max_body_bytes=self.max_body_bytes,
        )
        async with self.client:
            return await self.client.send(endpoint)
