"""The shapes in which the vendors' answers to a submit and to a batch of tasks have been documented, seen or feared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.simulator.answers import error_body
from airflow_provider_apimart.simulator.tasks import Task, file_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["batch_answer", "submit_answer"]


def submit_answer(shape: str, task: Task, base_url: str) -> tuple[int, dict[str, Any]]:
    """
    Return HTTP status and body of the answer to an accepted submit.

    :param shape: ``classic``, ``no_status``, ``object``, ``versioned`` or ``synchronous``.
    :param task: the task that was started.
    :param base_url: what stands before ``/f/image/`` in the addresses of its pictures.
    """
    match shape:
        case "no_status":
            return 200, {"code": 200, "data": [{"task_id": task.id}]}
        case "object":
            return 200, {"data": {"status": "submitted", "task_id": task.id}}
        case "versioned":
            return 202, {"code": 202, "data": {"id": task.id, "object": "generation.task", "status": "queued"}}
        case "synchronous":
            urls = [f"{base_url}/f/image/{file_name(task, index)}" for index in range(task.order.images)]
            return 200, {"created": int(task.created), "data": [{"url": url} for url in urls]}
        case _:
            return 200, {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}


def batch_answer(shape: str, views: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """
    Return the body of the answer to a batch, a shape that no vendor documents.

    :param shape: ``list``, ``map``, ``nested``, ``wrapped``, ``unknown_as_error`` or ``all_errors``.
    :param views: each id asked for with its task, or ``None`` for an unknown one.
    """
    known = {task_id: task for task_id, task in views.items() if task is not None}
    match shape:
        case "map":
            return {"code": 200, "data": known}
        case "nested":
            return {"code": 200, "data": {"tasks": list(known.values())}}
        case "wrapped":
            return {"code": 200, "data": [{"code": 200, "data": task} for task in known.values()]}
        case "unknown_as_error":
            return {"code": 200, "data": [task or _unknown(task_id) for task_id, task in views.items()]}
        case "all_errors":
            return {"code": 200, "data": [_unknown(task_id) for task_id in views]}
        case _:
            return {"code": 200, "data": list(known.values())}


def _unknown(task_id: str) -> dict[str, Any]:
    return {"id": task_id, **error_body(400, message="无效的任务ID")}
