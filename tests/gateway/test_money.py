"""Sums and shares of money that may be unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.cost import share, total


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


@given(st.integers(0, 10**7).map(lambda micro: micro / 10**6), st.integers(1, 100))
def test_shares_add_up_to_the_whole(cost: float, pictures: int) -> None:
    assert total([share(cost, pictures)] * pictures) == cost


@pytest.mark.parametrize(("cost", "pictures"), [(None, 1), (0.5, 0)])
def test_a_share_of_what_is_not_known_is_unknown(cost: float | None, pictures: int) -> None:
    assert share(cost, pictures) is None
