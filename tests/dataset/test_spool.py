"""Checked rows in a temporary file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from dataset.world import rows, spool_of

from airflow_provider_apimart.dataset.part import Part, parts_of
from airflow_provider_apimart.dataset.row import row_of
from airflow_provider_apimart.dataset.spool import Spool
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = ImageRequest(
    prompt="ein Käse\n\u2028 猫",
    model="gpt-image-2-official",
    size="16:9",
    resolution="4k",
    quality="high",
    n=6,
    background="auto",
    output_format="webp",
    output_compression=80,
    image_urls=("https://example.com/a.png", "s3://bucket/b.png"),
    mask_url="https://example.com/mask.png",
    official_fallback=True,
    extra_body={"seed": 7, "nested": {"a": [1.5, None]}},
)


@pytest.mark.parametrize(
    "parts", [(), rows(3), parts_of(row_of(7, None, FULL), 4), parts_of(row_of(1, "a", FULL), None)]
)
def test_everything_comes_back_as_it_was(parts: Sequence[Part]) -> None:
    spool = spool_of(parts)

    assert len(spool) == len(parts)
    assert list(spool.keys()) == [part.key for part in parts]
    assert [spool[place] for place in range(len(spool))] == list(parts)


def test_a_call_may_be_read_while_others_are_still_to_come() -> None:
    first, second = rows(2)
    spool = Spool(io.BytesIO())
    spool.add(first)

    assert spool[0] == first
    spool.add(second)
    assert [spool[1], spool[0]] == [second, first]


def test_the_file_is_removed() -> None:
    file = io.BytesIO()

    Spool(file).close()

    assert file.closed
