"""Small, complete image files of the formats that gateways take as reference images, and of some that they do not."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

__all__ = ["ANOTHER_GIF", "DATA_URI", "GIF", "image_file", "transparent_png"]


def image_file(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    """
    Return a file.

    :param kind: format, as Pillow names it.
    :param mode: of the pixels; the letter A in it stands for an alpha channel.
    :param options: for Pillow's encoder.
    """
    body = io.BytesIO()
    noise = Image.effect_noise(size, 90)
    pixels = Image.merge("RGBA", [noise] * 4) if "A" in mode else noise
    pixels.convert(mode).save(body, kind, **options)
    return body.getvalue()


def transparent_png(size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a PNG file without an alpha channel, but with a transparent colour."""
    return image_file("PNG", "P", size, transparency=0)


GIF = image_file("GIF", "P", (2, 1))
ANOTHER_GIF = image_file("GIF", "P", (3, 1))
DATA_URI = f"data:image/gif;base64,{base64.b64encode(GIF).decode()}"
