"""Whether many tasks are asked after at once."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    ConnectionFailedError,
    NotFoundError,
    RateLimitError,
    RequestRejectedError,
    ServerError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.lookup import BATCH_SIZE, BatchEndpoint, chunks


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_endpoint_is_used_until_it_disappoints(clock: Clock) -> None:
    assert BatchEndpoint(enabled=True, clock=clock).is_usable


def test_the_endpoint_is_never_used_where_the_connection_says_off(clock: Clock) -> None:
    assert not BatchEndpoint(enabled=False, clock=clock).is_usable


@pytest.mark.parametrize("cls", [NotFoundError, RequestRejectedError, UnreadableAnswerError])
def test_an_endpoint_that_is_missing_or_odd_rests_for_a_quarter_of_an_hour(
    cls: type[ApimartError], clock: Clock
) -> None:
    endpoint = BatchEndpoint(enabled=True, clock=clock)

    assert endpoint.turn_off_for(cls("no"))

    assert not endpoint.is_usable
    clock.seconds = 899
    assert not endpoint.is_usable
    clock.seconds = 900
    assert endpoint.is_usable


@pytest.mark.parametrize("cls", [AuthenticationError, ConnectionFailedError, RateLimitError, ServerError])
def test_trouble_that_single_look_ups_would_have_too_turns_nothing_off(cls: type[ApimartError], clock: Clock) -> None:
    endpoint = BatchEndpoint(enabled=True, clock=clock)

    assert not endpoint.turn_off_for(cls("no"))
    assert endpoint.is_usable


@given(st.lists(st.text(max_size=3), max_size=120), st.integers(1, 60))
def test_chunks_hold_every_id_in_order(task_ids: list[str], size: int) -> None:
    parts = list(chunks(task_ids, size))

    assert list(chain.from_iterable(parts)) == task_ids
    assert all(1 <= len(part) <= size for part in parts)


def test_a_chunk_holds_as_many_ids_as_the_only_known_limit_allows() -> None:
    assert [len(part) for part in chunks(["x"] * 120)] == [BATCH_SIZE, BATCH_SIZE, 20]
