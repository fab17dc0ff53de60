"""What a result says as an event of a purchase. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.assets.extra import ModelFigures, purchase_extra
from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["purchase_of"]

_DIGITS: Final = 32
#: What an event repeats of the request for each picture.
_ASKED: Final = ("prompt", "model", "size", "resolution", "quality")


def purchase_of(result: Mapping[str, Any], *, connection: str, now: float) -> dict[str, Any]:
    """
    Return what an event says of a request that was bought.

    The same gateway tasks are the same purchase, whichever try or clear returns them.

    :param result: as the operator returns it.
    :param connection: id of the gateway's connection.
    :param now: Unix seconds, for a gateway that does not say when it was bought.
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
                model=result["model"],
                delivered=result["delivered"],
                cost=round(sum(costs), 10),
                unknown=len(charged) - len(costs) + forgotten,
            )
        ],
        images=_images(result),
    )


def _images(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = {task["task_id"]: task for task in result["tasks"]}
    pictures = Counter(image["task_id"] for image in result["images"])
    asked = {name: result[name] for name in _ASKED}

    def described(image: Mapping[str, Any]) -> dict[str, Any]:
        task = tasks[image["task_id"]]
        cost = share(task["cost"], pictures[image["task_id"]])
        return {**asked, **image, "cost": cost, "seconds": task["actual_time"]}

    return [described(image) for image in result["images"]]
