"""The pause that all requests of one account keep."""

from __future__ import annotations

import pytest
from gateway.clock import Clock

from airflow_provider_apimart.gateway.throttle import SharedPause


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pause(clock: Clock) -> SharedPause:
    return SharedPause(clock=clock)


def test_nobody_waits_before_the_gateway_asks_for_it(pause: SharedPause) -> None:
    assert pause.remaining == 0


def test_a_pause_ends_by_itself(pause: SharedPause, clock: Clock) -> None:
    pause.extend(30)

    assert pause.remaining == 30
    clock.seconds = 29
    assert pause.remaining == 1
    clock.seconds = 31
    assert pause.remaining == 0


@pytest.mark.parametrize(("first", "second"), [(30, 5), (5, 30), (30, 30)])
def test_the_longest_pause_counts(pause: SharedPause, first: float, second: float) -> None:
    pause.extend(first)
    pause.extend(second)

    assert pause.remaining == 30


def test_a_pause_is_counted_from_when_it_is_asked_for(pause: SharedPause, clock: Clock) -> None:
    pause.extend(30)
    clock.seconds = 20

    pause.extend(15)

    assert pause.remaining == 15
