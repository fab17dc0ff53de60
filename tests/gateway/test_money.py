"""Sums of money that may be partly unknown."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.money import total


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([0.0085, 0.014], 0.0225),
        ([0.1, 0.2], 0.3),
        ([0.0], 0.0),
        ([0.0085, None], None),
        ([None], None),
        ([], None),
    ],
)
def test_a_sum_with_an_unknown_figure_is_unknown_and_never_zero(
    figures: list[float | None], expected: float | None
) -> None:
    assert total(iter(figures)) == expected
