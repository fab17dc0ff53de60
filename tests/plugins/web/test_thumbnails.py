from __future__ import annotations

import asyncio
import io
import random
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from plugins.drawings import RED, WHITE, decoded, drawn, two_halves

from airflow_provider_apimart.exceptions import ImageRejectedError
from airflow_provider_apimart.plugins.web.thumbnails import KEPT, MAX_PIXELS, kept_or_made, make_thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIF_ORIENTATION = 0x0112
TURNED_LEFT = 6


def thumbnail(body: bytes) -> Image.Image:
    return decoded(make_thumbnail(io.BytesIO(body)))


def is_close(pixel: float | Sequence[float] | None, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(one - other) < 16 for one, other in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("size", "small"), [((960, 640), (480, 320)), ((640, 960), (320, 480)), ((3840, 2160), (480, 270))]
)
def test_the_longer_side_is_shrunk_to_480_pixels(
    file_format: str, size: tuple[int, int], small: tuple[int, int]
) -> None:
    made = thumbnail(two_halves(file_format, size=size))

    assert made.format == "WEBP"
    assert made.size == small
    assert is_close(made.getpixel((10, 10)), RED)
    assert is_close(made.getpixel((small[0] - 10, 10)), WHITE)


def test_a_picture_that_is_small_already_keeps_its_size() -> None:
    assert thumbnail(drawn(size=(64, 48))).size == (64, 48)


def test_a_picture_that_a_camera_has_turned_is_upright() -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = TURNED_LEFT

    made = thumbnail(two_halves("JPEG", size=(960, 480), exif=exif))

    assert made.size == (240, 480)
    assert is_close(made.getpixel((120, 10)), RED)
    assert is_close(made.getpixel((120, 470)), WHITE)
    assert not made.getexif()


def test_what_is_transparent_stays_so() -> None:
    picture = Image.new("RGBA", (960, 960), (0, 0, 0, 0))
    picture.paste((*RED, 255), (0, 0, 480, 960))
    file = io.BytesIO()
    picture.save(file, "PNG")

    made = thumbnail(file.getvalue())

    assert made.mode == "RGBA"
    assert made.getpixel((400, 100)) == (0, 0, 0, 0)
    assert made.getchannel("A").getpixel((100, 100)) == 255


@pytest.mark.parametrize(
    ("file_format", "mode"), [("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]
)
def test_pictures_of_all_kinds_of_colours_are_shrunk(file_format: str, mode: str) -> None:
    assert thumbnail(drawn(file_format, size=(960, 960), mode=mode)).size == (480, 480)


def test_colours_of_a_palette_are_blended() -> None:
    stripes = Image.new("RGB", (960, 960), WHITE)
    for left in range(0, 960, 2):
        stripes.paste(RED, (left, 0, left + 1, 960))
    file = io.BytesIO()
    stripes.quantize(2).save(file, "PNG")

    made = thumbnail(file.getvalue())

    middle = made.getpixel((200, 200))
    assert isinstance(middle, tuple)
    assert RED[1] + 50 < middle[1] < WHITE[1] - 50


def test_a_decompression_bomb_is_refused_for_what_its_header_says() -> None:
    side = 6000
    assert side * side > MAX_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"not even compressed") + chunk(b"IEND", b"")

    with pytest.raises(ImageRejectedError, match="6000 x 6000 pixels is too large for a thumbnail"):
        make_thumbnail(io.BytesIO(bomb))


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_bomb_that_pillow_itself_knows_is_refused_too(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    with pytest.raises(ImageRejectedError):
        make_thumbnail(io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_ends_early_is_refused_in_words(file_format: str) -> None:
    whole = two_halves(file_format)

    with pytest.raises(ImageRejectedError, match="the picture cannot be decoded"):
        make_thumbnail(io.BytesIO(whole[: len(whole) // 2]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        drawn("GIF"),
        drawn("TIFF"),
    ],
    ids=["empty", "svg", "postscript", "gif", "tiff"],
)
def test_nothing_but_the_three_formats_is_decoded(body: bytes) -> None:
    with pytest.raises(ImageRejectedError):
        make_thumbnail(io.BytesIO(body))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_file_is_shrunk_or_refused_but_breaks_nothing(file_format: str) -> None:
    chance = random.Random(7)  # noqa: S311 - the damage is to be the same each time
    whole = two_halves(file_format, size=(120, 90))
    outcomes = set()
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 4, 20))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            make_thumbnail(io.BytesIO(damaged))
            outcomes.add("shrunk")
        except ImageRejectedError:
            outcomes.add("refused")

    assert outcomes == {"shrunk", "refused"}


def test_the_thumbnails_that_are_kept_take_a_bounded_number_of_bytes() -> None:
    try:
        for number in range(40):
            KEPT[str(number)] = bytes(1024 * 1024)
        assert len(KEPT) == 32
        assert "39" in KEPT
        assert "7" not in KEPT
    finally:
        KEPT.clear()


async def test_the_work_on_a_thumbnail_is_shared_and_goes_on_without_those_who_have_left() -> None:
    begun, may_end = [], asyncio.Event()

    async def make() -> bytes:
        begun.append(1)
        await may_end.wait()
        return b"small"

    waiting = [asyncio.create_task(kept_or_made("shared", make)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    may_end.set()
    try:
        assert await asyncio.gather(*waiting[1:]) == [b"small", b"small"]
        assert await kept_or_made("shared", make) == b"small"
    finally:
        KEPT.clear()

    assert waiting[0].cancelled()
    assert len(begun) == 1


async def test_a_thumbnail_that_could_not_be_made_is_tried_again() -> None:
    async def fail() -> bytes:
        raise ImageRejectedError("no picture", retryable=False)

    async def make() -> bytes:
        return b"small"

    failed = await asyncio.gather(*(kept_or_made("broken", fail) for _ in range(2)), return_exceptions=True)
    try:
        assert [type(error) for error in failed] == [ImageRejectedError] * 2
        assert await kept_or_made("broken", make) == b"small"
    finally:
        KEPT.clear()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
