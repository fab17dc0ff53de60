"""The times at which tasks are queried."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.polling import JITTER, Schedule, interval_between_looks, next_pause

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


def test_those_that_waited_longest_are_taken_first_and_no_more_than_wanted(schedule: Schedule) -> None:
    for number in range(10):
        schedule.add(str(number), first_look=10 - number, interval=4)

    assert schedule.take_due(10, limit=3) == ["9", "8", "7"]
    assert schedule.take_due(5, limit=3) == ["6", "5"]
    assert schedule.take_due(10, limit=0) == []
    assert schedule.take_due(10) == ["4", "3", "2", "1", "0"]


def test_a_task_that_was_taken_comes_again_only_when_it_is_put_back(schedule: Schedule) -> None:
    schedule.add("a", first_look=0, interval=4)
    schedule.take_due(10)

    assert schedule.take_due(1e9) == []
    assert schedule.next_due() is None
    assert len(schedule) == 1

    schedule.put_back(["a"], looked_at=10)

    assert schedule.take_due(1e9) == ["a"]


def test_the_next_look_is_about_an_interval_after_the_last(schedule: Schedule) -> None:
    next_looks = []
    for number in range(1000):
        schedule.add(str(number), first_look=0, interval=4)
        schedule.put_back(schedule.take_due(10), looked_at=10)
        next_looks.append(schedule.next_due())
        schedule.remove(str(number))

    earliest, latest = 10 + 4 * (1 - JITTER), 10 + 4 * (1 + JITTER)
    assert all(look is not None and earliest <= look <= latest for look in next_looks)
    assert len(set(next_looks)) > 900, "each look is moved by itself"


def test_tasks_of_one_moment_do_not_stay_together(schedule: Schedule) -> None:
    for number in range(100):
        schedule.add(str(number), first_look=0, interval=4)

    taken = schedule.take_due(0)
    schedule.put_back(taken, looked_at=0)

    assert len(taken) == 100
    assert 0 < len(schedule.take_due(4)) < 100


def test_a_task_that_was_removed_meanwhile_is_not_put_back(schedule: Schedule) -> None:
    schedule.add("a", first_look=0, interval=4)
    taken = schedule.take_due(0)
    schedule.remove("a")

    schedule.put_back(taken, looked_at=0)

    assert schedule.take_due(1e9) == []
    assert len(schedule) == 0


def test_a_task_that_was_added_meanwhile_keeps_its_first_look(schedule: Schedule) -> None:
    schedule.add("a", first_look=0, interval=4)
    taken = schedule.take_due(0)
    schedule.add("a", first_look=1, interval=4)

    schedule.put_back(taken, looked_at=0)

    assert schedule.next_due() == 1
    assert schedule.take_due(1e9) == ["a"]


def test_a_task_that_is_put_back_twice_is_taken_once(schedule: Schedule) -> None:
    schedule.add("a", first_look=0, interval=4)
    taken = schedule.take_due(0)

    schedule.put_back(taken, looked_at=0)
    schedule.put_back(taken, looked_at=1)

    assert schedule.take_due(1e9) == ["a"]


def test_many_tasks_that_need_a_request_each_are_looked_at_less_often(schedule: Schedule) -> None:
    for number in range(1000):
        schedule.add(str(number), first_look=0, interval=4)

    schedule.put_back(schedule.take_due(0), looked_at=0, in_batches=False)

    assert schedule.take_due(4 * (1 + JITTER)) == []
    assert len(schedule.take_due(20 * (1 + JITTER))) == 1000


@pytest.mark.parametrize(("waiting", "in_batches"), [(100_000, True), (100, False), (1, False)])
@pytest.mark.parametrize("wanted", [4.0, 60.0])
def test_an_interval_is_as_wanted_as_long_as_that_floods_nobody(
    wanted: float, waiting: int, *, in_batches: bool
) -> None:
    assert interval_between_looks(wanted, waiting=waiting, in_batches=in_batches) == wanted


@given(st.floats(0.1, 600), st.integers(1, 100_000))
def test_looks_at_single_tasks_never_come_too_fast_nor_slower_than_they_must(wanted: float, waiting: int) -> None:
    interval = interval_between_looks(wanted, waiting=waiting, in_batches=False)

    assert interval >= wanted
    assert waiting / interval <= 100 + 1e-9
    assert interval == wanted or waiting / interval >= 50


def test_for_a_task_that_is_known_the_sooner_look_and_the_shorter_interval_count(schedule: Schedule) -> None:
    schedule.add("a", first_look=10, interval=8)
    schedule.add("a", first_look=5, interval=2)
    schedule.add("a", first_look=20, interval=30)

    assert schedule.next_due() == 5
    assert schedule.take_due(5) == ["a"]
    schedule.put_back(["a"], looked_at=5)
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


@pytest.mark.parametrize("sooner", [0.0, 0.001], ids=["for one moment", "each time a little sooner"])
def test_a_task_that_comes_and_goes_ten_thousand_times_leaves_nothing(schedule: Schedule, sooner: float) -> None:
    for number in range(10_000):
        schedule.add("a", first_look=100 - sooner * number, interval=4)
        if number % 2:
            schedule.remove("a")
        assert len(schedule._heap) <= 100

    assert schedule.take_due(1e9) == []
    assert (len(schedule), schedule._due, schedule._intervals, schedule._heap) == (0, {}, {}, [])


def test_a_heap_of_outdated_moments_loses_no_task(schedule: Schedule) -> None:
    for number in range(10_000):
        schedule.add(str(number % 100), first_look=20_000 - number, interval=4)

    assert len(schedule._heap) <= 300
    assert sorted(schedule.take_due(20_000), key=int) == [str(number) for number in range(100)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), TASK_IDS, TIMES, INTERVALS),
            st.tuples(st.just("remove"), TASK_IDS),
            st.tuples(st.just("take"), TIMES, st.one_of(st.none(), st.integers(0, 3))),
            st.tuples(st.just("put back"), TIMES),
        )
    ),
    st.integers(),
)
def test_every_waiting_task_is_due_again_and_again_and_no_other_ever(
    steps: list[tuple[str, str, float, float] | tuple[str, str] | tuple[str, float, int | None] | tuple[str, float]],
    seed: int,
) -> None:
    schedule = Schedule(Random(seed))  # noqa: S311 - a jitter that repeats
    waiting: set[str] = set()
    looked_at: list[str] = []  # May hold what was removed, or added again, while it was looked at.
    now = 0.0
    for step in steps:
        match step:
            case ("add", str(task_id), float(first_look), float(interval)):
                schedule.add(task_id, first_look=first_look, interval=interval)
                waiting.add(task_id)
            case ("remove", str(task_id)):
                schedule.remove(task_id)
                waiting.discard(task_id)
            case ("take", float(passed), limit):
                now += passed
                taken = schedule.take_due(now, limit=limit)
                assert limit is None or len(taken) <= limit
                assert len(taken) == len(set(taken))
                assert set(taken) <= waiting
                looked_at += taken
            case (_, float(passed)):
                schedule.put_back(looked_at, looked_at=max(0.0, now - passed))
                looked_at.clear()
        planned = waiting - set(looked_at)
        assert len(schedule) == len(waiting)
        assert schedule.next_due() is not None or not planned
        assert schedule.next_due() is None or waiting

    for later in (now + 200, now + 400):
        schedule.put_back(looked_at, looked_at=now)
        looked_at = schedule.take_due(later)
        assert sorted(looked_at) == sorted(waiting)


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
