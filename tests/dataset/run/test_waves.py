"""The decision whether a worker stays with a dataset or leaves the waiting to the triggerer."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.dataset.run.waves import Wave, has_work_within, linger_seconds, poll_seconds, should_leave

#: Pictures of about 45 s, and of about 300 s.
QUICK = [20.0, 30.0, 35.0, 40.0, 45.0, 50.0, 60.0, 80.0, 100.0]
SLOW = [7 * seconds for seconds in QUICK]


def wave(
    ages: list[float] | None = None,
    durations: list[float] | None = None,
    *,
    left: int = 1_000,
    copying: int = 0,
    idle: float = 0.0,
) -> Wave:
    return Wave(ages=ages or [], durations=durations or [], left=left, copying=copying, idle=idle)


@pytest.mark.parametrize(
    ("case", "leaves"),
    [
        (wave([30.0] * 200, QUICK), False),
        (wave([0.0] * 200, QUICK, idle=1.0), True),
        (wave([18.0] * 200, QUICK), False),
        (wave([30.0] * 200, QUICK, idle=20.0), True),
        (wave([30.0] * 200, QUICK, copying=1, idle=25.0), False),
        (wave([200.0] * 200, SLOW), True),
        (wave([30.0] * 200, QUICK, left=0), False),
        (wave([45.0], QUICK, left=0), True),
        (wave([5.0] * 200, [], idle=3.0), False),
        (wave([25.0] * 200, [], idle=20.0), True),
    ],
    ids=[
        "quick pictures, rows left",
        "the first of quick pictures come much later",
        "the first of quick pictures come soon",
        "nothing came for twenty seconds",
        "a copy is under way",
        "slow pictures, rows left",
        "no row left, much to copy",
        "no row left, the last picture",
        "durations not known yet",
        "durations not known after twenty seconds",
    ],
)
def test_a_worker_stays_while_work_comes_soon(case: Wave, leaves: bool) -> None:
    assert should_leave(case) is leaves


def test_a_call_that_outlasts_all_others_promises_no_work() -> None:
    assert not has_work_within(20.0, wave([900.0] * 5, QUICK))
    assert has_work_within(20.0, wave([90.0] * 5, QUICK))


def test_finished_pictures_wait_longer_for_others_where_pictures_take_longer() -> None:
    lingers = [linger_seconds(wave([1.0], durations)) for durations in ([1.0], QUICK, SLOW, [10_000.0])]

    assert lingers == sorted(lingers)
    assert linger_seconds(wave([1.0], QUICK, left=0)) > max(lingers)


@pytest.mark.parametrize(
    ("durations", "expected"), [([], 4.0), ([5.0], 0.5), ([0.1], 0.5), ([20.0], 2.0), ([300.0], 4.0)]
)
def test_quick_pictures_are_polled_more_often(durations: list[float], expected: float) -> None:
    assert poll_seconds(4.0, durations) == expected
