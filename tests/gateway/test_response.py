"""One HTTP response as a value, and the excerpts of it that are shown."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.exchange import answer, text_answer
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.response import (
    MAX_RETRY_AFTER,
    excerpt,
    first_line,
    parse_retry_after,
    quoted,
    redact,
)

KEY = "am_0123456789abcdef"
NOW = "Wed, 21 Oct 2015 07:28:00 GMT"


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
        ('\ufeff{"code": 200}', {"code": 200}),
        (
            '{"url": "https://cdn.example/sk-ii-essence-and-cream.png"}',
            {"url": "https://cdn.example/sk-ii-essence-and-cream.png"},
        ),
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
def test_an_excerpt_is_two_hundred_characters_that_can_be_stored(text: str, expected: str) -> None:
    assert excerpt(text) == expected


@given(st.text(st.characters()))
def test_utf_8_has_a_form_for_every_excerpt(text: str) -> None:
    assert excerpt(text).encode().decode() == excerpt(text)


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
        ("https://cdn.example/sk-ii-essence.png", "https://cdn.example/sk-ii-essence.png"),
        ("", ""),
    ],
)
def test_a_shown_text_holds_no_key(text: str, shown: str) -> None:
    assert redact(text, KEY) == shown


@pytest.mark.parametrize("secret", ["", "any", "task", "x"])
def test_a_secret_that_is_too_short_for_a_key_does_not_tear_ordinary_words_apart(secret: str) -> None:
    text = '{"data": [{"task_id": "task_1", "company": "x"}]}'

    assert redact(text, secret) == text


def test_a_quote_is_one_short_line_without_the_key() -> None:
    assert quoted({"status": "gone\n", "said": KEY}, KEY) == '{"status": "gone\\n", "said": "***"}'
    assert len(quoted(["x" * 1000])) == 300
    assert quoted({"text": "\ud800"}).encode()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        (" 5 ", 5.0),
        ("172800", MAX_RETRY_AFTER),
        ("1e15", MAX_RETRY_AFTER),
        ("1e300", MAX_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("0", None),
        ("-3", None),
        ("-1e15", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0),
        ("Wed, 21 Oct 2015 07:28:30 -0000", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", None),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        (None, None),
    ],
)
def test_a_pause_is_seconds_or_a_date_and_bounded_both_ways(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, date=NOW) == seconds


@pytest.mark.parametrize(
    ("date", "until"),
    [
        ("Fri, 01 Jan 1999 00:00:00 GMT", "Fri, 01 Jan 1999 00:00:40 GMT"),
        ("Thu, 01 Jan 2099 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:40 GMT"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 09:28:40 +0200"),
    ],
)
def test_a_date_is_measured_by_the_clock_of_the_machine_that_sent_it(date: str, until: str) -> None:
    assert answer({}, 429, headers={"Date": date, "Retry-After": until}).retry_after == 40


@given(st.text(), st.none() | st.text() | st.just(NOW))
def test_any_text_gives_a_bounded_pause_or_none(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date=date)

    assert seconds is None or 0 < seconds <= MAX_RETRY_AFTER
