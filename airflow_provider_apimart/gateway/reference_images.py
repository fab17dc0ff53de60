"""
Reference images and masks: checked against the vendors' pages before anything is uploaded, and encoded for a request.

The content alone decides, never a file name or a content type. Does no network I/O.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import ImageRejectedError, InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES
from airflow_provider_apimart.gateway.images import format_of, measure, recognise

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "ReferenceImage",
    "check_mask",
    "check_reference_bytes",
    "decode_data_uri",
    "encode_data_uri",
    "inspect_reference",
    "is_data_uri",
    "read_reference",
]

#: The formats that the vendor's page on uploads lists.
_CONTENT_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})
_ALLOWED: Final = "a complete JPEG, PNG, WebP or GIF file of at most 20 MiB"
_ALLOWED_MASK: Final = (
    "a PNG or WebP file that has an alpha channel and the size of the first reference image; the other formats that "
    "the gateways take cannot carry one"
)
_DATA_URI: Final = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """
    The properties of a complete image in a format that the gateways accept.

    :param content_type: recognised by the content.
    :param size: width and height in pixels; ``None`` where not known.
    :param has_alpha: whether it is a PNG or WebP file with an alpha channel, or with a transparent colour.
    """

    content_type: str
    size: tuple[int, int] | None
    has_alpha: bool


def inspect_reference(content: bytes) -> ReferenceImage:
    """
    Return the properties of a reference image, by the same recogniser as a downloaded picture.

    :raises InvalidRequestError: when it is incomplete, too large, or of a format that the gateways do not accept.
        Nothing was submitted.
    """
    check_reference_bytes(len(content))
    if not content:
        raise _refusal("is empty")
    # The content is not quoted: it may be that of any file that the worker can read.
    if format_of(content) is None:
        raise _refusal("is not of a recognised format")
    body = io.BytesIO(content)
    try:
        image_format = recognise(body)
    except ImageRejectedError as error:
        raise _refusal(f"is not complete: {error}") from None
    if image_format.content_type not in _CONTENT_TYPES:
        raise _refusal(f"is of the type {image_format.content_type}")
    return ReferenceImage(image_format.content_type, measure(body, image_format), _has_alpha(content))


def check_mask(mask: ReferenceImage, first: ReferenceImage | None) -> None:
    """
    Raise unless an image can be the mask of a request.

    :param first: the first reference image of the request; ``None`` where only its URL is known.
    :raises InvalidRequestError: for a mask without an alpha channel, or of another size. Nothing was submitted.
    """
    if not mask.has_alpha:
        raise _refusal(f"is of the type {mask.content_type} and has no alpha channel", _ALLOWED_MASK, name="mask")
    if first is None or mask.size is None or first.size is None or mask.size == first.size:
        return
    if first.content_type == "image/jpeg" and mask.size == first.size[::-1]:
        return  # EXIF may turn a JPEG file by 90 degrees, which gateways and libraries read differently.
    sizes = ["x".join(map(str, size)) for size in (mask.size, first.size)]
    raise _refusal("has {} pixels, and the first reference image {}".format(*sizes), _ALLOWED_MASK, name="mask")


def check_reference_bytes(size: int) -> None:
    """
    Raise unless the gateways accept a reference image of this size in bytes.

    :raises InvalidRequestError: for more than ``MAX_REFERENCE_BYTES``. Nothing was submitted.
    """
    if size > MAX_REFERENCE_BYTES:
        raise _refusal(f"has {size} bytes, and the gateways accept at most {MAX_REFERENCE_BYTES}")


def is_data_uri(url: str) -> bool:
    """Return whether a text is an image as a data URI of the form that the vendors' pages show."""
    return _DATA_URI.match(url) is not None


def encode_data_uri(content: bytes) -> str:
    """
    Return a reference image as text that a request can hold, a third longer than the image.

    :raises InvalidRequestError: see :func:`inspect_reference`.
    """
    return f"data:{inspect_reference(content).content_type};base64,{base64.b64encode(content).decode()}"


def decode_data_uri(uri: str) -> bytes:
    """
    Return the content of a data URI.

    :param uri: for which :func:`is_data_uri` holds.
    :raises InvalidRequestError: when it is not base64. Nothing was submitted.
    """
    text = "".join(uri.partition(",")[2].split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise _refusal(f"is not valid base64 ({error})") from None


def read_reference(path: Path) -> bytes:
    """
    Read a reference image, unless it is too large: then nothing of it is read.

    :raises InvalidRequestError: for what is not a regular file, or too large. Nothing was submitted.
    :raises OSError: for a file that cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _refusal("is not a regular file")
    check_reference_bytes(status.st_size)
    with path.open("rb") as file:
        # One more byte shows that the file has grown since.
        return file.read(MAX_REFERENCE_BYTES + 1)


def _has_alpha(content: bytes) -> bool:
    """Return whether a PNG or WebP file has an alpha channel. JPEG has none; GIF has none that masks can use."""
    if content.startswith(b"\x89PNG"):
        # The colour type: grey and alpha, or colours and alpha. A transparent colour is named before the pixels.
        return content[25:26] in {b"\x04", b"\x06"} or b"tRNS" in content[: content.find(b"IDAT")]
    flags = {b"VP8X": content[20:21], b"VP8L": content[24:25]}.get(content[12:16], b"")
    return content.startswith(b"RIFF") and flags != b"" and bool(flags[0] & 0x10)


def _refusal(reason: str, allowed: str = _ALLOWED, *, name: str = "image") -> InvalidRequestError:
    return InvalidRequestError(
        f"The {name} {reason}. Nothing was submitted and nothing was charged. Use {allowed}.",
        field=name,
        value=reason,
        allowed=allowed,
    )
