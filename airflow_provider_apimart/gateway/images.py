"""
What kind of picture some bytes are, and whether they are all of it. Pure.

A reference image as the gateways take it: its size, its format, and its form inside a request.
"""

from __future__ import annotations

import base64
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import ImageRejectedError, InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


__all__ = [
    "HEAD_SIZE",
    "TAIL_SIZE",
    "ImageFormat",
    "check_size",
    "data_uri",
    "format_of",
    "guess_extensions",
    "read_reference",
    "recognise",
    "reference_format",
]

#: Bytes from the beginning and the end of a file that tell its format, and whether it is whole.
HEAD_SIZE: Final = 32
TAIL_SIZE: Final = 1024


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """
    One file format.

    :param ext: file name extension without a dot.
    :param is_complete: whether head, tail and size are those of a whole file.
    """

    ext: str
    content_type: str
    matches: Callable[[bytes], bool]
    is_complete: Callable[[bytes, bytes, int], bool]


_FORMATS: Final = (
    ImageFormat(
        "png",
        "image/png",
        lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
        lambda _head, tail, _size: b"IEND\xaeB`\x82" in tail,
    ),
    ImageFormat(
        "jpg",
        "image/jpeg",
        lambda head: head.startswith(b"\xff\xd8\xff"),
        lambda _head, tail, _size: b"\xff\xd9" in tail,
    ),
    ImageFormat(
        "webp",
        "image/webp",
        lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        lambda head, _tail, size: int.from_bytes(head[4:8], "little") + 8 <= size,
    ),
    ImageFormat(
        "gif",
        "image/gif",
        lambda head: head.startswith((b"GIF87a", b"GIF89a")),
        lambda _head, tail, _size: b"\x00;" in tail,
    ),
    ImageFormat(
        "avif",
        "image/avif",
        lambda head: head[4:12] in {b"ftypavif", b"ftypavis"},
        lambda _head, _tail, _size: True,
    ),
)


def format_of(head: bytes) -> ImageFormat | None:
    """
    Return the format of a file, whatever its name or content type said; ``None`` for what is no picture.

    :param head: the first :data:`HEAD_SIZE` bytes, or more.
    """
    return next((image_format for image_format in _FORMATS if image_format.matches(head)), None)


def recognise(head: bytes, tail: bytes, size: int) -> ImageFormat:
    """
    Return the format of a finished picture that was downloaded.

    :param head: the first :data:`HEAD_SIZE` bytes.
    :param tail: the last :data:`TAIL_SIZE` bytes.
    :param size: of the whole file.
    :raises ImageRejectedError: when it is no picture, or not all of one.
    """
    image_format = format_of(head)
    if image_format is None:
        raise ImageRejectedError(f"what was delivered is no picture: it begins with {head[:16]!r}")
    if not image_format.is_complete(head, tail, size):
        raise ImageRejectedError(f"the {image_format.ext} file ends before the picture does ({size} bytes)")
    return image_format


def guess_extensions(url: str) -> list[str]:
    """Return the extensions that the picture may turn out to have, the likeliest first."""
    path = url.partition("?")[0].lower()
    known = [image_format.ext for image_format in _FORMATS]
    named = path.rpartition(".")[2].replace("jpeg", "jpg")
    return sorted(known, key=lambda ext: ext != named)


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
