"""Objects in S3: the metadata by which a picture is recognised again, and whether an existing object is overwritten."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_apimart.exceptions import TransferError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk.types import RuntimeTaskInstanceProtocol

    from airflow_provider_apimart.transfers.source import Picture

__all__ = ["ExistingObject", "OnExisting", "is_metadata_of", "must_copy", "object_metadata", "writer_id", "writer_of"]

OnExisting = Literal["skip", "overwrite", "fail"]


@dataclass(frozen=True, slots=True)
class ExistingObject:
    """The object that a key holds, as the store describes it."""

    size: int
    content_type: str
    metadata: Mapping[str, str]

    def pixels(self, name: str) -> int | None:
        """Return the ``width`` or ``height`` that the object was written with, or ``None`` where it is not known."""
        value = self.metadata.get(name, "")
        return int(value) if value.isdecimal() else None


def writer_id(ti: RuntimeTaskInstanceProtocol) -> str:
    """Return 16 hexadecimal digits that identify a task instance, the same for all its tries."""
    return writer_of(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


def writer_of(dag_id: str, run_id: str, task_id: str, map_index: int | None) -> str:
    """Return the :func:`writer_id` of a task instance of which only the names are known; -1 if it is not mapped."""
    identity = (dag_id, run_id, task_id, map_index)
    return hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()[:16]


def object_metadata(
    picture: Picture, *, size: int, sha256: str, width: int | None, height: int | None, writer: str
) -> dict[str, str]:
    """Return the object's metadata: the facts of the picture's making, and what recognises it again."""
    facts = {f"apimart-{name}": value for name, value in picture.facts if value.isascii() and value.isprintable()}
    dimensions = {"width": width, "height": height}
    return {
        **facts,
        "apimart-task-id": _as_header(picture.task_id),
        "apimart-index": str(picture.index),
        "apimart-writer": writer,
        "bytes": str(size),
        "sha256": sha256,
        **{name: str(pixels) for name, pixels in dimensions.items() if pixels is not None},
    }


def _as_header(task_id: str) -> str:
    """Return an id as metadata can hold it: percent-encoded where it is not printable ASCII."""
    return task_id if task_id.isascii() and task_id.isprintable() else quote(task_id, errors="backslashreplace")


def is_metadata_of(written: Mapping[str, str], existing: ExistingObject) -> bool:
    """
    Return whether an object is the one that was written with some metadata.

    :param existing: an object of a store that keeps no metadata is compared by its size.
    """
    names = ("apimart-task-id", "apimart-index", "apimart-writer", "sha256")
    is_described = any(name in existing.metadata for name in names)
    is_same = all(existing.metadata.get(name) == written.get(name) for name in names)
    return str(existing.size) == written.get("bytes", str(existing.size)) and (is_same or not is_described)


def must_copy(
    picture: Picture, key: str, existing: ExistingObject | None, *, on_existing: OnExisting, writer: str
) -> bool:
    """
    Return whether to copy the picture to the key, as opposed to leaving the object there alone.

    What a previous try of the same task instance wrote is always left alone.

    :raises TransferError: when the key holds something that must not be overwritten.
    """
    if existing is None:
        return True
    is_same = _is_same(picture, existing)
    if is_same and (on_existing == "skip" or existing.metadata.get("apimart-writer") == writer):
        return False
    if on_existing == "overwrite":
        return True
    raise TransferError(
        f"key {key!r} already holds {_described(existing, is_same=is_same)}, and on_existing={on_existing!r}. The "
        "object was left as it is; the picture can be copied to another key, or with on_existing='overwrite'",
        task_id=picture.task_id,
        retryable=False,
    )


def _described(existing: ExistingObject, *, is_same: bool) -> str:
    if is_same:
        return "this picture, written by another task"
    task_id = existing.metadata.get("apimart-task-id")
    index = existing.metadata.get("apimart-index")
    return f"another object, picture {index} of task {task_id}" if task_id else "another object"


def _is_same(picture: Picture, existing: ExistingObject) -> bool:
    held: Mapping[str, Any] = existing.metadata
    return (
        "sha256" in held
        and held.get("apimart-task-id") == _as_header(picture.task_id)
        and held.get("apimart-index") == str(picture.index)
        and held.get("bytes") == str(existing.size)
    )
