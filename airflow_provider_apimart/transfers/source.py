"""The pictures to copy, read from whatever other tasks have returned."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.gateway.parsing import read_number, read_timestamp
from airflow_provider_apimart.gateway.task import SYNCHRONOUS_PREFIX, Image, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Picture",
    "TransferSource",
    "facts_of",
    "merge_pictures",
    "pictures_of_task",
    "read_source",
    "sort_by_expiry",
]

#: The request fields that a result repeats; results of 0.1 lack some.
_ASKED: Final = ("prompt", "model", "size", "resolution", "quality")
#: Lists in lists. Airflow itself nests three: mapped groups in mapped groups, each task with a list.
_MAX_DEPTH: Final = 20
#: Longer texts are not ids of gateway tasks.
_MAX_ID: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """
    One picture to copy.

    :param index: its place among the pictures of its task.
    :param expires_at: Unix seconds at which the URL dies, where known.
    :param cost: US dollars that its whole task cost, where known.
    :param facts: facts of its making, for the object's metadata.
    :param known: facts of its making, for the transfer's result: the prompt and the other request fields, its share of
        the cost, and the seconds that its task took.
    """

    task_id: str
    index: int
    url: str
    expires_at: int | None = None
    cost: float | None = None
    facts: tuple[tuple[str, str], ...] = ()
    known: tuple[tuple[str, Any], ...] = field(default=(), hash=False)

    def __str__(self) -> str:
        """Return the picture as error messages name it."""
        cost = "unknown" if self.cost is None else f"{self.cost} USD"
        expiry = datetime.fromtimestamp(self.expires_at, UTC).isoformat() if self.expires_at else "unknown"
        return f"picture {self.index} of task {self.task_id} (URL expires: {expiry}, cost of the task: {cost})"

    @property
    def can_be_queried(self) -> bool:
        """Return whether the gateway can give a fresh URL; not for a picture that came without a task."""
        return not self.task_id.startswith(SYNCHRONOUS_PREFIX)


def pictures_of_task(task: Task) -> list[Picture]:
    """Return the pictures of a finished task."""
    return [_picture(task, index, image, len(task.images), {}) for index, image in enumerate(task.images)]


def _picture(task: Task, index: int, image: Image, of: int, result: Mapping[str, Any]) -> Picture:
    """
    Return a picture with all that is known of it.

    :param of: pictures that share the cost of the task.
    :param result: what the image operator returned; empty for a task that was queried.
    """
    made_by = {name: result.get(name) for name in ("gateway", "model")}
    made = {"created": task.created, "completed": task.completed, "cost": task.cost}
    shown = {name: result.get(name) for name in _ASKED}
    shown |= {"cost": share(task.cost, of), "seconds": task.actual_time}
    return Picture(
        task_id=task.task_id,
        index=index,
        url=image.url,
        expires_at=image.expires_at,
        cost=task.cost,
        facts=facts_of({**made_by, **made}),
        known=tuple((name, value) for name, value in shown.items() if value is not None),
    )


def merge_pictures(pictures: Iterable[Picture]) -> list[Picture]:
    """Return each picture once, also when it was handed in both by its result and by its task id."""
    merged: dict[tuple[str, int], Picture] = {}
    for picture in pictures:
        previous = merged.get((picture.task_id, picture.index), picture)
        merged[picture.task_id, picture.index] = replace(picture, known=previous.known or picture.known)
    return list(merged.values())


def sort_by_expiry(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures in the order in which their URLs expire; those without an expiry are last."""
    return sorted(pictures, key=lambda picture: picture.expires_at or math.inf)


