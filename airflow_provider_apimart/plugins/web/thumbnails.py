"""Small pictures of pictures, and the memory of those that were made."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final

from cachetools import LRUCache
from PIL import Image, ImageOps

from airflow_provider_apimart.exceptions import ImageRejectedError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["KEPT", "MAX_PIXELS", "kept_or_made", "make_thumbnail"]

#: Pixels of the longer side: a tile of the gallery is 190 to 380 wide, and screens have up to two pixels for each.
_LONGER_SIDE: Final = 480
#: The gateways' largest pictures have 8 million pixels (3840 x 2160). Decoding takes 4 bytes for each, a WebP 16.
MAX_PIXELS: Final = 32_000_000
_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_QUALITY: Final = 80
#: Bytes of all thumbnails that are kept: some thousand.
_KEPT_BYTES: Final = 32 * MEBIBYTE

#: The thumbnails that were made last, and those that are being made, by what stands for picture and content. For the
#: event loop only.
KEPT: Final[LRUCache[str, bytes]] = LRUCache(_KEPT_BYTES, getsizeof=len)
_MAKING: Final[dict[str, asyncio.Task[bytes]]] = {}


async def kept_or_made(version: str, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
    """
    Return a thumbnail. Those who ask for one at the same time share the work on it, which goes on without them.

    :param version: stands for picture and content.
    :param make: makes it, where it is not kept.
    """
    if version in KEPT:
        return KEPT[version]
    making = _MAKING.get(version)
    if making is None:
        making = _MAKING[version] = asyncio.create_task(make())
        making.add_done_callback(partial(_keep, version))
    return await asyncio.shield(making)


def _keep(version: str, made: asyncio.Task[bytes]) -> None:
    del _MAKING[version]
    # Asked for also where nobody is left to hear of it: asyncio would complain.
    if not made.cancelled() and made.exception() is None:
        KEPT[version] = made.result()


def make_thumbnail(picture: IO[bytes]) -> bytes:
    """
    Return a small WebP of a picture, upright, and transparent where that is.

    :param picture: a file with a JPEG, PNG or WebP.
    :raises ImageRejectedError: when it has more than :data:`MAX_PIXELS`, or cannot be decoded.
    """
    try:
        with Image.open(picture, formats=_FORMATS) as image:
            return _shrink(image)
    except ImageRejectedError:
        raise
    except Exception as error:  # a decoder may raise anything for a file that is broken on purpose
        raise ImageRejectedError(f"the picture cannot be decoded ({error})", retryable=False) from error


def _shrink(image: Image.Image) -> bytes:
    # Opening has read the header only.
    if image.width * image.height > MAX_PIXELS:
        raise ImageRejectedError(
            f"a picture of {image.width} x {image.height} pixels is too large for a thumbnail", retryable=False
        )
    if image.mode in {"1", "P"}:
        # Neighbours in a palette cannot be averaged.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    # Has a JPEG decoded at a fraction of its size.
    image.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
    ImageOps.exif_transpose(image, in_place=True)
    made = io.BytesIO()
    image.save(made, "WEBP", quality=_QUALITY)
    return made.getvalue()
