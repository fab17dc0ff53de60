"""The header by which a gateway asks for a pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.response import parse_retry_after

#: Wed, 21 Oct 2015 07:28:00 GMT
NOW = 1445412480.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        (None, None),
    ],
)
def test_seconds_and_dates_are_understood_and_nothing_else(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=lambda: NOW) == seconds


@given(st.text())
def test_whatever_is_sent_gives_a_pause_that_ends_or_none(value: str) -> None:
    seconds = parse_retry_after(value)

    assert seconds is None or 0 <= seconds < float("inf")
