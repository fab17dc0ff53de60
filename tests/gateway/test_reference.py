"""Which images may be sent along with a request, and in which form."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES, Gateway
from airflow_provider_apimart.gateway.images import data_uri, read_reference, reference_format
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.validation import check

if TYPE_CHECKING:
    from pathlib import Path

GIF = b"GIF89a"
CONTENTS = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "image/gif": GIF,
}
LARGEST = GIF + bytes(MAX_REFERENCE_BYTES - len(GIF))


@pytest.mark.parametrize(("content_type", "content"), CONTENTS.items())
def test_the_content_tells_the_type(content_type: str, content: bytes) -> None:
    assert reference_format(content).content_type == content_type


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not of a recognised format"),
        (b"%PDF-1.7", "is of the type application/pdf"),
        (b"\0\0\0\x20ftypavif", "is of the type image/avif"),
        (LARGEST + b"\0", "has 20971521 bytes: it must be of at most 20971520 bytes"),
    ],
    ids=["empty", "a document", "a picture of another kind", "too large"],
)
def test_anything_else_is_refused_before_it_is_sent(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^The image {reason}.*nothing was charged\.$") as refusal:
        reference_format(content)

    assert (refusal.value.field, refusal.value.charged) == ("image", "no")


def test_a_data_uri_holds_the_whole_image() -> None:
    head, _, text = data_uri(GIF).partition(",")

    assert head == "data:image/gif;base64"
    assert base64.b64decode(text) == GIF


def test_the_largest_image_is_taken_as_a_data_uri_too() -> None:
    check(ImageRequest(prompt="A lighthouse", image_urls=(data_uri(LARGEST),)), Gateway.APIMASTER)


def test_what_is_no_picture_becomes_no_data_uri() -> None:
    with pytest.raises(InvalidRequestError, match="is of the type application/pdf"):
        data_uri(b"%PDF-1.7")


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


def test_a_file_that_is_not_there_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_reference(tmp_path / "missing.png")
