"""The client's own limit on paid requests."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.rate_limit import submit_limiter


def test_there_is_no_limit_unless_it_is_asked_for() -> None:
    assert submit_limiter(None) is None


@pytest.mark.parametrize(("requests_per_second", "at_once"), [(3.0, 3), (2.9, 2), (1.0, 1), (0.01, 1)])
def test_no_more_are_let_through_at_once_than_the_limit_says(requests_per_second: float, at_once: int) -> None:
    limiter = submit_limiter(requests_per_second)
    assert limiter is not None

    passed = [limiter.try_acquire("submit", blocking=False) for _ in range(10)]

    assert passed.count(True) == at_once
