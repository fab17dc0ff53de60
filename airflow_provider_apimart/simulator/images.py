"""Pictures of the right size and format, the same for the same name."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from random import Random
from typing import Any

from PIL import Image, ImageDraw, ImageOps

__all__ = ["MEDIA_TYPES", "render"]

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
#: The picture is drawn this many times smaller and then enlarged, which keeps the largest under 0.2 seconds.
_ENLARGEMENT = 4
_DEFAULT_QUALITY = 85


@lru_cache(maxsize=64)
def render(
    name: str, width: int, height: int, image_format: str, compression: int | None = None, *, transparent: bool = False
) -> bytes:
    """
    Return the bytes of a picture: a gradient with some circles.

    :param name: decides colours and circles.
    :param width: pixels.
    :param height: pixels.
    :param image_format: ``png``, ``jpeg`` or ``webp``.
    :param compression: quality from 0 to 100 for ``jpeg`` and ``webp``.
    :param transparent: whether the picture has an alpha channel, clear outside of the circles.
    """
    random = Random(name)
    size = (max(1, width // _ENLARGEMENT), max(1, height // _ENLARGEMENT))
    dark, middle, light = (_colour(random, brightness) for brightness in (60, 150, 230))
    gradient = Image.linear_gradient("L").rotate(random.choice((0, 90, 180, 270))).resize(size)
    picture = ImageOps.colorize(gradient, black=dark, white=light, mid=middle)
    circles = [_circle(random, size) for _ in range(6)]
    drawing = ImageDraw.Draw(picture)
    for box in circles:
        drawing.ellipse(box, fill=_colour(random, 180), outline=dark)
    if transparent:
        alpha = Image.new("L", size, 0)
        mask = ImageDraw.Draw(alpha)
        for box in circles:
            mask.ellipse(box, fill=255)
        picture.putalpha(alpha)
    buffer = BytesIO()
    enlarged = picture.resize((width, height), Image.Resampling.NEAREST)
    enlarged.save(buffer, image_format, **_encoding(image_format, compression))
    return buffer.getvalue()


def _encoding(image_format: str, compression: int | None) -> dict[str, Any]:
    if image_format == "png":
        return {"compress_level": 1}
    quality = _DEFAULT_QUALITY if compression is None else compression
    return {"quality": quality, "method": 0} if image_format == "webp" else {"quality": quality}


def _colour(random: Random, brightness: int) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, brightness + random.randint(-50, 50))) for _ in range(3))
    return red, green, blue


def _circle(random: Random, size: tuple[int, int]) -> tuple[int, int, int, int]:
    radius = max(1, random.randint(min(size) // 12, min(size) // 4 + 1))
    x, y = random.randrange(size[0]), random.randrange(size[1])
    return x - radius, y - radius, x + radius, y + radius
