"""What each documented endpoint answers when nothing goes wrong on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from airflow_provider_apimart.gateway.catalogue import CATALOGUE, Gateway
from airflow_provider_apimart.simulator.answers import Refusal, error_body
from airflow_provider_apimart.simulator.fault_kinds import TASK_FAULTS
from airflow_provider_apimart.simulator.pricing import CREDITS_PER_DOLLAR, price_sheet
from airflow_provider_apimart.simulator.shapes import batch_answer, submit_answer
from airflow_provider_apimart.simulator.validation import read_order

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_apimart.simulator.call import Call

__all__ = ["balance", "batch", "model", "models", "not_found", "pricing", "submit", "task"]

_VERSION_HEADER = "X-APIMart-Response-Version"


async def submit(call: Call) -> Response:
    """Accept a paid request, or say why not."""
    world, now = call.world, call.world.now()
    world.limit_submits()
    key = call.idempotency_key if world.settings.idempotency else None
    if key is None:
        status, answer = await _accept(call, now)
        return JSONResponse(answer, status)
    scope = (call.request.headers.get("Authorization", ""), call.request.url.path)
    record = world.store.idempotency.begin(scope, key, call.body, now)
    if record.answer is not None:
        world.statistics.submits["replayed"] += 1
        status, answer = record.answer
        return JSONResponse(answer, status, {"Idempotency-Replayed": "true"})
    call.afterwards.callback(record.finish)
    try:
        record.answer = await _accept(call, now)
    except Refusal:
        world.store.idempotency.forget(scope, key)
        raise
    status, answer = record.answer
    return JSONResponse(answer, status)


async def _accept(call: Call, now: float) -> tuple[int, Any]:
    world = call.world
    order = read_order(call.gateway, call.body)
    faults = world.faults.draw_all("submit", TASK_FAULTS, call.subjects[0])
    accepted = world.store.accept(order, call.body, idempotency_key=call.idempotency_key, faults=faults, now=now)
    world.statistics.submits["accepted"] += 1
    shape = str(faults["submit_shape"]["shape"]) if "submit_shape" in faults else "classic"
    if _VERSION_HEADER in call.request.headers:
        shape = "versioned"
    plain_apimaster = call.gateway is Gateway.APIMASTER and not call.request.url.path.endswith("/async")
    if plain_apimaster and world.settings.apimaster_synchronous:
        shape = "synchronous"
    if shape == "synchronous":
        await world.pause(accepted.duration)
    return submit_answer(shape, accepted, call.base_url)


async def task(call: Call) -> Response:
    """Show one task."""
    found = call.world.store.find(call.gateway, call.request.path_params["task_id"])
    unknown = call.world.faults.draw("task", {"task_unknown"}, call.subjects)
    if unknown:
        raise Refusal.documented(int(unknown["status"]), str(unknown["message"]))
    if found is None:
        raise Refusal.documented(400, "无效的任务ID")
    found.polls += 1
    return JSONResponse({"code": 200, "data": call.show(found)})


async def batch(call: Call) -> Response:
    """Show many tasks; those that are not known are left out."""
    world = call.world
    if world.faults.draw("batch", {"batch_missing"}, call.subjects):
        raise not_found(call.request)
    asked = call.body.get("task_ids") if isinstance(call.body, Mapping) else None
    if not isinstance(asked, list) or not asked:
        raise Refusal.documented(400, "task_ids required")
    if world.settings.batch_limit is not None and len(asked) > world.settings.batch_limit:
        raise Refusal.documented(400, f"max {world.settings.batch_limit} task_ids per batch")
    found = {str(task_id): world.store.find(call.gateway, task_id) for task_id in asked}
    for known in filter(None, found.values()):
        known.polls += 1
    fault = world.faults.draw("batch", {"batch_shape"}, call.subjects)
    views = {task_id: call.show(known) if known else None for task_id, known in found.items()}
    return JSONResponse(batch_answer(str(fault["shape"]) if fault else "list", views))


async def balance(call: Call) -> Response:
    """Show what is left. Failures come with HTTP 200, as at the vendor."""
    store, settings = call.world.store, call.world.settings
    if "Authorization" not in call.request.headers:
        return JSONResponse({"success": False, "message": "No Authorization header"})
    if not call.is_authorized:
        return JSONResponse({"success": False, "message": "Failed to get token info"})
    remaining = -1 if store.remaining is None else store.remaining
    return JSONResponse(
        {
            "success": True,
            "remain_balance": remaining,
            "used_balance": store.spent,
            "remain_credits": -1 if store.remaining is None else round(remaining * CREDITS_PER_DOLLAR, 5),
            "used_credits": round(store.spent * CREDITS_PER_DOLLAR, 5),
            "unlimited_quota": settings.balance is None,
        }
    )


async def models(call: Call) -> Response:
    """List the models of the catalogue."""
    return JSONResponse({"success": True, "object": "list", "data": _models(call.gateway)})


async def model(call: Call) -> Response:
    """Show one model."""
    wanted = call.request.path_params["model"]
    for known in _models(call.gateway):
        if known["id"] == wanted:
            return JSONResponse({"success": True, "data": known})
    raise Refusal.documented(404, f"The model '{wanted}' does not exist")


async def pricing(call: Call) -> Response:
    """Show what a model costs. Public at the vendor: no key is asked for."""
    return JSONResponse({"success": True, "data": price_sheet(call.request.query_params.get("model", ""))})


def not_found(request: Request) -> Refusal:
    """Return the answer to a path that does not exist."""
    message = f"Invalid URL ({request.method} {request.url.path})"
    return Refusal(404, error_body(404, shape="empty", message=message))


def _models(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        {
            "id": spec.model,
            "object": "model",
            "created": 1_626_777_600,
            "owned_by": "custom",
            "supported_endpoint_types": ["image-generation"],
        }
        for spec in CATALOGUE
        if spec.gateway is gateway
    ]
