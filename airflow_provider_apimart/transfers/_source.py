"""What the transfer is given, read as pictures. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.task import SYNCHRONOUS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["Picture", "Source", "distinct", "dying_first", "pictures_of_task", "read_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """
    One picture to copy.

    :param index: its place among the pictures of its task.
    :param expires_at: Unix seconds at which the URL dies, where known.
    :param cost: US dollars that its whole task cost, where known.
    :param facts: of its making, for the object's metadata.
    """

    task_id: str
    index: int
    url: str
    expires_at: int | None = None
    cost: float | None = None
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def can_be_asked_after(self) -> bool:
        """Whether the gateway can give a fresh URL; it cannot for a picture that came without a task."""
        return not self.task_id.startswith(SYNCHRONOUS_PREFIX)


@dataclass(frozen=True, slots=True)
class Source:
    """
    Everything that is to be copied.

    :param pictures: those whose URLs are known.
    :param task_ids: tasks that must be asked after first.
    :param costs: what each result that was handed in cost, for the sum; likewise ``credits_costs``.
    """

    pictures: tuple[Picture, ...]
    task_ids: tuple[str, ...]
    costs: tuple[float | None, ...]
    credits_costs: tuple[float | None, ...]


def read_source(source: Any) -> Source:
    """
    Read an operator's result, a list of such, as a mapped task gives it, or task ids.

    :raises InvalidRequestError: for anything else, saying what was found. Nothing was copied.
    """
    items = [source] if isinstance(source, str | Mapping) else source
    if not isinstance(items, Iterable):
        raise _unusable(items)
    results: dict[Any, Mapping[str, Any]] = {}
    task_ids: list[str] = []
    for item in items:
        if isinstance(item, Mapping) and isinstance(item.get("images"), list):
            # Handed in twice, it was still paid for once.
            results.setdefault(tuple(item.get("task_ids", ())) or id(item), item)
        elif isinstance(item, str) and item.strip() and not item.lstrip().startswith(("{", "[")):
            task_ids.append(item.strip())
        elif item is not None:  # A skipped mapped task leaves None.
            raise _unusable(item)
    return Source(
        tuple(picture for result in results.values() for picture in _pictures(result)),
        tuple(dict.fromkeys(task_ids)),
        tuple(result.get("cost") for result in results.values()),
        tuple(result.get("credits_cost") for result in results.values()),
    )


def pictures_of_task(task: Task) -> list[Picture]:
    """Return the pictures of a finished task."""
    return [
        Picture(
            task_id=task.task_id,
            index=index,
            url=image.url,
            expires_at=image.expires_at,
            cost=task.cost,
            facts=_facts({"created": task.created, "completed": task.completed, "cost": task.cost}),
        )
        for index, image in enumerate(task.images)
    ]


def distinct(pictures: Iterable[Picture]) -> list[Picture]:
    """Return each picture once, also when it was handed in both by its result and by its task id."""
    return list({(picture.task_id, picture.index): picture for picture in pictures}.values())


def dying_first(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures in the order in which their URLs die; those that do not say come last."""
    return sorted(pictures, key=lambda picture: picture.expires_at or math.inf)


def _pictures(result: Mapping[str, Any]) -> list[Picture]:
    tasks = {task["task_id"]: task for task in result.get("tasks", ())}
    made_by = {"gateway": result.get("gateway"), "model": result.get("model")}
    pictures = []
    for image in result["images"]:
        task = tasks.get(image["task_id"], {})
        made = {name: task.get(name) for name in ("created", "completed", "cost")}
        pictures.append(
            Picture(
                task_id=image["task_id"],
                index=image["index"],
                url=image["url"],
                expires_at=image.get("expires_at"),
                cost=task.get("cost"),
                facts=_facts({**made_by, **made}),
            )
        )
    return pictures


def _facts(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in values.items() if value is not None)


def _unusable(value: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"source holds {type(value).__name__} {str(value)[:80]!r}: it must be what ApimartImageOperator returned (its "
        ".output), a list of such, or gateway task ids. A Jinja text gives only a text: pass .output instead. "
        "Nothing was copied.",
        field="source",
        value=value,
    )
