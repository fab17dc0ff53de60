"""What is taken for a complete picture."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from airflow_provider_apimart.exceptions import ImageRejectedError
from airflow_provider_apimart.gateway.images import HEAD_SIZE, TAIL_SIZE, guess_extensions, recognise


def picture(image_format: str) -> bytes:
    body = io.BytesIO()
    Image.effect_noise((96, 96), 40).save(body, image_format)
    return body.getvalue()


def recognised(body: bytes) -> tuple[str, str]:
    image_format = recognise(body[:HEAD_SIZE], body[-TAIL_SIZE:], len(body))
    return image_format.ext, image_format.content_type


@pytest.mark.parametrize(
    ("pillow", "ext", "content_type"),
    [
        ("PNG", "png", "image/png"),
        ("JPEG", "jpg", "image/jpeg"),
        ("WEBP", "webp", "image/webp"),
        ("GIF", "gif", "image/gif"),
        ("AVIF", "avif", "image/avif"),
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


@pytest.mark.parametrize("body", [b"", b"<!DOCTYPE html>", b'{"error": {}}', b"%PDF-1.7", b"RIFF\x00\x00\x00\x00WAVE"])
def test_anything_else_is_refused_and_may_be_asked_for_again(body: bytes) -> None:
    """A page of something in between, delivered in place of the picture, is gone the next time."""
    with pytest.raises(ImageRejectedError, match="is no picture") as caught:
        recognised(body)

    assert caught.value.retryable


@pytest.mark.parametrize(
    ("url", "first"),
    [
        ("https://example.com/a.webp", "webp"),
        ("https://example.com/a.JPEG?signature=x.png", "jpg"),
        ("https://example.com/a", "png"),
    ],
)
def test_the_likeliest_extension_comes_from_the_url(url: str, first: str) -> None:
    guesses = guess_extensions(url)

    assert guesses[0] == first
    assert sorted(guesses) == ["avif", "gif", "jpg", "png", "webp"]
