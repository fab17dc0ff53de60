"""What the gateways answer about a task, in the shapes that their documentations show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.triggerer.scenario import GatewayTask

__all__ = ["anthropic_batch", "apimart_task", "dbt_run", "openai_batch", "plain_status"]

_CREATED = 1_776_748_674
_DBT_RUNNING, _DBT_SUCCESS = 3, 10


def apimart_task(task: GatewayTask, *, is_finished: bool) -> dict[str, Any]:
    """APIMart's ``data`` of ``GET /v1/tasks/{id}``."""
    described = {
        "id": task.id,
        "status": "completed" if is_finished else "processing",
        "progress": 100 if is_finished else 40,
        "created": _CREATED,
        "estimated_time": 100,
    }
    if not is_finished:
        return described
    duration = int(task.ends_after - task.arrives_after)
    url = f"https://upload.apimart.ai/f/image/{task.number:08d}-gpt_image_2_{task.id}_0.png"
    return described | {
        "completed": _CREATED + duration,
        "actual_time": duration,
        "cost": 0.05279,
        "credits_cost": 0.5279,
        "result": {"images": [{"url": [url], "expires_at": _CREATED + duration + 86_400}]},
    }


def dbt_run(task: GatewayTask, *, is_finished: bool) -> dict[str, Any]:
    """Answer dbt Cloud's ``GET /api/v2/accounts/{account}/runs/{run}/``."""
    status = _DBT_SUCCESS if is_finished else _DBT_RUNNING
    return {
        "status": {"code": 200, "is_success": True, "user_message": "Success!", "developer_message": ""},
        "data": {
            "id": task.number,
            "account_id": 1,
            "project_id": 2,
            "job_definition_id": 3,
            "environment_id": 4,
            "status": status,
            "status_humanized": "Success" if is_finished else "Running",
            "in_progress": not is_finished,
            "is_complete": is_finished,
            "is_success": is_finished,
            "is_error": False,
            "is_cancelled": False,
            "href": f"https://cloud.getdbt.com/deploy/1/projects/2/runs/{task.number}/",
        },
    }


def openai_batch(task: GatewayTask, *, is_finished: bool) -> dict[str, Any]:
    """Answer OpenAI's ``GET /v1/batches/{id}``."""
    return {
        "id": f"batch_{task.id}",
        "object": "batch",
        "endpoint": "/v1/images/generations",
        "errors": None,
        "input_file_id": "file-abc123",
        "completion_window": "24h",
        "status": "completed" if is_finished else "in_progress",
        "output_file_id": "file-cvaTdG" if is_finished else None,
        "created_at": _CREATED,
        "in_progress_at": _CREATED,
        "expires_at": _CREATED + 86_400,
        "completed_at": _CREATED + 60 if is_finished else None,
        "request_counts": {"total": 1, "completed": int(is_finished), "failed": 0},
        "metadata": {},
    }


def anthropic_batch(task: GatewayTask, *, is_finished: bool) -> dict[str, Any]:
    """Answer Anthropic's ``GET /v1/messages/batches/{id}``."""
    done = int(is_finished)
    return {
        "id": f"msgbatch_{task.id}",
        "type": "message_batch",
        "processing_status": "ended" if is_finished else "in_progress",
        "request_counts": {"processing": 1 - done, "succeeded": done, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": "2026-04-21T05:18:46Z" if is_finished else None,
        "created_at": "2026-04-21T05:17:54Z",
        "expires_at": "2026-04-22T05:17:54Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }


def plain_status(task: GatewayTask, *, is_finished: bool) -> dict[str, Any]:
    """Answer an API that knows nothing of a result before it is there."""
    return {"id": task.id, "status": "completed" if is_finished else "not found"}
