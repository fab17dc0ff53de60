"""One HTTP answer, as a value."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.exchange import answer, text_answer

from airflow_provider_apimart.gateway.response import first_line


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"code": 200}', {"code": 200}),
        ("[1]", [1]),
        ("null", None),
        ("", None),
        ("<html>", None),
        ("[" * 100_000, None),
        ("9" * 5000, None),
    ],
    ids=lambda value: str(value)[:12],
)
def test_the_body_is_json_or_nothing(text: str, payload: Any) -> None:
    assert text_answer(text).payload == payload


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo", "one"),
        ("\n\n   \n  three  \nfour", "three"),
        ("", ""),
        ("  \n ", ""),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 297 + "..."),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_the_first_line_is_the_first_that_says_anything(text: str, line: str) -> None:
    assert first_line(text) == line


def test_an_empty_body_is_shown_as_such() -> None:
    assert text_answer(" \n").first_line == "(empty)"


def test_the_request_id_of_the_gateway_comes_before_that_of_a_proxy() -> None:
    assert answer(headers={"X-Request-Id": "proxy", "X-Oneapi-Request-Id": "gateway"}).request_id == "gateway"
