"""Where each picture goes, and what to do when something is there already. Pure."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from airflow_provider_apimart.exceptions import InvalidRequestError, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_apimart.transfers.picture import Picture

__all__ = [
    "Existing",
    "OnExisting",
    "beginning_of",
    "check_distinct",
    "check_template",
    "key_of",
    "metadata_of",
    "must_copy",
]

OnExisting = Literal["skip", "overwrite", "fail"]

_PLACEHOLDERS: Final = frozenset({"task_id", "index", "ext"})
_JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Existing:
    """What a store says of the object that a key holds."""

    size: int
    content_type: str
    metadata: Mapping[str, str]


def check_template(template: str) -> None:
    """
    Raise unless the template uses known placeholders only.

    :param template: as the DAG author wrote it, Jinja included, or rendered.
    """
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(_JINJA.sub("", template)) if name is not None}
    except ValueError as error:
        raise _bad_template(template, str(error)) from None
    if unknown := names - _PLACEHOLDERS:
        raise _bad_template(template, f"unknown placeholder {{{unknown.pop()}}}")


def key_of(template: str, picture: Picture, ext: str) -> str:
    """Return the key of a picture, from the template after Jinja."""
    return template.format(task_id=picture.task_id, index=picture.index, ext=ext)


def beginning_of(template: str, task_ids: Sequence[str] = ()) -> str:
    """
    Return how every key will begin, as far as that is known before the pictures are.

    :param template: after Jinja.
    :param task_ids: the gateway tasks whose pictures get the keys, where they are known.
    """
    known = template.replace("{task_id}", task_ids[0]) if len(task_ids) == 1 else template
    return known.partition("{")[0]


def check_distinct(template: str, pictures: Iterable[Picture]) -> None:
    """Raise if two pictures would get the same key: one of them would be lost."""
    seen: dict[str, Picture] = {}
    for picture in pictures:
        other = seen.setdefault(key_of(template, picture, ""), picture)
        if other is not picture:
            raise _bad_template(
                template,
                f"picture {other.index} of task {other.task_id} and picture {picture.index} of task {picture.task_id} "
                "get the same key; add {task_id} and {index}",
            )


def metadata_of(picture: Picture, *, size: int, sha256: str, width: int, height: int, writer: str) -> dict[str, str]:
    """Return the object's metadata: the facts of the picture's making, and what recognises it again."""
    facts = {f"apimart-{name}": value for name, value in picture.facts if value.isascii()}
    return {
        **facts,
        "apimart-task-id": picture.task_id,
        "apimart-index": str(picture.index),
        "apimart-writer": writer,
        "bytes": str(size),
        "sha256": sha256,
        "width": str(width),
        "height": str(height),
    }


def must_copy(picture: Picture, key: str, existing: Existing | None, *, on_existing: OnExisting, writer: str) -> bool:
    """
    Whether to copy the picture to the key, as opposed to leaving alone what is there.

    What an earlier try of the same task instance wrote is always left alone.

    :raises TransferError: when the key holds something that must not be overwritten.
    """
    if existing is None:
        return True
    is_same = _is_same(picture, existing)
    if is_same and (on_existing == "skip" or existing.metadata.get("apimart-writer") == writer):
        return False
    if on_existing == "overwrite":
        return True
    what = "this picture, written by another task" if is_same else "another object"
    raise TransferError(
        f"key {key!r} already holds {what}, and on_existing={on_existing!r}. It was left as it is; the picture can be "
        "copied by another key or with on_existing='overwrite'",
        task_id=picture.task_id,
        retryable=False,
    )


def _is_same(picture: Picture, existing: Existing) -> bool:
    held = existing.metadata
    return (
        {"sha256", "width", "height"} <= held.keys()
        and held.get("apimart-task-id") == picture.task_id
        and held.get("apimart-index") == str(picture.index)
        and held.get("bytes") == str(existing.size)
    )


def _bad_template(template: str, reason: str) -> InvalidRequestError:
    allowed = "{task_id}, {index} and {ext}, besides Jinja"
    return InvalidRequestError(
        f"s3_key={template!r}: {reason}. Allowed are {allowed}. Nothing was copied.",
        field="s3_key",
        value=template,
        allowed=allowed,
    )
