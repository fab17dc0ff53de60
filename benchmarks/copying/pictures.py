"""Valid PNG files of an exact size, all different."""

from __future__ import annotations

import random
import struct
import zlib

__all__ = ["beginning", "ending", "name"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def name(number: int) -> str:
    """Return the file name of a picture."""
    return f"{number}.png"


def beginning(number: int) -> bytes:
    """Return the first bytes of a file, by which it differs from the others: one pixel and its number."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = _chunk(b"IDAT", zlib.compress(b"\0\xff\xff\xff"))
    return _SIGNATURE + header + pixel + _chunk(b"nuMb", number.to_bytes(8))


def ending(size: int) -> bytes:
    """Return all other bytes of a file of some size: padding that cannot be compressed."""
    end = _chunk(b"IEND", b"")
    frame = len(beginning(0)) + len(_chunk(b"paDd", b"")) + len(end)
    return _chunk(b"paDd", random.Random(size).randbytes(size - frame)) + end


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
