"""When each task is asked after next."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.schedule import JITTER, Schedule, next_pause

TASK_IDS = st.sampled_from(["a", "b", "c", "d"])
TIMES = st.floats(0, 100)
INTERVALS = st.floats(0.5, 20)


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(Random(0))  # noqa: S311 - a jitter that repeats


def test_nothing_is_due_where_nothing_waits(schedule: Schedule) -> None:
    assert schedule.take_due(1e9) == []
    assert schedule.next_due() is None


def test_a_task_is_looked_at_from_its_first_look_on(schedule: Schedule) -> None:
    schedule.add("a", first_look=12, interval=4)

    assert schedule.take_due(11.9) == []
    assert schedule.next_due() == 12
    assert schedule.take_due(12) == ["a"]
    assert schedule.take_due(12) == []


def test_the_next_look_is_about_an_interval_later(schedule: Schedule) -> None:
    schedule.add("a", first_look=0, interval=4)

    schedule.take_due(10)

    next_due = schedule.next_due()
    assert next_due is not None
    assert 10 + 4 * (1 - JITTER) <= next_due <= 10 + 4 * (1 + JITTER)


def test_tasks_of_one_moment_do_not_stay_together(schedule: Schedule) -> None:
    for number in range(100):
        schedule.add(str(number), first_look=0, interval=4)

    assert len(schedule.take_due(0)) == 100
    assert 0 < len(schedule.take_due(4)) < 100


def test_for_a_task_that_is_known_the_sooner_look_and_the_shorter_interval_count(schedule: Schedule) -> None:
    schedule.add("a", first_look=10, interval=8)
    schedule.add("a", first_look=5, interval=2)
    schedule.add("a", first_look=20, interval=30)

    assert schedule.next_due() == 5
    assert schedule.take_due(5) == ["a"]
    next_due = schedule.next_due()
    assert next_due is not None
    assert next_due <= 5 + 2 * (1 + JITTER)


def test_a_task_that_is_added_twice_for_the_same_moment_is_taken_once(schedule: Schedule) -> None:
    schedule.add("a", first_look=5, interval=2)
    schedule.add("a", first_look=5, interval=2)

    assert schedule.take_due(5) == ["a"]


def test_a_task_that_comes_back_is_taken_once(schedule: Schedule) -> None:
    schedule.add("a", first_look=5, interval=2)
    schedule.remove("a")
    schedule.add("a", first_look=5, interval=2)

    assert schedule.take_due(5) == ["a"]


def test_a_removed_task_is_looked_at_no_more(schedule: Schedule) -> None:
    schedule.add("a", first_look=5, interval=2)
    schedule.add("b", first_look=6, interval=2)
    schedule.remove("a")
    schedule.remove("never seen")

    assert schedule.next_due() == 6
    assert schedule.take_due(100) == ["b"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), TASK_IDS, TIMES, INTERVALS),
            st.tuples(st.just("remove"), TASK_IDS),
            st.tuples(st.just("take"), TIMES),
        )
    ),
    st.integers(),
)
def test_every_waiting_task_is_due_again_and_again_and_no_other_ever(
    steps: list[tuple[str, str, float, float] | tuple[str, str] | tuple[str, float]], seed: int
) -> None:
    schedule = Schedule(Random(seed))  # noqa: S311 - a jitter that repeats
    waiting: set[str] = set()
    now = 0.0
    for step in steps:
        match step:
            case ("add", str(task_id), float(first_look), float(interval)):
                schedule.add(task_id, first_look=first_look, interval=interval)
                waiting.add(task_id)
            case ("remove", str(task_id)):
                schedule.remove(task_id)
                waiting.discard(task_id)
            case (_, float(passed)):
                now += passed
                taken = schedule.take_due(now)
                assert len(taken) == len(set(taken))
                assert set(taken) <= waiting
        assert (schedule.next_due() is None) is (not waiting)

    for later in (now + 200, now + 400):
        assert sorted(schedule.take_due(later)) == sorted(waiting)


@pytest.mark.parametrize(
    ("previous", "asked", "pause"),
    [
        pytest.param(0.0, None, 1.0, id="first failure"),
        pytest.param(8.0, None, 16.0, id="doubled"),
        pytest.param(40.0, None, 60.0, id="bounded"),
        pytest.param(0.0, 30.0, 30.0, id="as long as the gateway asks"),
        pytest.param(32.0, 5.0, 60.0, id="not shorter because it asks for less"),
        pytest.param(0.0, 86_400.0, 600.0, id="not for a day"),
        pytest.param(600.0, None, 60.0, id="back to its own measure"),
    ],
)
def test_a_pause_grows_with_each_failure_within_bounds(previous: float, asked: float | None, pause: float) -> None:
    assert next_pause(previous, asked=asked) == pause
