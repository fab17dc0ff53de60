"""Pictures, told apart and put in order."""

from __future__ import annotations

from airflow_provider_apimart.transfers.picture import Picture, distinct, dying_first


def picture(name: str, expires_at: int | None) -> Picture:
    return Picture(task_id=name, index=0, url="https://example.com/a.png", expires_at=expires_at)


def test_pictures_that_die_soon_go_first_and_those_that_do_not_say_last() -> None:
    pictures = [picture("never says", None), picture("tomorrow", 200), picture("now", 100)]

    assert [each.task_id for each in dying_first(pictures)] == ["now", "tomorrow", "never says"]


def test_what_came_without_a_task_cannot_be_asked_after() -> None:
    assert picture("task_1", None).can_be_asked_after
    assert not picture("sync_1", None).can_be_asked_after


def test_a_picture_that_is_handed_in_twice_is_one() -> None:
    assert len(distinct([picture("task_1", 100), picture("task_1", None), picture("task_2", None)])) == 2
