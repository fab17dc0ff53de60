"""The connection's own limit on paid requests."""

from __future__ import annotations

import threading

import pytest
from pyrate_limiter import RateItem

from airflow_provider_apimart.gateway.throttle import submit_limiter


def test_there_is_no_limit_unless_it_is_asked_for() -> None:
    assert submit_limiter(None) is None


@pytest.mark.parametrize(("requests_per_second", "at_once"), [(3.0, 3), (2.9, 2), (1.0, 1), (0.01, 1)])
def test_no_more_are_let_through_at_once_than_the_limit_says(requests_per_second: float, at_once: int) -> None:
    limiter = submit_limiter(requests_per_second)
    assert limiter is not None
    bucket = limiter.bucket_factory.get(RateItem("submit", 0))

    passed = [bucket.put(RateItem("submit", 60_000)) for _ in range(10)]

    assert passed == [True] * at_once + [False] * (10 - at_once)


def test_it_needs_no_thread_that_somebody_must_end() -> None:
    threads = set(threading.enumerate())

    limiter = submit_limiter(5)

    assert limiter is not None
    assert limiter.try_acquire("submit")
    assert set(threading.enumerate()) <= threads


def test_it_forgets_what_no_longer_counts() -> None:
    limiter = submit_limiter(0.5)
    assert limiter is not None
    bucket = limiter.bucket_factory.get(RateItem("submit", 0))

    assert all(bucket.put(RateItem("submit", minute * 60_000)) for minute in range(1, 100))

    assert bucket.count() == 1
