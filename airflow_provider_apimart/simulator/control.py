"""The simulator's own endpoints, under ``/simulator/``: statistics, tasks, faults, reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from airflow_provider_apimart.simulator.tasks import state_at, task_cost

if TYPE_CHECKING:
    from starlette.requests import Request

    from airflow_provider_apimart.simulator.world import World

__all__ = ["control_routes", "list_tasks", "statistics"]


def statistics(world: World) -> dict[str, Any]:
    """Return everything that has been counted."""
    return world.statistics.as_json(
        world.store.tasks.values(),
        now=world.now(),
        connections=world.connections.used,
        faults_fired=dict(world.faults.fired),
    )


def list_tasks(world: World) -> list[dict[str, Any]]:
    """Return every task, the oldest first. ``cost`` is what the task costs in the end."""
    now = world.now()
    return [
        {
            "id": task.id,
            "gateway": task.order.gateway.value,
            "model": task.order.model,
            "prompt": task.order.prompt,
            "body": task.body,
            "idempotency_key": task.idempotency_key,
            "status": state_at(task, now),
            "cost": task_cost(task),
            "created": task.created,
            "duration": task.duration,
            "polls": task.polls,
            "faults": sorted(task.faults),
        }
        for task in world.store.tasks.values()
    ]


def control_routes(world: World) -> list[Route]:
    """Return the routes of the simulator's own endpoints."""

    async def show_statistics(_: Request) -> Response:
        return JSONResponse(statistics(world))

    async def show_tasks(_: Request) -> Response:
        return JSONResponse(list_tasks(world))

    async def show_faults(_: Request) -> Response:
        return JSONResponse(world.faults.as_json())

    async def add_faults(request: Request) -> Response:
        try:
            rules = await request.json()
            world.faults.add(*(rules if isinstance(rules, list) else [rules]))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(world.faults.as_json())

    async def clear_faults(_: Request) -> Response:
        world.faults.clear()
        return JSONResponse([])

    async def reset(_: Request) -> Response:
        world.reset()
        return JSONResponse(statistics(world))

    return [
        Route("/simulator/stats", show_statistics, methods=["GET"]),
        Route("/simulator/tasks", show_tasks, methods=["GET"]),
        Route("/simulator/faults", show_faults, methods=["GET"]),
        Route("/simulator/faults", add_faults, methods=["POST"]),
        Route("/simulator/faults", clear_faults, methods=["DELETE"]),
        Route("/simulator/reset", reset, methods=["POST"]),
    ]
