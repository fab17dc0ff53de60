"""Rows that a function gave, as JSON lines."""

from __future__ import annotations

import json
import tracemalloc
from collections import UserDict
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.dataset.inputs import save_rows, to_json_line
from airflow_provider_apimart.dataset.reading import read_records
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Save = Callable[[Iterable[Any]], str]


@pytest.fixture
def save(aws_connection: str, bucket: str) -> Save:
    def write(rows: Iterable[Any]) -> str:
        return save_rows(
            rows,
            bucket=bucket,
            prefix="catalogue",
            aws_conn_id=aws_connection,
            extra_args={},
            writer="0123456789abcdef",
        )

    return write


def test_they_are_read_as_they_were_given(save: Save) -> None:
    rows = ["a heron", {"id": 7, "prompt": "ein Käuzchen\r\n\u2028", "n": 2, "image_urls": ["https://a.test/1.png"]}]

    records = list(read_records(save(rows)))

    assert [(record.number, record.fields) for record in records] == [(1, {"prompt": "a heron"}), (2, rows[1])]


def test_none_is_a_file_without_lines(save: Save) -> None:
    assert list(read_records(save([]))) == []


@pytest.mark.parametrize("row", [None, "", 7, ["a heron"]])
def test_what_is_no_row_keeps_its_number_for_the_check(row: Any) -> None:
    assert json.loads(to_json_line(1, row)) == row


def test_an_empty_cell_of_pandas_is_left_out() -> None:
    assert json.loads(to_json_line(1, {"prompt": "a heron", "size": float("nan")})) == {
        "prompt": "a heron",
        "size": None,
    }


def test_half_a_character_becomes_the_escape_that_json_has_for_it() -> None:
    assert to_json_line(1, "\ud83d") == b'"\\ud83d"\n'


def test_any_mapping_is_a_row() -> None:
    assert json.loads(to_json_line(1, UserDict(prompt="a heron"))) == {"prompt": "a heron"}


@pytest.mark.parametrize(
    ("row", "culprit"),
    [
        ({"id": 7, "prompt": date(2025, 11, 3)}, r"prompt=datetime\.date\(2025, 11, 3\)"),
        ({"prompt": "a heron", "n": Decimal(2)}, r"n=Decimal\('2'\)"),
        ({"prompt": "a heron", "extra_body": {"weight": float("inf")}}, "extra_body="),
        ({("a", "b"): "a heron"}, r"\{\('a', 'b'\): 'a heron'\}"),
        (b"a heron", "b'a heron'"),
        (object(), "<object object"),
    ],
    ids=["date", "decimal", "infinity", "column", "bytes", "object"],
)
def test_a_row_that_json_has_no_form_for_is_named(row: Any, culprit: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^Row 3 .* no form in JSON: {culprit}.*Nothing was sent\.$"):
        to_json_line(3, row)


def test_a_row_that_holds_itself_is_named() -> None:
    row: dict[str, Any] = {"prompt": "a heron"}
    row["extra_body"] = row

    with pytest.raises(InvalidRequestError, match=r"^Row 1 "):
        to_json_line(1, row)


def test_memory_does_not_grow_with_the_number_of_rows(save: Save) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        try:
            save({"id": number, "prompt": "a heron " * 20} for number in range(rows))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    save(["a heron"])  # Loads boto3.
    assert peak(50_000) < peak(100) + 4 * MEBIBYTE
