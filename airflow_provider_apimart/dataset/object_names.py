"""The names of pictures in S3. Does no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IMAGES", "key_template", "made_by"]

#: Folder below the dataset's prefix.
IMAGES: Final = "images/"
#: Anything but what S3, URLs, shells and spreadsheets all leave as it is, in any language.
_UNUSUAL: Final = re.compile(r"[^\w.-]+")
#: Bytes of an id in a name. Stores that keep objects as files allow 255 in all, and the gateway task takes some 40.
_MAX_BYTES: Final = 120


def key_template(prefix: str, row_id: str) -> str:
    """
    Return the template of the keys of a row's pictures, with ``{task_id}``, ``{index}`` and ``{ext}``.

    The gateway task is part of the name, so that a picture that is bought again never replaces another one.

    :param prefix: of the dataset, without a slash at its end.
    :param row_id: comes first, for people. Unusual characters in it are replaced, and it is cut after 120 bytes.
    """
    name = _UNUSUAL.sub("_", row_id).lstrip(".").encode()[:_MAX_BYTES].decode(errors="ignore")
    fixed = f"{prefix}/{IMAGES}{name}" if prefix else f"{IMAGES}{name}"
    return fixed.replace("{", "{{").replace("}", "}}") + "-{task_id}-{index}.{ext}"


def made_by(uri: str, task_ids: Iterable[str]) -> tuple[str, int] | None:
    """
    Return the gateway task that made an object, and the picture's place in it, from 0.

    :param uri: of an object whose key was made with :func:`key_template`.
    :param task_ids: of the call that bought it.
    :return: ``None`` for an object of another name.
    """
    for task_id in task_ids:
        _, found, rest = uri.rpartition(f"-{task_id}-")
        index, dot, _ = rest.partition(".")
        if found and dot and index.isdecimal():
            return task_id, int(index)
    return None
