"""What the operators return: tasks as the documented XCom value. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.gateway.money import total
from airflow_provider_apimart.gateway.task import TaskState, task_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_apimart.exceptions import ApimartError
    from airflow_provider_apimart.gateway.catalogue import Gateway
    from airflow_provider_apimart.gateway.task import Task

__all__ = ["errors_of", "image_result"]


def image_result(tasks: Sequence[Task], *, gateway: Gateway, model: str, requested: int) -> dict[str, Any]:
    """
    Return the XCom value for finished tasks.

    :param requested: number of pictures that were asked for.
    """
    images = [
        {"task_id": task.task_id, "index": index, "url": image.url, "expires_at": image.expires_at}
        for task in tasks
        for index, image in enumerate(task.images)
    ]
    return {
        "schema_version": 1,
        "status": "completed" if len(images) >= requested else "partial",
        "gateway": str(gateway),
        "model": model,
        "task_ids": [task.task_id for task in tasks],
        "requested": requested,
        "delivered": len(images),
        "images": images,
        "cost": total(task.cost for task in tasks if _counts(task)),
        "credits_cost": total(task.credits_cost for task in tasks if _counts(task)),
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
            for task in tasks
        ],
    }


def errors_of(tasks: Iterable[Task]) -> list[ApimartError]:
    """Return the errors of those tasks that delivered nothing."""
    return [error for error in map(task_error, tasks) if error is not None]


def _counts(task: Task) -> bool:
    """Whether a task belongs into the sum; one that failed without a cost was not charged."""
    return task.state is not TaskState.FAILED or task.cost is not None
