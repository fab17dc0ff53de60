"""
Image files: the format of a picture, whether it is complete, and its size.

The content alone decides, never a file name or a content type. Does no network I/O.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import ImageRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UNKNOWN_FORMAT", "ImageFormat", "format_of", "guess_extensions", "measure", "recognise"]

#: Bytes at the beginning of a file that show its format. An SVG file may begin with comments.
_HEAD_SIZE: Final = 4096
#: Bytes at the end of a file where the end of the picture is looked for before the rest of the file is read.
_TAIL_SIZE: Final = 64 * 1024
_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """
    One file format.

    :param ext: file name extension without a dot.
    :param start: matches the beginning of a file, as UTF-8 where that is text.
    :param is_complete: returns whether a file holds a whole picture. Bytes after the picture do no harm. A format that
        does not show its own end is taken to be complete.
    """

    ext: str
    content_type: str
    start: re.Pattern[bytes]
    is_complete: Callable[[IO[bytes], int], bool]


def _contains(marker: bytes, body: IO[bytes], size: int, *, start: int = 0) -> bool:
    """Return whether a file contains a marker; the last part is read first, where it usually is."""
    body.seek(max(start, size - _TAIL_SIZE))
    if marker in body.read(_TAIL_SIZE):
        return True
    body.seek(start)
    overlap = b""
    while piece := body.read(_PIECE):
        if marker in overlap + piece:
            return True
        overlap = piece[1 - len(marker) :]
    return False


def _is_complete_jpeg(body: IO[bytes], size: int) -> bool:
    """Look for the end marker after the headers only: a thumbnail inside of these has an end marker too."""
    place = 2
    while place + 4 <= size:
        body.seek(place)
        head = body.read(4)
        if head[0] != 0xFF or head[1] == 0xDA:
            return _contains(b"\xff\xd9", body, size, start=place)
        # A marker may be preceded by any number of fill bytes.
        place += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:4], "big")
    return False


def _is_complete_gif(body: IO[bytes], size: int) -> bool:
    """Walk through the blocks of all frames to the trailer."""
    body.seek(0)
    data = memoryview(body.read(size))
    place = 13 + _colours(data[10]) if size > 13 else size
    while place < size:
        kind = data[place]
        if kind == 0x3B:  # the trailer
            return True
        if kind == 0x21:  # an extension
            place += 2
        elif kind == 0x2C and place + 9 < size:  # a frame
            place += 11 + _colours(data[place + 9])
        else:
            return False
        while place < size and data[place]:
            place += 1 + data[place]
        place += 1
    return False


def _colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _is_complete_webp(body: IO[bytes], size: int) -> bool:
    body.seek(4)
    return int.from_bytes(body.read(4), "little") + 8 <= size


#: Boxes of which an AVIF, HEIC, JPEG XL or JPEG 2000 file consists. Any other text begins what follows the picture.
_BOXES: Final = frozenset({b"ftyp", b"meta", b"moov", b"mdat", b"idat", b"jp2h", b"jp2c", b"jxlc", b"jxlp"})


def _has_whole_boxes(body: IO[bytes], size: int) -> bool:
    """Return whether no box of the file announces more bytes than the file has."""
    place = 0
    while place + 8 <= size:
        body.seek(place)
        head = body.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if head[4:8] in _BOXES and place + length > size:
            return False
        if length < 8:
            break
        place += length
    return True


#: What may precede the root element. The possessive repetition keeps the time linear for a hostile file.
_SVG: Final = re.compile(
    rb"""(?:\s
          | (?><\?xml[^>]*>)
          | (?><!--.*?-->)
          | (?><!DOCTYPE\s+svg[^>\[]*(?:\[[^\]]*\]\s*)?>)
        )*+
        <(?:\w+:)?svg[\s>/]""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)


def _is_complete_svg(body: IO[bytes], size: int) -> bool:
    body.seek(max(0, size - _TAIL_SIZE))
    tail = body.read(_TAIL_SIZE).replace(b"\0", b"")
    return re.search(rb"</(?:\w+:)?svg\s*>|/>\s*$", tail, re.IGNORECASE) is not None


def _format(
    ext: str, content_type: str, start: bytes, is_complete: Callable[[IO[bytes], int], bool] = lambda _body, _size: True
) -> ImageFormat:
    return ImageFormat(ext, content_type, re.compile(start, re.DOTALL), is_complete)


