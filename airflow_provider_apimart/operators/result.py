"""The outcome of a purchase: the XCom value with its warnings, or an error, and the extra data of its asset event."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.assets import ModelFigures, purchase_extra
from airflow_provider_apimart.exceptions import ApimartError, TaskNotFoundError, TaskTimeoutError
from airflow_provider_apimart.gateway.cost import share, total
from airflow_provider_apimart.gateway.response import excerpt
from airflow_provider_apimart.gateway.task import Task, task_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.operators.record import PurchaseRecord

__all__ = ["TaskOutcomes", "build_image_result", "describe_purchase"]

_DIGITS: Final = 32
#: Fields of the request that a result and each picture of an event repeat.
_DESCRIBED: Final = ("prompt", "model", "size", "resolution", "quality")
_TASK_FIELDS: Final = ("task_id", "status", "cost", "credits_cost", "created", "completed", "actual_time")
#: Running tasks whose state a timeout describes.
_MOST_DESCRIBED: Final = 5


@dataclass(slots=True)
class TaskOutcomes:
    """
    The state of the gateway tasks, as far as it is known.

    :param tasks: finished tasks, by id.
    :param denied: the reason, by id, for the ids that the gateway has denied for minutes.
    :param running: the state of other tasks, for the message of a timeout.
    :param is_over: whether the wait has timed out.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    is_over: bool = False

    def add_event(self, event: Mapping[str, Any]) -> None:
        """Add a trigger's event."""
        self.tasks |= {task.task_id: task for task in map(Task.from_json, event.get("tasks", ()))}
        self.denied |= {task_id: str(reason) for task_id, reason in event.get("failures", {}).items()}
        for task_id, state in dict(event.get("left", {})).items():
            self.running[task_id] = " ".join(str(text) for text in state.values() if text)
        self.is_over = event.get("status") == "timeout"


def build_image_result(
    record: PurchaseRecord, known: TaskOutcomes, *, waited: float, now: float
) -> tuple[dict[str, Any], list[str]]:
    """
    Return the XCom value, and warnings for the log.

    One picture is enough for a result: delivered pictures must not be lost over others that are missing.

    :param waited: seconds, for the message of a timeout.
    :param now: Unix seconds, to find URLs that have expired.
    :raises TaskTimeoutError: when a task is still running.
    :raises ApimartError: the reason why there is not a single picture.
    """
    tasks = {**known.tasks, **record.delivered}
    if unfinished := [task_id for task_id in record.task_ids if task_id not in tasks and task_id not in known.denied]:
        raise _timeout(unfinished, known.running, waited)
    finished = [tasks[task_id] for task_id in record.task_ids if task_id in tasks]
    errors = [error for error in map(task_error, finished) if error is not None]
    errors += [_denial(task_id, known.denied[task_id]) for task_id in record.task_ids if task_id in known.denied]
    result = _xcom_value(record, finished)
    if not result["delivered"]:
        raise errors[0]
    warnings = [str(error) for error in errors]
    warnings += [
        f"The URL of picture {image['index']} of task {image['task_id']} has expired. The picture was paid for; "
        "ApimartToS3Operator queries the gateway for a fresh URL."
        for image in result["images"]
        if image["expires_at"] is not None and image["expires_at"] <= now
    ]
    if result["status"] == "partial":
        warnings.append(f"Delivered {result['delivered']} of {record.n} pictures; cost: {result['cost']} USD.")
    return result, warnings


def describe_purchase(result: Mapping[str, Any], *, connection: str, now: float) -> dict[str, Any]:
    """
    Return the extra data of the asset event of a purchase.

    The same gateway tasks are the same purchase, whichever try or clear returns them.

    :param result: as the operator returns it.
    :param connection: id of the gateway's connection.
    :param now: Unix seconds, for a gateway that does not tell when the pictures were bought.
    """
    charged = [task for task in result["tasks"] if not Task.from_json(task).is_free]
    costs = [task["cost"] for task in charged if task["cost"] is not None]
    # Tasks that the gateway has forgotten are paid for too.
    forgotten = len(result["task_ids"]) - len(result["tasks"])
    return purchase_extra(
        purchase=hashlib.sha256("\0".join(sorted(result["task_ids"])).encode()).hexdigest()[:_DIGITS],
        connection=connection,
        gateway=result["gateway"],
        bought_at=max((task["created"] for task in result["tasks"] if task["created"] is not None), default=now),
        task_ids=result["task_ids"],
        delivered=result["delivered"],
        cost=result["cost"],
        credits_cost=result["credits_cost"],
        models=[
            ModelFigures(
                model=result["model"] or "unknown",
                delivered=result["delivered"],
                cost=round(sum(costs), 10),
                unknown=len(charged) - len(costs) + forgotten,
            )
        ],
        images=_described_images(result),
    )


def _timeout(unfinished: Sequence[str], running: Mapping[str, str], waited: float) -> TaskTimeoutError:
    states = [f"{task_id}: {running[task_id]}" for task_id in unfinished if running.get(task_id)][:_MOST_DESCRIBED]
    return TaskTimeoutError(
        f"Timed out after {waited:g} s: task {', '.join(unfinished)} is still running at the gateway"
        f"{' (' + '; '.join(states) + ')' if states else ''}. It may finish and be charged. A retry waits for it again "
        "and buys nothing where the purchase is recorded (Airflow 3.3, durable=True); ApimartToS3Operator copies it "
        "by its id.",
        task_id=unfinished[0],
    )


def _denial(task_id: str, reason: str) -> ApimartError:
    return TaskNotFoundError(
        f"The gateway has denied for minutes that it knows task {task_id}: {reason} It may have been charged. A retry "
        "queries it again and buys nothing; clear the task to buy what cannot be had.",
        task_id=task_id,
        retryable=True,
    )


def _xcom_value(record: PurchaseRecord, finished: Sequence[Task]) -> dict[str, Any]:
    images = [
        {"task_id": task.task_id, "index": index, "url": image.url, "expires_at": image.expires_at}
        for task in finished
        for index, image in enumerate(task.images)
    ]
    # The cost of a task that the gateway has forgotten is not known, so the sum is not known either.
    forgotten = [None] * (len(record.task_ids) - len(finished))
    charged = [task for task in finished if not task.is_free]
    return {
        "schema_version": 1,
        "status": "completed" if len(images) >= record.n else "partial",
        "gateway": record.gateway,
        **{name: record.request.get(name) for name in _DESCRIBED},
        "prompt": None if record.request.get("prompt") is None else excerpt(str(record.request["prompt"])),
        "task_ids": list(record.task_ids),
        "requested": record.n,
        "delivered": len(images),
        "images": images,
        "cost": total([*(task.cost for task in charged), *forgotten]),
        "credits_cost": total([*(task.credits_cost for task in charged), *forgotten]),
        "currency": "USD",
        "tasks": [{name: getattr(task, name) for name in _TASK_FIELDS} for task in finished],
        **({"reused": True} if record.is_reused else {}),
    }


def _described_images(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = {task["task_id"]: task for task in result["tasks"]}
    pictures = Counter(image["task_id"] for image in result["images"])
    request = {name: result[name] for name in _DESCRIBED}
    return [
        {**request, **image, "cost": share(task["cost"], pictures[task["task_id"]]), "seconds": task["actual_time"]}
        for image in result["images"]
        for task in (tasks[image["task_id"]],)
    ]
