"""What a finished request comes to: the documented XCom value, with warnings, or an error. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.exceptions import TaskTimeoutError
from airflow_provider_apimart.gateway.cost import total
from airflow_provider_apimart.gateway.response import excerpt
from airflow_provider_apimart.gateway.task import task_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.exceptions import TaskNotFoundError
    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.task import Task

__all__ = ["conclude"]


def conclude(
    task_ids: Sequence[str],
    tasks: Mapping[str, Task],
    unknown: Mapping[str, TaskNotFoundError],
    *,
    gateway: Gateway,
    request: ImageRequest,
    waited: float,
    now: float,
) -> tuple[dict[str, Any], list[str]]:
    """
    Return the XCom value and what the log should warn of.

    One picture is enough for a result: those that are there must not be lost over those that are not.

    :param task_ids: everything that was bought, in order.
    :param tasks: those that are finished, by id.
    :param unknown: those that the gateway does not know any more.
    :param waited: seconds, for the message of a timeout.
    :param now: Unix seconds, to tell URLs that have died.
    :raises TaskTimeoutError: when a task still runs.
    :raises ApimartError: why there is not a single picture.
    """
    running = [task_id for task_id in task_ids if task_id not in tasks and task_id not in unknown]
    if running:
        raise TaskTimeoutError(
            f"Still running after {waited:g} s: task {', '.join(running)}. It goes on at the gateway and may be "
            "charged. A retry asks after it and buys nothing, where the purchase is noted (Airflow 3.3, durable).",
            task_id=running[0],
        )
    finished = [tasks[task_id] for task_id in task_ids if task_id in tasks]
    errors = [error for error in map(task_error, finished) if error is not None] + list(unknown.values())
    result = _xcom(task_ids, finished, gateway=gateway, request=request)
    if not result["delivered"]:
        raise errors[0]
    warnings = [str(error) for error in errors]
    warnings += [
        f"The URL of picture {image['index']} of task {image['task_id']} has expired. It was paid for; "
        "ApimartToS3Operator asks the gateway for a fresh one, once."
        for image in result["images"]
        if image["expires_at"] is not None and image["expires_at"] <= now
    ]
    if result["status"] == "partial":
        warnings.append(f"{result['delivered']} of {request.n} pictures were delivered; cost: {result['cost']} USD")
    return result, warnings


def _xcom(
    task_ids: Sequence[str], finished: Sequence[Task], *, gateway: Gateway, request: ImageRequest
) -> dict[str, Any]:
    images = [
        {"task_id": task.task_id, "index": index, "url": image.url, "expires_at": image.expires_at}
        for task in finished
        for index, image in enumerate(task.images)
    ]
    # What a task that the gateway no longer knows has cost is not known, and neither is a sum with it.
    forgotten = [None] * (len(task_ids) - len(finished))
    charged = [task for task in finished if not task.is_free]
    return {
        "schema_version": 1,
        "status": "completed" if len(images) >= request.n else "partial",
        "gateway": str(gateway),
        "model": request.model,
        "prompt": excerpt(request.prompt),
        "size": request.size,
        "resolution": request.resolution,
        "quality": request.quality,
        "task_ids": list(task_ids),
        "requested": request.n,
        "delivered": len(images),
        "images": images,
        "cost": total([*(task.cost for task in charged), *forgotten]),
        "credits_cost": total([*(task.credits_cost for task in charged), *forgotten]),
        "currency": "USD",
        "tasks": [
            {
                "task_id": task.task_id,
                "status": task.status,
                "cost": task.cost,
                "credits_cost": task.credits_cost,
                "created": task.created,
                "completed": task.completed,
                "actual_time": task.actual_time,
            }
            for task in finished
        ],
    }
