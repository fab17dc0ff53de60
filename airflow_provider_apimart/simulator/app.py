"""Paths, keys and faults: how a request reaches an endpoint and what may happen to it on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.simulator import endpoints, files
from airflow_provider_apimart.simulator.answers import REASONS, Refusal, error_body, html_page, retry_after_header
from airflow_provider_apimart.simulator.call import Call
from airflow_provider_apimart.simulator.connections import Connections, Cut
from airflow_provider_apimart.simulator.control import control_routes
from airflow_provider_apimart.simulator.fault_kinds import REQUEST_FAULTS

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_apimart.simulator.faults import Fault
    from airflow_provider_apimart.simulator.world import World

__all__ = ["build_app"]

_log = logging.getLogger(__name__)
_Handler = Callable[[Call], Awaitable[Response]]
#: The balance says in its own way that a key is wrong; the others need none.
_KEYLESS = ("balance", "image", "pricing")


def build_app(world: World) -> Starlette:
    """Return the ASGI application that serves both gateways and the simulator's own endpoints."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        yield {Connections.STATE_KEY: world.connections}

    def route(path: str, method: str, endpoint: str, handler: _Handler, gateway: Gateway = Gateway.APIMART) -> Route:
        return Route(path, partial(_serve, world, gateway, endpoint, handler), methods=[method])

    def shared(prefix: str, gateway: Gateway) -> list[Route]:
        return [
            route(f"{prefix}/v1/images/generations", "POST", "submit", endpoints.submit, gateway),
            route(f"{prefix}/v1/tasks/batch", "POST", "batch", endpoints.batch, gateway),
            route(f"{prefix}/v1/tasks/{{task_id}}", "GET", "task", endpoints.task, gateway),
            route(f"{prefix}/v1/models", "GET", "models", endpoints.models, gateway),
        ]

    balance_paths = ("/v1/balance", "/v1/user/balance", "/balance", "/user/balance")
    return Starlette(
        routes=[
            *shared("", Gateway.APIMART),
            *shared("/apimaster", Gateway.APIMASTER),
            route("/apimaster/v1/images/generations/async", "POST", "submit", endpoints.submit, Gateway.APIMASTER),
            *(route(path, "GET", "balance", endpoints.balance) for path in balance_paths),
            route("/v1/uploads/images", "POST", "upload", files.upload),
            route("/v1/models/{model}", "GET", "models", endpoints.model),
            route("/api/pricing/model", "GET", "pricing", endpoints.pricing),
            route("/f/image/{name}", "GET", "image", files.image),
            route("/f/upload/{name}", "GET", "image", files.uploaded_file),
            *control_routes(world),
        ],
        exception_handlers={404: _no_such_path},
        lifespan=lifespan,
    )


async def _serve(world: World, gateway: Gateway, endpoint: str, handler: _Handler, request: Request) -> Response:
    if request.client:
        world.connections.count((request.client.host, request.client.port))
    world.statistics.requests[endpoint] += 1
    world.statistics.user_agents.add(request.headers.get("User-Agent", ""))
    body = await _read_json(request) if endpoint in ("submit", "batch") else None
    call = Call(world=world, gateway=gateway, endpoint=endpoint, request=request, body=body)
    with call.afterwards:
        response = await _answer(call, handler)
    response.headers.setdefault("X-Oneapi-Request-Id", uuid4().hex)
    _log.info("%s %s %s %d", gateway, request.method, request.url.path, response.status_code)
    return response


async def _answer(call: Call, handler: _Handler) -> Response:
    """Return the handler's answer, or what the first fault that happens puts before it or in its place."""
    fault = call.world.faults.draw(call.endpoint, REQUEST_FAULTS, call.subjects)
    if fault and fault.name in ("drop_request", "drop_answer", "accept_then_error", "delay"):
        return await _disturb(call, handler, fault)
    return _refuse_by(call, fault) if fault else await _handle(call, handler)


async def _handle(call: Call, handler: _Handler) -> Response:
    try:
        if call.endpoint not in _KEYLESS and not call.is_authorized:
            raise _invalid_key()
        return await handler(call)
    except Refusal as refusal:
        _count_submit(call, "refused")
        return JSONResponse(refusal.body, refusal.status, refusal.headers)


async def _disturb(call: Call, handler: _Handler, fault: Fault) -> Response:
    """Do what was asked, or in one case not, and keep the answer from arriving as it should."""
    if fault.name == "drop_request":
        _count_submit(call, "dropped")
        await call.world.pause(float(fault["seconds"]))
        return Cut(call.world.connections)
    response = await _handle(call, handler)
    if fault.name == "accept_then_error":
        return _error(call, fault)
    await call.world.pause(float(fault["seconds"]))
    return response if fault.name == "delay" else Cut(call.world.connections)


def _refuse_by(call: Call, fault: Fault) -> Response:
    """Return the answer of a fault under which nothing is accepted."""
    _count_submit(call, "refused")
    match fault.name:
        case "html":
            return Response(html_page(int(fault["status"])), int(fault["status"]), media_type="text/html")
        case "redirect":
            return RedirectResponse(str(fault["location"]), int(fault["status"]))
        case "error_in_200":
            shape = "documented" if fault["shape"] == "error" else "code"
            return JSONResponse(error_body(500, shape=shape, code=fault["code"], message=fault["message"]))
        case _:
            return _error(call, fault)


def _error(call: Call, fault: Fault) -> Response:
    """Return the error that a rule describes: by name, by shape, or word for word."""
    reason = REASONS.get(fault["reason"], (500, None, None, None))
    status = int(fault["status"] or reason[0])
    seconds = fault["retry_after"]
    headers = {}
    if seconds is not None:
        headers = retry_after_header(float(seconds), form=fault["retry_after_form"], now=call.world.now())
    if fault.parameters.get("html"):
        return Response(html_page(status), status, headers, media_type="text/html")
    body = fault["body"] or error_body(
        status,
        shape=fault["shape"],
        code=reason[1] if fault["code"] is None else fault["code"],
        type_=fault["type"] or reason[2],
        message=fault["message"] or reason[3],
        retry_after=seconds,
    )
    return JSONResponse(body, status, headers)


def _invalid_key() -> Refusal:
    request_id = uuid4().hex
    message = f"invalid API key (request id: {request_id})"
    return Refusal(401, error_body(401, shape="empty", message=message), {"X-Oneapi-Request-Id": request_id})


def _count_submit(call: Call, outcome: str) -> None:
    if call.endpoint == "submit":
        call.world.statistics.submits[outcome] += 1


async def _no_such_path(request: Request, _: Exception) -> Response:
    refusal = endpoints.not_found(request)
    return JSONResponse(refusal.body, refusal.status)


async def _read_json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError:
        return None
