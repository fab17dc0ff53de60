"""Which images may be sent along with a request, and in which form."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest
from services.reference_files import GIF, image_file, transparent_png

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES, Gateway
from airflow_provider_apimart.gateway.reference_images import (
    ReferenceImage,
    check_mask,
    decode_data_uri,
    encode_data_uri,
    inspect_reference,
    read_reference,
)
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.validation import check, check_anywhere

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = GIF + bytes(MAX_REFERENCE_BYTES - len(GIF))
WITH_ALPHA = {
    "RGBA PNG": image_file("PNG", "RGBA"),
    "grey PNG with alpha": image_file("PNG", "LA"),
    "PNG with a transparent colour": transparent_png(),
    "lossy WebP": image_file("WEBP", "RGBA"),
    "lossless WebP": image_file("WEBP", "RGBA", lossless=True),
}
WITHOUT_ALPHA = {
    "RGB PNG": image_file("PNG"),
    "grey PNG": image_file("PNG", "L"),
    "PNG with a palette": image_file("PNG", "P"),
    "lossy WebP": image_file("WEBP"),
    "lossless WebP": image_file("WEBP", lossless=True),
    "JPEG": image_file("JPEG"),
    "GIF": image_file("GIF", "P", transparency=0),
}
TRUNCATED = {
    "8 bytes of PNG": image_file("PNG")[:8],
    "half a PNG": image_file("PNG")[:500],
    "half a JPEG": image_file("JPEG")[:500],
    "half a WebP": image_file("WEBP")[:200],
    "half a GIF": image_file("GIF", "P")[:500],
}


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("GIF", "image/gif")],
)
def test_the_content_tells_the_type_and_the_size(kind: str, content_type: str) -> None:
    assert inspect_reference(image_file(kind)) == ReferenceImage(content_type, (40, 30), has_alpha=False)


@pytest.mark.parametrize("content", WITH_ALPHA.values(), ids=WITH_ALPHA)
def test_an_alpha_channel_is_recognised(content: bytes) -> None:
    assert inspect_reference(content).has_alpha


@pytest.mark.parametrize("content", WITHOUT_ALPHA.values(), ids=WITHOUT_ALPHA)
def test_an_image_without_one_is_no_mask(content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"has no alpha channel.*Use a PNG or WebP file") as refusal:
        check_mask(inspect_reference(content), None)

    assert refusal.value.charged == "no"


@pytest.mark.parametrize("content", TRUNCATED.values(), ids=TRUNCATED)
def test_an_incomplete_image_is_refused_in_either_form(content: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"is not complete: the .* file ends before the picture does"):
        inspect_reference(content)
    for model in ("gpt-image-2", "next-image-9"):
        with pytest.raises(InvalidRequestError, match=r"image_urls=.*must be a complete JPEG.*ends before the picture"):
            check(
                ImageRequest(prompt="a cat", model=model, image_urls=(data_uri(GIF), data_uri(content))),
                Gateway.APIMART,
            )


def test_a_data_uri_is_checked_when_a_dag_is_parsed_unless_a_template_changes_it() -> None:
    request = ImageRequest(prompt="a cat", image_urls=("data:image/png;base64,%%%",))

    with pytest.raises(InvalidRequestError, match="it is not valid base64"):
        check_anywhere(request)
    check_anywhere(request, unknown={"image_urls"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"root:x:0:0:", "is not of a recognised format"),
        (b"\0\1\2\3", "is not of a recognised format"),
        (b"%PDF-1.7", "is of the type application/pdf"),
        (image_file("AVIF"), "is of the type image/avif"),
        (LARGEST + b"\0", "has 20971521 bytes, and the gateways accept at most 20971520"),
    ],
    ids=["empty", "text", "binary", "a document", "a picture of another kind", "too large"],
)
def test_anything_else_is_refused_before_it_is_sent(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^The image {reason}\. .*nothing was charged\. Use a ") as refusal:
        inspect_reference(content)

    assert (refusal.value.field, refusal.value.charged) == ("image", "no")
    assert "root" not in str(refusal.value), "the content may be that of any file of the worker"


class TestAMask:
    mask = ReferenceImage("image/png", (40, 30), has_alpha=True)

    @pytest.mark.parametrize(
        "first",
        [
            ReferenceImage("image/png", (40, 30), has_alpha=False),
            ReferenceImage("image/jpeg", (30, 40), has_alpha=False),
            ReferenceImage("image/webp", None, has_alpha=False),
            None,
        ],
        ids=["the same size", "a JPEG that may be turned", "unknown size", "a URL"],
    )
    def test_of_a_size_that_may_be_right_is_taken(self, first: ReferenceImage | None) -> None:
        check_mask(self.mask, first)

    @pytest.mark.parametrize(
        "first",
        [
            ReferenceImage("image/png", (30, 40), has_alpha=True),
            ReferenceImage("image/jpeg", (80, 60), has_alpha=False),
            ReferenceImage("image/gif", (40, 31), has_alpha=False),
        ],
    )
    def test_of_another_size_is_refused(self, first: ReferenceImage) -> None:
        assert first.size
        with pytest.raises(InvalidRequestError, match="has 40x30 pixels, and the first reference image ") as refusal:
            check_mask(self.mask, first)

        assert f"image {first.size[0]}x{first.size[1]}. " in str(refusal.value)


@pytest.mark.parametrize("text", [encode_data_uri(GIF), encode_data_uri(GIF).replace("=", "").replace(",", ",\n ")])
def test_a_data_uri_holds_the_whole_image(text: str) -> None:
    assert text.startswith("data:image/gif;base64,")
    assert decode_data_uri(text) == GIF


def test_the_largest_image_is_taken_as_a_data_uri_too() -> None:
    check(ImageRequest(prompt="A lighthouse", image_urls=(encode_data_uri(LARGEST),)), Gateway.APIMASTER)


def test_a_document_becomes_no_data_uri() -> None:
    with pytest.raises(InvalidRequestError, match="is of the type application/pdf"):
        encode_data_uri(b"%PDF-1.7")


def test_a_file_is_read_whatever_its_name_is(tmp_path: Path) -> None:
    path = tmp_path / "reference"
    path.write_bytes(GIF)

    assert read_reference(path) == GIF


def test_of_a_file_that_is_too_large_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.touch()
    os.truncate(path, 2**40)

    with pytest.raises(InvalidRequestError, match="has 1099511627776 bytes"):
        read_reference(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)

    with pytest.raises(InvalidRequestError, match="is not a regular file"):
        read_reference(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_reference(tmp_path / "missing.png")
