"""One picture to copy, and how those of a task, and of many, are told apart and put in order. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.gateway.task import SYNCHRONOUS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_apimart.gateway.task import Task

__all__ = ["Picture", "distinct", "dying_first", "facts_of", "known_of", "pictures_of_task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """
    One picture to copy.

    :param index: its place among the pictures of its task.
    :param expires_at: Unix seconds at which the URL dies, where known.
    :param cost: US dollars that its whole task cost, where known.
    :param facts: of its making, for the object's metadata.
    :param known: of its making too, for the transfer's result: what it shows, how it was asked for, its share of the
        cost, and the seconds that its task took.
    """

    task_id: str
    index: int
    url: str
    expires_at: int | None = None
    cost: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    known: tuple[tuple[str, Any], ...] = ()

    @property
    def can_be_asked_after(self) -> bool:
        """Whether the gateway can give a fresh URL; it cannot for a picture that came without a task."""
        return not self.task_id.startswith(SYNCHRONOUS_PREFIX)


def pictures_of_task(task: Task) -> list[Picture]:
    """Return the pictures of a finished task."""
    return [
        Picture(
            task_id=task.task_id,
            index=index,
            url=image.url,
            expires_at=image.expires_at,
            cost=task.cost,
            facts=facts_of({"created": task.created, "completed": task.completed, "cost": task.cost}),
            known=known_of({"cost": share(task.cost, len(task.images)), "seconds": task.actual_time}),
        )
        for index, image in enumerate(task.images)
    ]


def distinct(pictures: Iterable[Picture]) -> list[Picture]:
    """Return each picture once, also when it was handed in both by its result and by its task id."""
    found: dict[tuple[str, int], Picture] = {}
    for picture in pictures:
        earlier = found.get((picture.task_id, picture.index), picture)
        found[picture.task_id, picture.index] = replace(picture, known=earlier.known or picture.known)
    return list(found.values())


def dying_first(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures in the order in which their URLs die; those that do not say come last."""
    return sorted(pictures, key=lambda picture: picture.expires_at or math.inf)


def facts_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what is known of a picture's making, as texts."""
    return tuple((name, str(value)) for name, value in known_of(values))


def known_of(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return what is known of a picture's making, as it is."""
    return tuple((name, value) for name, value in values.items() if value is not None)
