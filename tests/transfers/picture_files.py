"""Files that are pictures as far as the transfer looks, of any size, without a picture in them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["png", "png_in_pieces"]

PIECE = b"\0" * (64 * 1024)
TAIL = b"\0\0\0\0IEND\xaeB`\x82"


def png(*, size: int = 1000, width: int = 4, height: int = 3, filling: bytes = b"\0") -> bytes:
    """Return a PNG file of a size in bytes."""
    head = _head(width, height)
    return head + filling * (size - len(head) - len(TAIL)) + TAIL


def png_in_pieces(size: int) -> Iterator[bytes]:
    """Yield a PNG file of a size in bytes that nobody holds."""
    head = _head(4, 3)
    left = size - len(head) - len(TAIL)
    yield head
    while left > 0:
        yield PIECE[:left]
        left -= len(PIECE)
    yield TAIL


def _head(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", width, height, 8, 2, 0, 0, 0, 0)
