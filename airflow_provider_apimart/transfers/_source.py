"""What the transfer is given, read as pictures. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.transfers.picture import Picture, facts_of, known_of

__all__ = ["Source", "read_source"]

#: What a result repeats of its request; those of an earlier release do not.
_ASKED: Final = ("prompt", "model", "size", "resolution", "quality")


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

    @property
    def all_task_ids(self) -> tuple[str, ...]:
        """The gateway tasks, each once: those that have made the pictures, and those that must be asked after."""
        return tuple(dict.fromkeys((*(picture.task_id for picture in self.pictures), *self.task_ids)))


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


def _pictures(result: Mapping[str, Any]) -> list[Picture]:
    tasks = {task["task_id"]: task for task in result.get("tasks", ())}
    made_by = {"gateway": result.get("gateway"), "model": result.get("model")}
    asked = {name: result.get(name) for name in _ASKED}
    delivered = Counter(image["task_id"] for image in result["images"])
    pictures = []
    for image in result["images"]:
        task = tasks.get(image["task_id"], {})
        made = {name: task.get(name) for name in ("created", "completed", "cost")}
        cost = share(task.get("cost"), delivered[image["task_id"]])
        pictures.append(
            Picture(
                task_id=image["task_id"],
                index=image["index"],
                url=image["url"],
                expires_at=image.get("expires_at"),
                cost=task.get("cost"),
                facts=facts_of({**made_by, **made}),
                known=known_of({**asked, "cost": cost, "seconds": task.get("actual_time")}),
            )
        )
    return pictures


def _unusable(value: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"source holds {type(value).__name__} {str(value)[:80]!r}: it must be what ApimartImageOperator returned (its "
        ".output), a list of such, or gateway task ids. A Jinja text gives only a text: pass .output instead. "
        "Nothing was copied.",
        field="source",
        value=value,
    )
