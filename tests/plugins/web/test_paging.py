from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.plugins.web.paging import START, Cursor, read_cursor

MOMENTS = st.datetimes().map(lambda moment: moment.isoformat())


@given(MOMENTS, st.integers(0), st.integers(0))
def test_a_cursor_survives_the_address_of_a_page(until: str, offset: int, within: int) -> None:
    cursor = Cursor(until, offset, within)
    assert read_cursor(str(cursor)) == cursor


def test_the_first_page_has_no_cursor_in_its_address() -> None:
    assert str(START) == ""
    assert read_cursor("") is START


@pytest.mark.parametrize(
    "text", ["x", "2026-11-22T09:00:00~1", "2026-11-22T09:00:00~1~x", "x~1~1", "~1~1", "2026-11-22~-1~0"]
)
def test_what_is_no_cursor_leads_to_the_first_page(text: str) -> None:
    assert read_cursor(text) == START


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert isinstance(read_cursor(text), Cursor)
