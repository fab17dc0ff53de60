"""What the transfer is given, read as pictures."""

from __future__ import annotations

from airflow_provider_apimart.transfers._source import Picture, distinct, dying_first, read_source


def picture(name: str, expires_at: int | None) -> Picture:
    return Picture(task_id=name, index=0, url="https://example.com/a.png", expires_at=expires_at)


def test_pictures_that_die_soon_go_first_and_those_that_do_not_say_last() -> None:
    pictures = [picture("never says", None), picture("tomorrow", 200), picture("now", 100)]

    assert [each.task_id for each in dying_first(pictures)] == ["now", "tomorrow", "never says"]


def test_a_result_carries_the_facts_of_its_tasks_to_its_pictures() -> None:
    result = {
        "gateway": "apimart",
        "model": "gpt-image-2",
        "cost": 0.5,
        "credits_cost": 5.0,
        "images": [{"task_id": "task_1", "index": 0, "url": "https://example.com/a.png", "expires_at": 100}],
        "tasks": [{"task_id": "task_1", "created": 1, "completed": 2, "cost": 0.5}],
    }

    source = read_source([result, None, "task_2", "task_2"])

    (read,) = source.pictures
    assert (read.cost, read.expires_at) == (0.5, 100)
    assert dict(read.facts) == {
        "gateway": "apimart",
        "model": "gpt-image-2",
        "created": "1",
        "completed": "2",
        "cost": "0.5",
    }
    assert source.task_ids == ("task_2",)
    assert source.costs == (0.5,)


def test_a_lazy_sequence_of_results_is_read_like_a_list() -> None:
    assert read_source(iter(["task_1"])).task_ids == ("task_1",)


def test_what_came_without_a_task_cannot_be_asked_after() -> None:
    assert picture("task_1", None).can_be_asked_after
    assert not picture("sync_1", None).can_be_asked_after


def test_what_is_handed_in_twice_is_one_picture_that_was_paid_for_once() -> None:
    result = {
        "cost": 0.5,
        "task_ids": ["task_1"],
        "images": [{"task_id": "task_1", "index": 0, "url": "https://example.com/a.png"}],
    }

    source = read_source([result, dict(result)])

    assert source.costs == (0.5,)
    assert len(distinct([*source.pictures, picture("task_1", None)])) == 1