_FORMATS: Final = (
    _format("png", "image/png", rb"\x89PNG\r\n\x1a\n", partial(_contains, b"IEND\xaeB`\x82")),
    _format("jpg", "image/jpeg", rb"\xff\xd8\xff", _is_complete_jpeg),
    _format("webp", "image/webp", rb"RIFF.{4}WEBP", _is_complete_webp),
    _format("gif", "image/gif", rb"GIF8[79]a", _is_complete_gif),
    # Of its brands the major one may be that of any HEIF file.
    _format("avif", "image/avif", rb".{4}ftyp(?:.{4}){0,13}?avi[fs]", _has_whole_boxes),
    _format("heic", "image/heic", rb".{4}ftyphe[iv][cxms]", _has_whole_boxes),
    _format("heif", "image/heif", rb".{4}ftypm[is]f1", _has_whole_boxes),
    ImageFormat("svg", "image/svg+xml", _SVG, _is_complete_svg),
    _format("bmp", "image/bmp", rb"BM.{4}\0{4}"),
    _format("tiff", "image/tiff", rb"II[*+]\0|MM\0[*+]"),
    _format("ico", "image/vnd.microsoft.icon", rb"\0\0\x01\0"),
    _format("jxl", "image/jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", _has_whole_boxes),
    _format("jp2", "image/jp2", rb"\0\0\0\x0cjP  \r\n\x87\n", _has_whole_boxes),
    _format("j2k", "image/x-jp2-codestream", rb"\xff\x4f\xff\x51"),
    _format("pdf", "application/pdf", rb"%PDF-"),
)
#: A picture was paid for and something binary came: it is stored, whatever it is.
UNKNOWN_FORMAT: Final = _format("bin", "application/octet-stream", b"")


def format_of(head: bytes) -> ImageFormat | None:
    """
    Return the format of a file, or ``None`` for what is not a known image format.

    :param head: the beginning of the file; 4 KiB are enough, 32 bytes for all formats but SVG.
    """
    text = _as_utf8(head[:_HEAD_SIZE])
    return next((image_format for image_format in _FORMATS if image_format.start.match(text)), None)


def recognise(body: IO[bytes]) -> ImageFormat:
    """
    Return the format of a complete picture; :data:`UNKNOWN_FORMAT` for binary content of an unknown format.

    :param body: a file that can be read from any position; its position changes.
    :raises ImageRejectedError: for text, such as an error page, for nothing at all, and for an incomplete picture. The
        next download may deliver the picture.
    """
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    head = body.read(_HEAD_SIZE)
    image_format = format_of(head)
    if image_format is None:
        if _is_text(head):
            raise ImageRejectedError(f"not a recognised image format: the file begins with {head[:48]!r}")
        return UNKNOWN_FORMAT
    if not image_format.is_complete(body, size):
        raise ImageRejectedError(f"the {image_format.ext} file ends before the picture does ({size} bytes)")
    return image_format


def measure(body: IO[bytes], image_format: ImageFormat) -> tuple[int, int] | None:
    """
    Return the width and the height of a picture in pixels, or ``None`` where they cannot be read.

    :param body: a file that can be read from any position; its position changes.
    """
    import imagesize

    if image_format.content_type == "image/svg+xml":  # Third-party XML is not parsed.
        return None
    body.seek(0)
    try:
        width, height = imagesize.get(body)
    except Exception:  # noqa: BLE001 - a picture is not lost for the size that it cannot tell
        return None
    return (int(width), int(height)) if width > 0 and height > 0 else None


_MARKUP: Final = re.compile(rb"\s*[<{\[]\s*[\w!/?\"'{\[}\]]")


def _is_text(head: bytes) -> bool:
    """Return whether a file is text, as the error pages of gateways, proxies and image hosts are."""
    text = _as_utf8(head)
    if _MARKUP.match(text):
        return True
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in text):
        return False
    try:
        text.decode()
    except UnicodeDecodeError as error:
        # The head may end in the middle of a character.
        return error.start >= len(text) - 3
    return True


def _as_utf8(head: bytes) -> bytes:
    """Return text of an encoding that its first bytes name in UTF-8, and anything else as it is."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head.decode("utf-16", errors="ignore").encode(errors="ignore")
    return head.removeprefix(b"\xef\xbb\xbf")


_EXTENSION: Final = re.compile(r"data:image/([a-z0-9]+)|[^?#]*\.([a-z0-9]+)(?:[?#]|$)")
_OTHER_NAMES: Final = {"jpeg": "jpg", "tif": "tiff"}


def guess_extensions(url: str) -> list[str]:
    """Return the extensions that a picture may turn out to have, the likeliest first."""
    match = _EXTENSION.match(url[:2048].lower())
    named = (match[1] or match[2]) if match else ""
    known = [image_format.ext for image_format in (*_FORMATS, UNKNOWN_FORMAT)]
    return sorted(known, key=lambda ext: ext != _OTHER_NAMES.get(named, named))
