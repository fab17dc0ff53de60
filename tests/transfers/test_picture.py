"""Pictures, told apart and put in order."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.transfers.source import Picture, merge_pictures, pictures_of_task, sort_by_expiry


def picture(name: str, expires_at: int | None) -> Picture:
    return Picture(task_id=name, index=0, url="https://example.com/a.png", expires_at=expires_at)


def test_pictures_that_die_soon_go_first_and_those_that_do_not_say_last() -> None:
    pictures = [picture("never says", None), picture("tomorrow", 200), picture("now", 100)]

    assert [each.task_id for each in sort_by_expiry(pictures)] == ["now", "tomorrow", "never says"]


def test_what_came_without_a_task_cannot_be_asked_after() -> None:
    assert picture("task_1", None).can_be_queried
    assert not picture("sync_1", None).can_be_queried


def test_a_picture_that_is_handed_in_twice_is_one() -> None:
    assert len(merge_pictures([picture("task_1", 100), picture("task_1", None), picture("task_2", None)])) == 2


def test_of_a_picture_that_is_handed_in_twice_the_newer_url_counts_and_what_was_known_first() -> None:
    known = (("prompt", "a cat"), ("cost", 0.5))
    by_result = Picture(task_id="task_1", index=0, url="https://example.com/old", known=known)
    by_id = Picture(task_id="task_1", index=0, url="https://example.com/new", known=(("cost", 0.5),))

    (one,) = merge_pictures([by_result, by_id])

    assert (one.url, one.known) == ("https://example.com/new", known)


def test_a_task_tells_the_share_of_each_picture_and_how_long_they_took() -> None:
    images = tuple(Image(f"https://example.com/{index}", None) for index in range(3))
    task = Task(task_id="a", status="completed", state=TaskState.COMPLETED, images=images, cost=0.3, actual_time=52)

    pictures = pictures_of_task(task)

    assert [dict(each.known) for each in pictures] == [{"cost": pytest.approx(0.1), "seconds": 52}] * 3
    assert {each.cost for each in pictures} == {0.3}
