"""The pictures to copy, read from whatever other tasks have returned."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.cost import share
from airflow_provider_apimart.gateway.task import SYNCHRONOUS_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_apimart.gateway.task import Task

__all__ = [
    "Picture",
    "TransferSource",
    "distinct",
    "dying_first",
    "facts_of",
    "known_of",
    "pictures_of_task",
    "read_source",
    "unix_seconds",
]

#: The request fields that a result repeats; results of 0.1 lack some.
_ASKED: Final = ("prompt", "model", "size", "resolution", "quality")
#: Lists in lists. Airflow itself nests three: mapped groups in mapped groups, each task with a list.
_MAX_DEPTH: Final = 20
#: Longer texts are not ids of gateway tasks.
_MAX_ID: Final = 256
#: Unix seconds above this are milliseconds: it is the year 5138.
_LATEST: Final = 10**11


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
    known: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        """Return the picture as error messages name it."""
        cost = "unknown" if self.cost is None else f"{self.cost} USD"
        expiry = _date(self.expires_at)
        return f"picture {self.index} of task {self.task_id} (URL expires: {expiry}, cost of the task: {cost})"

    @property
    def can_be_queried(self) -> bool:
        """Return whether the gateway can give a fresh URL; not for a picture that came without a task."""
        return not self.task_id.startswith(SYNCHRONOUS_PREFIX)


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"at {seconds}"


def unix_seconds(value: Any) -> int | None:
    """Return a time in Unix seconds, from seconds, milliseconds or ISO 8601; ``None`` for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                value = datetime.fromisoformat(value.strip()).timestamp()
            except (ValueError, OverflowError):
                return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    while value > _LATEST:
        value /= 1000
    return int(value)


def pictures_of_task(task: Task) -> list[Picture]:
    """Return the pictures of a finished task."""
    return [
        Picture(
            task_id=task.task_id,
            index=index,
            url=image.url,
            expires_at=unix_seconds(image.expires_at),
            cost=task.cost,
            facts=facts_of({"created": task.created, "completed": task.completed, "cost": task.cost}),
            known=known_of({"cost": share(task.cost, len(task.images)), "seconds": task.actual_time}),
        )
        for index, image in enumerate(task.images)
    ]


def distinct(pictures: Iterable[Picture]) -> list[Picture]:
    """Return each picture once, also when it was handed in both by its result and by its task id."""
    merged: dict[tuple[str, int], Picture] = {}
    for picture in pictures:
        previous = merged.get((picture.task_id, picture.index), picture)
        merged[picture.task_id, picture.index] = replace(picture, known=previous.known or picture.known)
    return list(merged.values())


def dying_first(pictures: Sequence[Picture]) -> list[Picture]:
    """Return the pictures in the order in which their URLs expire; those without an expiry are last."""
    return sorted(pictures, key=lambda picture: picture.expires_at or math.inf)


def facts_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the known facts of a picture's making, as text."""
    return tuple((name, str(value)) for name, value in known_of(values))


def known_of(values: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the known facts of a picture's making, without those that are ``None``."""
    return tuple((name, value) for name, value in values.items() if value is not None)


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
        found = list(_pictures(result))
        pictures += found
        known = {picture.task_id for picture in found}
        # Without any usable URL, the gateway may know one.
        task_ids += [task_id for task_id in _ids(result) if not known]
        task_ids += [task_id for task_id in _incomplete(result) if task_id not in known]
    return TransferSource(
        tuple(pictures),
        tuple(dict.fromkeys(task_ids)),
        tuple(_cost(result.get("cost")) for result in results.values()),
        tuple(_cost(result.get("credits_cost")) for result in results.values()),
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


def _images(result: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the entries of a result that name a task, each with its place."""
    places: Counter[str] = Counter()
    for image in result["images"]:
        if isinstance(image, Mapping) and isinstance(task_id := image.get("task_id"), str):
            index = image.get("index")
            yield index if isinstance(index, int) else places[task_id], image
            places[task_id] += 1


def _incomplete(result: Mapping[str, Any]) -> list[str]:
    """Return the tasks of the entries without a URL."""
    return [image["task_id"] for _, image in _images(result) if not image.get("url")]


def _pictures(result: Mapping[str, Any]) -> Iterator[Picture]:
    described = result.get("tasks")
    tasks = {
        task.get("task_id"): task
        for task in (described if isinstance(described, list | tuple) else ())
        if isinstance(task, Mapping)
    }
    made_by = {"gateway": result.get("gateway"), "model": result.get("model")}
    asked = {name: result.get(name) for name in _ASKED}
    delivered = Counter(image["task_id"] for _, image in _images(result))
    for index, image in _images(result):
        task_id, url = image["task_id"], image.get("url")
        if not isinstance(url, str) or not url:
            continue
        task = tasks.get(task_id, {})
        made = {name: task.get(name) for name in ("created", "completed", "cost")}
        cost = _cost(task.get("cost"))
        seconds = task.get("actual_time")
        yield Picture(
            task_id=task_id,
            index=index,
            url=url,
            expires_at=unix_seconds(image.get("expires_at")),
            cost=cost,
            facts=facts_of({**made_by, **made}),
            known=known_of({**asked, "cost": share(cost, delivered[task_id]), "seconds": seconds}),
        )


def _cost(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


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
