"""One upload as a line, and how long its URL serves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from dataset.entries import NOW
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.references.upload import LIFETIME, Upload, read_line, to_line

UPLOAD = Upload(
    address="s3://bucket/猫.png",
    gateway="https://api.apimart.ai",
    url="https://cdn.example/1.png",
    sha256="ab" * 32,
    bytes=4499,
    expires_at=1_750_000_000.0,
)

uploads = st.builds(
    Upload,
    address=st.text(),
    gateway=st.text(),
    url=st.text(),
    sha256=st.text(),
    bytes=st.integers(0),
    expires_at=st.integers(0, 4_000_000_000).map(float),
)


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(to_line(UPLOAD)), **values}).encode()


def test_a_line_tells_all_that_is_known() -> None:
    assert json.loads(to_line(UPLOAD)) == {
        "address": "s3://bucket/猫.png",
        "gateway": "https://api.apimart.ai",
        "url": "https://cdn.example/1.png",
        "sha256": "ab" * 32,
        "bytes": 4499,
        "expires_at": "2025-06-15T15:06:40Z",
        "schema_version": 1,
    }


@given(uploads)
def test_an_upload_survives_being_written_and_read_again(upload: Upload) -> None:
    line = to_line(upload)

    assert read_line(line) == upload
    assert b"\n" not in line


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"5", b"null", b"\xff", b"{}", to_line(UPLOAD)[:-5], b"[" * 100_000),
        *(
            changed(schema_version=2),
            changed(url=None),
            changed(address=["a"]),
            changed(bytes="4499"),
            changed(bytes=True),
        ),
        *(changed(expires_at="soon"), changed(expires_at="2025-06-15T15:06:40"), changed(expires_at=1_750_000_000)),
    ],
    ids=range(17),
)
def test_anything_else_is_told_apart(line: bytes) -> None:
    with pytest.raises(ValueError, match="no line about an upload"):
        read_line(line)


def test_a_url_serves_for_70_of_its_72_hours() -> None:
    upload = replace(UPLOAD, expires_at=NOW + LIFETIME)

    assert LIFETIME == 72 * 3600
    assert upload.is_usable(NOW + 70 * 3600 - 1)
    assert not upload.is_usable(NOW + 70 * 3600)
