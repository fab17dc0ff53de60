"""A reference image as the gateways take it: its size, its format, and its form inside a request."""

from __future__ import annotations

import base64
import stat
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES
from airflow_provider_apimart.gateway.image_format import format_of

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_apimart.gateway.image_format import ImageFormat

__all__ = ["check_size", "data_uri", "read_reference", "reference_format"]

#: What the page on uploads lists.
_CONTENT_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
_ALLOWED: Final = "a JPEG, PNG, WebP or GIF file"


def check_size(size: int) -> None:
    """
    Raise unless an image of this size is taken.

    :param size: bytes.
    :raises InvalidRequestError: for more than ``MAX_REFERENCE_BYTES``. Nothing was sent.
    """
    if size > MAX_REFERENCE_BYTES:
        raise _refusal(f"has {size} bytes", f"of at most {MAX_REFERENCE_BYTES} bytes")


def reference_format(content: bytes) -> ImageFormat:
    """
    Return what kind of image it is, by its content.

    :raises InvalidRequestError: when it is too large, or of a kind that is not taken. Nothing was sent.
    """
    check_size(len(content))
    image_format = format_of(content)
    if image_format is None:
        raise _refusal(f"is no picture: it begins with {content[:16]!r}", _ALLOWED)
    if image_format.content_type not in _CONTENT_TYPES:
        raise _refusal(f"is of the type {image_format.content_type}", _ALLOWED)
    return image_format


def data_uri(content: bytes) -> str:
    """
    Return the image as text that a request can hold, a third longer than the image.

    :raises InvalidRequestError: as :func:`reference_format` does.
    """
    return f"data:{reference_format(content).content_type};base64,{base64.b64encode(content).decode()}"


def read_reference(path: Path) -> bytes:
    """
    Read an image, unless it is too large: then nothing of it is read.

    :raises InvalidRequestError: for what is no regular file, or too large. Nothing was sent.
    :raises OSError: for a file that cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise _refusal("is no regular file", _ALLOWED)
    check_size(found.st_size)
    with path.open("rb") as file:
        # One more byte tells that it has grown meanwhile.
        return file.read(MAX_REFERENCE_BYTES + 1)


def _refusal(found: str, allowed: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The image {found}: it must be {allowed}. Nothing was sent.", field="image", value=found, allowed=allowed
    )
