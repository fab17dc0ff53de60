from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.plugins.web.periods import Period, Unit, day_of, last_days, read_period

TODAY = date(2026, 11, 22)
DAYS = st.dates(date(2020, 1, 1), date(2030, 12, 31))


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", ("2026-10-24", "2026-11-22")),
        ("2026-11-01", "2026-11-10", ("2026-11-01", "2026-11-10")),
        ("2026-11-01", "", ("2026-11-01", "2026-11-22")),
        ("", "2026-03-31", ("2026-03-02", "2026-03-31")),
        ("2026-11-10", "2026-11-01", ("2026-11-01", "2026-11-10")),
        ("2026-11-20", "2027-01-01", ("2026-11-20", "2026-11-22")),
        ("2027-01-01", "2027-02-01", ("2026-10-24", "2026-11-22")),
        ("yesterday", "2026-13-01", ("2026-10-24", "2026-11-22")),
        ("0001-01-01", "0001-01-02", ("2026-10-24", "2026-11-22")),
    ],
)
def test_a_form_asks_for_days_and_what_makes_no_sense_is_left_out(
    since: str, until: str, expected: tuple[str, str]
) -> None:
    first, last = map(date.fromisoformat, expected)
    assert read_period(since, until, TODAY) == Period(first, last)


@given(since=st.text() | DAYS.map(str), until=st.text() | DAYS.map(str))
def test_whatever_a_form_says_gives_days_that_have_begun(since: str, until: str) -> None:
    period = read_period(since, until, TODAY)
    assert period.first <= period.last <= TODAY


def test_the_last_days_include_today() -> None:
    assert last_days(1, TODAY) == Period(TODAY, TODAY)
    assert last_days(7, TODAY) == Period(date(2026, 11, 16), TODAY)


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    assert day_of(midnight) == TODAY
    assert day_of(midnight - 0.001) == TODAY - timedelta(1)


def test_a_period_has_both_its_ends() -> None:
    period = Period(date(2026, 11, 1), date(2026, 11, 3))
    assert [day for day in (date(2026, 11, 1) + timedelta(n) for n in range(-1, 4)) if day in period] == [
        date(2026, 11, 1),
        date(2026, 11, 2),
        date(2026, 11, 3),
    ]
    assert period.begins_at == datetime(2026, 11, 1, tzinfo=UTC)
    assert period.ends_at == datetime(2026, 11, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "unit"), [(1, Unit.DAY), (92, Unit.DAY), (93, Unit.WEEK), (365, Unit.WEEK), (1000, Unit.MONTH)]
)
def test_a_long_period_is_shown_in_weeks_or_months(days: int, unit: Unit) -> None:
    assert last_days(days, TODAY).unit is unit


@pytest.mark.parametrize(
    ("unit", "first"),
    [(Unit.DAY, date(2026, 11, 22)), (Unit.WEEK, date(2026, 11, 16)), (Unit.MONTH, date(2026, 11, 1))],
)
def test_weeks_begin_on_mondays_and_months_on_their_first(unit: Unit, first: date) -> None:
    assert unit.first_day(TODAY) == first


@given(first=DAYS, last=DAYS)
def test_every_day_of_a_period_is_in_one_of_its_bars_and_they_can_be_counted(first: date, last: date) -> None:
    period = Period(min(first, last), max(first, last))
    bars = period.bars()
    assert bars == sorted(set(bars))
    assert len(bars) <= 140
    assert {period.unit.first_day(day) for day in (period.first, period.last)} <= set(bars)
