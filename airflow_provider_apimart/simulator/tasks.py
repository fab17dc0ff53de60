"""
One gateway task: when it is in which state, what it shows then, and what it costs.

Nothing runs in the background: a task's state follows from the time at which somebody looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.simulator.pricing import CREDITS_PER_DOLLAR, picture_price

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from airflow_provider_apimart.simulator.validation import Order

__all__ = ["FINAL_STATES", "Task", "draw_duration", "draw_task_id", "file_name", "state_at", "task_cost", "view"]

FINAL_STATES: Final = ("completed", "failed", "cancelled", "error")
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: Seconds that half of the tasks stay under, from the examples and polling advice on the vendors' pages.
_MEDIANS: Final = {
    "low": {"1k": 12.0, "2k": 18.0, "4k": 45.0},
    "medium": {"1k": 20.0, "2k": 32.0, "4k": 75.0},
    "high": {"1k": 30.0, "2k": 49.0, "4k": 120.0},
}
_SPREAD: Final = 0.2
#: Share of its duration for which a task shows ``submitted``.
_QUEUED_SHARE: Final = 0.1


@dataclass(slots=True, kw_only=True)
class Task:
    """
    One accepted request.

    :param secret: the unguessable part of the addresses of its pictures.
    :param created: seconds since the epoch.
    :param duration: seconds from acceptance to the final state.
    :param faults: parameters of the faults that befall this task, by the fault's name.
    :param polls: how often its state was asked for, alone or in a batch.
    """

    id: str
    secret: str
    order: Order
    body: Mapping[str, Any]
    idempotency_key: str | None
    created: float
    duration: float
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    polls: int = 0

    @property
    def ends(self) -> float:
        """Return when the task reaches its final state; infinity for one that never does."""
        return math.inf if "never_finishes" in self.faults else self.created + self.duration


def draw_task_id(random: Random, now: float) -> str:
    """Return ``task_`` and a ULID: 48 bits of milliseconds and 80 random bits."""
    number = (int(now * 1000) << 80) | random.getrandbits(80)
    return "task_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def draw_duration(random: Random, order: Order, speed: float) -> float:
    """Return a lognormal duration in seconds around the median for the order's quality and resolution."""
    return _median(order) * random.lognormvariate(0, _SPREAD) / speed


def state_at(task: Task, now: float) -> str:
    """Return the status word that the gateway shows at a time."""
    if now >= task.ends:
        return _final_state(task)
    if "status_word" in task.faults:
        return str(task.faults["status_word"]["word"])
    if now - task.created < task.duration * _QUEUED_SHARE:
        return "submitted"
    return "in_progress" if task.order.model.endswith("-official") else "processing"


def task_cost(task: Task) -> float:
    """Return the US dollars that the task costs in the end: what it delivers, and nothing if it fails."""
    if _final_state(task) != "completed":
        return 0.0
    return round(picture_price(task.order) * _charged_images(task), 6)


def file_name(task: Task, index: int) -> str:
    """Return the last part of a picture's address."""
    model = "".join(character if character.isalnum() else "_" for character in task.order.model)
    return f"{task.secret}-{model}_{task.id}_{index}.{task.order.image_format}"


def view(task: Task, *, now: float, base_url: str, url_lifetime: float) -> dict[str, Any]:
    """
    Return the task as the gateway's task endpoint shows it under ``data``.

    :param now: seconds since the epoch.
    :param base_url: what stands before ``/f/image/`` in the addresses of its pictures.
    :param url_lifetime: seconds that these addresses stay valid.
    """
    shown: dict[str, Any] = {
        "id": task.id,
        "status": state_at(task, now),
        "progress": 100,
        "created": int(task.created),
        "estimated_time": math.ceil(2 * _median(task.order)),
    }
    if now < task.ends:
        return {**shown, "progress": min(99, int(100 * (now - task.created) / task.duration))}
    shown |= {"completed": int(task.ends), "actual_time": round(task.duration)}
    if "missing_cost" not in task.faults:
        cost = task_cost(task)
        shown |= {"cost": cost, "credits_cost": cost * CREDITS_PER_DOLLAR}
    final_state = _final_state(task)
    if final_state == "completed":
        return {**shown, "result": {"images": _images(task, base_url, int(task.ends + url_lifetime))}}
    if final_state == "cancelled":
        return shown
    return {**shown, **_failure(task)}


def _median(order: Order) -> float:
    quality = order.quality if order.quality in _MEDIANS else "low"
    return _MEDIANS[quality][order.resolution]


def _final_state(task: Task) -> str:
    if "task_failed" in task.faults:
        return str(task.faults["task_failed"]["status"])
    if "task_moderated" in task.faults:
        return "failed"
    return "cancelled" if "task_cancelled" in task.faults else "completed"


def _charged_images(task: Task) -> int:
    """Return the pictures to be paid; an answer without pictures is charged like the full one."""
    if "partial_delivery" in task.faults:
        return min(int(task.faults["partial_delivery"]["delivered"]), task.order.images)
    return task.order.images


def _images(task: Task, base_url: str, expires_at: int) -> list[dict[str, Any]]:
    if "no_images" in task.faults:
        return []
    shape = str(task.faults["url_shape"]["shape"]) if "url_shape" in task.faults else "list"
    origin = "" if shape == "relative" else base_url
    urls = [f"{origin}/f/image/{file_name(task, index)}" for index in range(_charged_images(task))]
    match shape:
        case "string":
            return [{"url": url, "expires_at": expires_at} for url in urls]
        case "many_in_one":
            return [{"url": urls, "expires_at": expires_at}]
        case "duplicate":
            return [{"url": [url, url], "expires_at": expires_at} for url in urls for _ in range(2)]
        case _:
            return [{"url": [url], "expires_at": expires_at} for url in urls]


def _failure(task: Task) -> dict[str, Any]:
    fault = task.faults.get("task_failed") or task.faults["task_moderated"]
    match fault["shape"]:
        case "string":
            return {"error": fault["message"]}
        case "fail_reason":
            return {"fail_reason": fault["message"]}
        case _:
            return {"error": {"code": fault["code"], "message": fault["message"], "type": fault["type"]}}
