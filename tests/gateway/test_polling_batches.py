"""The state of a batch endpoint: whether it is used, and for how many ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway.clock import Clock

from airflow_provider_apimart.gateway.polling import FIRST_SIZE, LARGEST_SIZE, SMALLEST_SIZE, BatchEndpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

QUARTER_OF_AN_HOUR = 15 * 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def endpoint(clock: Clock, warnings: list[str]) -> BatchEndpoint:
    return BatchEndpoint(enabled=True, warn=warnings.append, clock=clock)


def sizes_after(endpoint: BatchEndpoint, accepted: Sequence[int]) -> list[int]:
    """The size that is asked for after each of some accepted requests."""
    sizes = []
    for count in accepted:
        endpoint.accepted(count)
        sizes.append(endpoint.size)
    return sizes


def test_the_endpoint_is_used_until_it_disappoints(endpoint: BatchEndpoint, warnings: list[str]) -> None:
    assert endpoint.is_usable
    assert endpoint.size == FIRST_SIZE == 50
    assert warnings == []


def test_the_endpoint_is_never_used_where_the_connection_says_off(warnings: list[str]) -> None:
    assert not BatchEndpoint(enabled=False, warn=warnings.append).is_usable


def test_full_requests_that_are_accepted_grow_up_to_the_largest(endpoint: BatchEndpoint) -> None:
    assert sizes_after(endpoint, [50, 100, 200, 200]) == [100, 200, LARGEST_SIZE, LARGEST_SIZE]


def test_a_request_that_was_not_full_proves_nothing(endpoint: BatchEndpoint) -> None:
    assert sizes_after(endpoint, [49, 1, 50, 99]) == [50, 50, 100, 100]


def test_a_limit_is_kept_for_a_quarter_of_an_hour(endpoint: BatchEndpoint, clock: Clock, warnings: list[str]) -> None:
    endpoint.limit_to(20)

    assert sizes_after(endpoint, [20, 20]) == [20, 20]
    clock.seconds = QUARTER_OF_AN_HOUR - 1
    assert sizes_after(endpoint, [20]) == [20]
    clock.seconds = QUARTER_OF_AN_HOUR
    assert sizes_after(endpoint, [20]) == [40]
    assert endpoint.is_usable
    assert warnings == []


def test_a_limit_too_small_to_gain_anything_turns_the_endpoint_off(
    endpoint: BatchEndpoint, warnings: list[str]
) -> None:
    endpoint.limit_to(SMALLEST_SIZE)
    assert endpoint.is_usable

    endpoint.limit_to(SMALLEST_SIZE - 1)

    assert not endpoint.is_usable
    assert len(warnings) == 1
    assert "a batch describes 4 tasks" in warnings[0]


def test_an_endpoint_that_is_missing_rests_for_a_quarter_of_an_hour(endpoint: BatchEndpoint, clock: Clock) -> None:
    endpoint.turn_off("HTTP 404")

    assert not endpoint.is_usable
    clock.seconds = QUARTER_OF_AN_HOUR - 1
    assert not endpoint.is_usable
    clock.seconds = QUARTER_OF_AN_HOUR
    assert endpoint.is_usable
    assert endpoint.size == FIRST_SIZE


def test_polls_side_by_side_that_discover_the_same_warn_once(
    endpoint: BatchEndpoint, clock: Clock, warnings: list[str]
) -> None:
    endpoint.turn_off("HTTP 404")
    endpoint.turn_off("HTTP 404 of the look beside it")
    assert len(warnings) == 1
    assert "HTTP 404" in warnings[0]

    clock.seconds = QUARTER_OF_AN_HOUR
    endpoint.turn_off("still HTTP 404")

    assert len(warnings) == 2
