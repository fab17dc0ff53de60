"""The tolerant readers of single values; what becomes of a whole task is in ``test_task.py``."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.strategies import any_json, gateway_json
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.parsing import (
    find_failure,
    find_image_urls,
    find_task_objects,
    read_integer,
    read_json_text,
    read_number,
    read_timestamp,
)

SECOND = 1776835126


@pytest.mark.parametrize(
    "value",
    [
        SECOND,
        float(SECOND),
        str(SECOND),
        SECOND * 1000,
        f"{SECOND}000",
        SECOND * 1_000_000,
        SECOND * 1_000_000_000,
        "2026-04-22T05:18:46Z",
        "2026-04-22T05:18:46.000+00:00",
        "2026-04-22T13:18:46+08:00",
        " 2026-04-22 05:18:46 ",
    ],
    ids=str,
)
def test_a_time_is_unix_seconds_whatever_its_unit(value: Any) -> None:
    assert read_timestamp(value) == SECOND


@pytest.mark.parametrize(
    "value",
    [None, 0, "0", -1, "", "soon", True, [], {}, float("nan"), float("inf"), 1e20, 10**400, "9999-99-99"],
    ids=str,
)
def test_a_time_that_the_gateway_does_not_say_is_unknown(value: Any) -> None:
    assert read_timestamp(value) is None


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0.0), ("0.05", 0.05), (0.047920000000000004, 0.04792), ("free", None), (False, None)]
)
def test_a_number_may_be_a_text_and_is_never_guessed(value: Any, number: float | None) -> None:
    assert read_number(value) == number


@pytest.mark.parametrize(("value", "integer"), [("100%", 100), ("40 %", 40), (40.9, 40), ("x%", None), (True, None)])
def test_a_whole_number_may_be_a_percentage(value: Any, integer: int | None) -> None:
    assert read_integer(value) == integer


@pytest.mark.parametrize(
    ("value", "meant"), [('{"a": 1}', {"a": 1}), (" [1]", [1]), ("{oops", "{oops"), ("a cat", "a cat"), (5, 5)], ids=str
)
def test_a_text_that_is_json_is_what_it_stands_for(value: Any, meant: Any) -> None:
    assert read_json_text(value) == meant


@given(st.one_of(any_json, gateway_json))
def test_no_reader_fails(value: Any) -> None:
    for read in (read_number, read_integer, read_timestamp, read_json_text):
        read(value)
    assert all(item["id"] for item in find_task_objects(value))
    if isinstance(value, dict):
        assert len(find_failure(value)) == 2
        urls = [url for url, _ in find_image_urls(value, base_url="https://gateway.example")]
        assert len(urls) == len(set(urls))
