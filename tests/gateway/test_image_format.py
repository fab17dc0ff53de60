"""What is taken for a complete picture."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from airflow_provider_apimart.exceptions import ImageRejectedError
from airflow_provider_apimart.gateway.images import guess_extensions, recognise


def picture(image_format: str) -> bytes:
    body = io.BytesIO()
    Image.effect_noise((96, 96), 40).save(body, image_format)
    return body.getvalue()


def recognised(body: bytes) -> tuple[str, str]:
    image_format = recognise(io.BytesIO(body))
    return image_format.ext, image_format.content_type


@pytest.mark.parametrize(
    ("pillow", "ext", "content_type"),
    [
        ("PNG", "png", "image/png"),
        ("JPEG", "jpg", "image/jpeg"),
        ("WEBP", "webp", "image/webp"),
        ("GIF", "gif", "image/gif"),
        ("AVIF", "avif", "image/avif"),
        ("BMP", "bmp", "image/bmp"),
        ("TIFF", "tiff", "image/tiff"),
        ("ICO", "ico", "image/vnd.microsoft.icon"),
        ("JPEG2000", "jp2", "image/jp2"),
        ("PDF", "pdf", "application/pdf"),
    ],
)
def test_a_whole_file_is_recognised_by_its_bytes(pillow: str, ext: str, content_type: str) -> None:
    assert recognised(picture(pillow)) == (ext, content_type)


@pytest.mark.parametrize("pillow", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_ends_early_is_refused(pillow: str, kept: float) -> None:
    body = picture(pillow)

    with pytest.raises(ImageRejectedError, match="ends before the picture does") as caught:
        recognised(body[: int(len(body) * kept)])

    assert caught.value.retryable


@pytest.mark.parametrize("pillow", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000"])
@pytest.mark.parametrize(
    "trailing", [b"\0", b"\r\n<!-- served by a CDN -->", b"\0\0\0\x20uuid" + b"x" * 9, b"x" * 200_000]
)
def test_bytes_after_a_picture_do_not_lose_it(pillow: str, trailing: bytes) -> None:
    body = picture(pillow)

    assert recognised(body + trailing) == recognised(body)


def test_an_animation_is_whole_at_the_end_of_its_last_frame() -> None:
    frames = [Image.effect_noise((64, 64), sigma).convert("P") for sigma in (20, 40, 60)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], loop=0)
    body = file.getvalue()

    assert recognised(body) == ("gif", "image/gif")
    with pytest.raises(ImageRejectedError, match="ends before the picture does"):
        recognised(body[:-1])


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture() -> None:
    thumbnail = picture("JPEG")[:20_000]
    body = picture("JPEG")
    with_thumbnail = body[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + body[2:]

    assert recognised(with_thumbnail) == ("jpg", "image/jpeg")
    with pytest.raises(ImageRejectedError, match="ends before the picture does"):
        recognised(with_thumbnail[:-200])


@pytest.mark.parametrize(
    ("body", "ext"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif"),
        (b"\xff\x0a\x00\x90", "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ", "jxl"),
        (b"\xff\x4f\xff\x51\x00", "j2k"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made --><svg width='1'>\n</svg>\n", "svg"),
        (b"<!DOCTYPE svg PUBLIC 'a' 'b' [<!ENTITY c 'd'>]><svg:svg></svg:svg>", "svg"),
        ("<svg></svg>".encode("utf-16"), "svg"),
        (b"RIFF\0\0\0\0WAVE", "bin"),
        (b"\x00\x01\x02\x03 a format of next year", "bin"),
        (b"8BPS\0\1", "bin"),
    ],
)
def test_any_other_format_is_stored_too(body: bytes, ext: str) -> None:
    assert recognised(body)[0] == ext


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"<!DOCTYPE html>",
        b"\xef\xbb\xbf<html>",
        "<html>\u7981\u6b62".encode("gbk"),
        "<html>".encode("utf-16"),
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        b'{"error": {}}',
        b"[]",
        b"Forbidden",
        "Zugriff verweigert f\u00fcr Sie".encode(),
        ("\u62d2\u7edd" * 2000).encode()[:4096],
    ],
)
def test_an_error_page_is_refused_and_may_be_requested_again(body: bytes) -> None:
    """A page of something in between, delivered in place of the picture, is gone the next time."""
    with pytest.raises(ImageRejectedError, match="not a recognised image format") as caught:
        recognised(body)

    assert caught.value.retryable


@pytest.mark.parametrize("head", [b"<!-- a -->" * 400, b" " * 4096, b"<!DOCTYPE svg [" + b"x" * 4000, b"<?xml" * 800])
def test_a_hostile_head_takes_no_time(head: bytes) -> None:
    with pytest.raises(ImageRejectedError):
        recognised(head)


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("https://example.com/a.webp", "webp"),
        ("https://example.com/a.JPEG?signature=x.png", "jpg"),
        ("https://example.com/a", "png"),
        ("https://example.com/a.gif#part", "gif"),
        ("https://example.com/a.TIF", "tiff"),
        ("data:image/webp;base64,UklG", "webp"),
    ],
)
def test_the_likeliest_extension_comes_from_the_url(url: str, first: str) -> None:
    guesses = guess_extensions(url)

    assert guesses[0] == first
    assert guesses.count(first) == 1
    assert {"avif", "gif", "jpg", "png", "webp", "svg", "bin"} < set(guesses)
