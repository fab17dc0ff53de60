"""Prepared answers for a client, and what a client sends to get them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from gateway.clock import Clock

from airflow_provider_apimart.gateway.client import AsyncGatewayClient, GatewayClient
from airflow_provider_apimart.gateway.response import Response
from airflow_provider_apimart.gateway.throttle import Pace

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
        return httpx.Response(prepared.status_code, headers=prepared.headers, content=prepared.content)

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


@dataclass
class Exchange:
    """
    A client of either kind that never really pauses.

    :param is_async: the kind.
    :param clock: the time in which it pauses.

    ``pace`` is that of the last call, ``notes`` what was said about it.
    """

    settings: GatewaySettings
    is_async: bool
    clock: Clock = field(default_factory=Clock)
    pace: Pace = field(init=False)
    notes: list[str] = field(default_factory=list)

    @property
    def pauses(self) -> list[float]:
        """Seconds that it would have paused."""
        return self.clock.pauses

    def send(self, call: Endpoint[T], transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None) -> T:
        """Send a call through a client of its own."""
        self.pace = Pace(self.settings, clock=self.clock)
        options: dict[str, Any] = {"transport": transport, "pace": self.pace, "notify": self.notes.append}
        if self.is_async:
            return asyncio.run(self._asend(call, options))
        with GatewayClient(self.settings, sleep=self.clock.sleep, **options) as client:
            return client.send(call)

    async def _asend(self, call: Endpoint[T], options: dict[str, Any]) -> T:
        async with AsyncGatewayClient(self.settings, sleep=self.clock.async_sleep, **options) as client:
            return await client.send(call)
