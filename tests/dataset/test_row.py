"""What makes a row of a dataset the same row in the next run."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.row import InvalidRow, Row, fingerprint, row_of, shard_of
from airflow_provider_apimart.gateway.request import ImageRequest

REQUEST = ImageRequest(prompt="图: a cat", size="16:9")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.builds(
    row_of, st.integers(1), st.none() | texts, st.builds(ImageRequest, prompt=texts, size=st.none() | texts)
)


def test_a_fingerprint_is_the_same_on_every_machine_and_in_every_version() -> None:
    canonical = '{"model":"gpt-image-2","n":1,"prompt":"图: a cat","size":"16:9"}'

    assert fingerprint(REQUEST) == sha256(canonical.encode()).hexdigest()[:32] == "32afe26aa9aa7541da1adfccb986739d"


@pytest.mark.parametrize(
    "other",
    [
        ImageRequest(prompt="图: a cat"),
        ImageRequest(prompt="图: a cat ", size="16:9"),
        ImageRequest(prompt="图: a cat", size="16:9", n=2),
        ImageRequest(prompt="图: a cat", size="16:9", model="gpt-image-2-official"),
        ImageRequest(prompt="图: a cat", size="16:9", extra_body={"seed": 1}),
    ],
)
def test_a_row_that_asks_for_something_else_has_another_fingerprint(other: ImageRequest) -> None:
    assert fingerprint(other) != fingerprint(REQUEST)


def test_a_reference_image_counts_by_its_address_and_need_not_be_there() -> None:
    request = replace(REQUEST, image_urls=("s3://bucket/of/nobody.png",))
    body = {"image_urls": ["s3://bucket/of/nobody.png"], "model": "gpt-image-2", "n": 1, "prompt": "图: a cat"}
    canonical = json.dumps({**body, "size": "16:9"}, ensure_ascii=False, separators=(",", ":"))

    assert fingerprint(request) == sha256(canonical.encode()).hexdigest()[:32]


def test_the_order_of_further_fields_is_not_part_of_the_fingerprint() -> None:
    one, other = ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1})

    assert fingerprint(ImageRequest(prompt="a", extra_body=one)) == fingerprint(
        ImageRequest(prompt="a", extra_body=other)
    )


def test_a_row_without_an_id_is_named_after_what_it_asks_for() -> None:
    row = row_of(7, None, REQUEST)

    assert row == Row(7, row.fingerprint[:16], row.fingerprint, REQUEST)
    assert not row.has_own_id


def test_a_row_keeps_the_id_that_the_dataset_gives_it() -> None:
    row = row_of(7, "cat-1", REQUEST)

    assert (row.id, row.fingerprint, row.has_own_id) == ("cat-1", fingerprint(REQUEST), True)


@given(row=rows, other_place=st.integers(1), count=st.integers(1, 50))
def test_a_row_belongs_to_one_shard_wherever_it_stands(row: Row, other_place: int, count: int) -> None:
    moved = Row(other_place, row.id, row.fingerprint, row.request)

    assert shard_of(row, count) in range(count)
    assert shard_of(row, count) == shard_of(moved, count)


def test_shards_are_of_about_the_same_size_also_where_all_rows_ask_for_the_same() -> None:
    alike = [row_of(number, f"copy-{number}", REQUEST) for number in range(1, 4001)]
    different = [row_of(number, None, ImageRequest(prompt=f"cat {number}")) for number in range(1, 4001)]

    for dataset in (alike, different):
        sizes = [0, 0, 0, 0]
        for row in dataset:
            sizes[shard_of(row, 4)] += 1
        assert min(sizes) > 900


def test_an_invalid_row_reads_as_one_line() -> None:
    assert str(InvalidRow(3, "cat", ("n=0: too few", "size='x': unknown"))) == (
        "row 3 (cat): n=0: too few; size='x': unknown"
    )
    assert str(InvalidRow(4, None, ("is no JSON",))) == "row 4: is no JSON"
