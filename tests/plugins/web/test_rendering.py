from __future__ import annotations

import pytest

from airflow_provider_apimart.plugins.web.rendering import age, dollars, duration


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (0.0085, "$0.0085"),
        (0.99, "$0.9900"),
        (1.0, "$1.00"),
        (12345.678, "$12,345.68"),
    ],
)
def test_an_unknown_amount_is_never_nought(amount: float | None, text: str) -> None:
    assert dollars(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_a_span_is_given_in_its_largest_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_is_in_the_past_or_to_come() -> None:
    assert age(None) == ""
    assert age(1000, now=1060) == "60 s ago"
    assert age(1000, now=900) == "in 100 s"
