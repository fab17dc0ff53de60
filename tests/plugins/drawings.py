"""Files that really are pictures."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

__all__ = ["RED", "WHITE", "decoded", "drawn", "two_halves"]

RED = (200, 30, 30)
WHITE = (255, 255, 255)


def drawn(file_format: str = "PNG", *, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    """Return a file of one colour."""
    return _saved(Image.new("RGB", size, RED).convert(mode), file_format, options)


def two_halves(file_format: str, *, size: tuple[int, int] = (640, 480), **options: Any) -> bytes:
    """Return a file whose left half is red, and whose right half is white."""
    picture = Image.new("RGB", size, WHITE)
    picture.paste(RED, (0, 0, size[0] // 2, size[1]))
    return _saved(picture, file_format, options)


def decoded(body: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(body))
    picture.load()
    return picture


def _saved(picture: Image.Image, file_format: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()