def facts_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the known facts about how a picture was made, as text. Facts that are ``None`` are left out."""
    return tuple((name, str(value)) for name, value in values.items() if value is not None)


@dataclass(frozen=True, slots=True)
class TransferSource:
    """
    Everything that is to be copied.

    :param pictures: the pictures whose URLs are known.
    :param task_ids: the tasks that must be queried first.
    :param costs: the cost of each result that was handed in, for the sum, in US dollars.
    :param credits_costs: the same in the gateway's credits.
    """

    pictures: tuple[Picture, ...]
    task_ids: tuple[str, ...]
    costs: tuple[float | None, ...]
    credits_costs: tuple[float | None, ...]

    @property
    def all_task_ids(self) -> tuple[str, ...]:
        """The gateway tasks, each once: of the pictures, and those that must be queried."""
        return tuple(dict.fromkeys((*(picture.task_id for picture in self.pictures), *self.task_ids)))


def read_source(source: Any) -> TransferSource:
    """
    Read results of the image operator and task ids, in any nesting of lists, tuples and sets.

    Airflow hands these over as lists, as lazy sequences, as tuples of ``zip()``, and as JSON text. ``None``, which
    skipped tasks leave, is passed over.

    :raises InvalidRequestError: for anything else, naming what was found. Nothing was copied.
    """
    if source is None or (isinstance(source, str) and not source.strip()):
        raise _unusable(source)
    results: dict[Any, Mapping[str, Any]] = {}
    task_ids: list[str] = []
    for item in _flattened(source):
        if isinstance(item, str):
            task_ids.append(item)
        else:
            # A source that is given twice was paid for once.
            results.setdefault(tuple(_ids(item)) or id(item), item)
    pictures: list[Picture] = []
    for result in results.values():
        usable = list(_pictures(result))
        pictures += usable
        known = {picture.task_id for picture in usable}
        # Where a URL is missing, the gateway may know one.
        named = [*(() if known else _ids(result)), *(task_id for task_id, _, _ in _images(result))]
        task_ids += [task_id for task_id in named if task_id not in known]
    return TransferSource(
        tuple(pictures),
        tuple(dict.fromkeys(task_ids)),
        tuple(read_number(result.get("cost")) for result in results.values()),
        tuple(read_number(result.get("credits_cost")) for result in results.values()),
    )


def _flattened(value: Any, depth: int = 0) -> Iterator[str | Mapping[str, Any]]:
    """Yield the results and task ids of any nesting."""
    if depth > _MAX_DEPTH:
        raise _unusable(value)
    if value is None:
        return
    if isinstance(value, Mapping):
        if not isinstance(value.get("images"), list):
            raise _unusable(value)
        yield value
    elif isinstance(value, str):
        yield from _from_text(value.strip(), depth)
    elif isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        for item in value:
            yield from _flattened(item, depth + 1)
    else:
        raise _unusable(value)


def _from_text(text: str, depth: int) -> Iterator[str | Mapping[str, Any]]:
    if text.startswith(("{", "[", '"')):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            raise _unusable(text) from None
        yield from _flattened(parsed, depth + 1)
    elif 0 < len(text) <= _MAX_ID and text.isprintable() and not any(char in text for char in " /\\'\"(){}[]<>,;"):
        yield text
    else:
        raise _unusable(text)


def _ids(result: Mapping[str, Any]) -> list[str]:
    ids = result.get("task_ids")
    return [task_id for task_id in ids if isinstance(task_id, str)] if isinstance(ids, list | tuple) else []


def _images(result: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield task id, index and description of each image of a result that names its task."""
    places: Counter[str] = Counter()
    for image in result["images"]:
        if isinstance(image, Mapping) and isinstance(task_id := image.get("task_id"), str):
            index = image.get("index")
            yield task_id, index if isinstance(index, int) else places[task_id], image
            places[task_id] += 1


def _pictures(result: Mapping[str, Any]) -> Iterator[Picture]:
    described = result.get("tasks")
    tasks = {
        task.get("task_id"): task
        for task in (described if isinstance(described, list | tuple) else ())
        if isinstance(task, Mapping)
    }
    delivered = Counter(task_id for task_id, _, _ in _images(result))
    for task_id, index, image in _images(result):
        if isinstance(url := image.get("url"), str) and url:
            task = Task.from_json(tasks.get(task_id, {}), task_id=task_id)
            expiring = Image(url, read_timestamp(image.get("expires_at")))
            yield _picture(task, index, expiring, delivered[task_id], result)


def _unusable(value: object) -> InvalidRequestError:
    expected = "what ApimartImageOperator returned (its .output), gateway task ids, or any nesting of lists of these"
    reason = f"holds {type(value).__name__} {str(value)[:80]!r}"
    if value is None or (isinstance(value, str) and not value.strip()):
        reason = "is empty"
    elif isinstance(value, Mapping) and ("objects" in value or "manifest" in value):
        reason = "holds the result of a task that has copied its pictures to S3 already"
    return InvalidRequestError(
        f"source {reason}. It must be {expected}. A Jinja expression gives only a text: pass .output instead. Nothing "
        "was copied, nothing was charged and no picture was lost.",
        field="source",
        value=value,
        allowed=expected,
    )
