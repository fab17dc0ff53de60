"""What kind of picture some bytes are, and whether they are all of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import ImageRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEAD_SIZE", "TAIL_SIZE", "ImageFormat", "format_of", "guess_extensions", "recognise"]

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
