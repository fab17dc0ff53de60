"""Keys are kept out of everything that is shown or stored."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.response import redact

KEY = "am_0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {KEY}!", "bad key ***!"),
        (f"{KEY}{KEY}", "******"),
        ("sk-abcdef0123456789 is wrong", "sk-*** is wrong"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization: bearer   abcdef", "authorization: bearer   ***"),
        ("task-unified-1757156493", "task-unified-1757156493"),
        ("the disk-controller", "the disk-controller"),
        ("", ""),
    ],
)
def test_the_key_and_whatever_looks_like_one_is_taken_out(text: str, shown: str) -> None:
    assert redact(text, KEY) == shown


@pytest.mark.parametrize("secret", ["", "any", "task", "x"])
def test_what_is_too_short_for_a_key_does_not_tear_ordinary_words_apart(secret: str) -> None:
    text = '{"data": [{"task_id": "task_1", "company": "x"}]}'

    assert redact(text, secret) == text
