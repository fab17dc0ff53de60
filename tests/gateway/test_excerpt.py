"""The beginning of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.response import excerpt


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", "a cat"),
        ("two\nlines", "two\nlines"),
        ("x" * 201, "x" * 200),
        ("\N{LEOPARD}" * 201, "\N{LEOPARD}" * 200),
        ("a\x00b\ud83dc", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"),
    ],
)
def test_is_two_hundred_characters_that_can_be_stored(text: str, expected: str) -> None:
    assert excerpt(text) == expected


@given(st.text(st.characters()))
def test_utf_8_has_a_form_for_it(text: str) -> None:
    assert excerpt(text).encode().decode() == excerpt(text)
