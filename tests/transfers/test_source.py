"""What the transfer is given, read as pictures."""

from __future__ import annotations

from airflow_provider_apimart.transfers._source import read_source
from airflow_provider_apimart.transfers.source import distinct


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
    assert dict(read.known) == {"model": "gpt-image-2", "cost": 0.5}
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


def test_what_is_handed_in_twice_is_one_picture_that_was_paid_for_once() -> None:
    result = {
        "cost": 0.5,
        "task_ids": ["task_1"],
        "images": [{"task_id": "task_1", "index": 0, "url": "https://example.com/a.png"}],
    }

    source = read_source([result, dict(result)])

    assert source.costs == (0.5,)
    assert len(distinct(source.pictures)) == 1


def test_every_gateway_task_is_named_once_whether_its_pictures_are_known_or_not() -> None:
    images = [{"task_id": "task_1", "index": index, "url": "https://example.com/a.png"} for index in (0, 1)]

    assert read_source([{"images": images}, "task_2", "task_1"]).all_task_ids == ("task_1", "task_2")


def test_a_result_tells_what_each_picture_shows_and_its_share_of_the_cost() -> None:
    asked = {"prompt": "a cat", "model": "gpt-image-2", "size": "3:2", "resolution": None, "quality": "low"}
    images = [{"task_id": "task_1", "index": index, "url": f"https://example.com/{index}"} for index in range(2)]
    tasks = [{"task_id": "task_1", "cost": 0.5, "actual_time": 52}]

    first, second = read_source({**asked, "images": images, "tasks": tasks}).pictures

    assert first.known == second.known
    assert dict(first.known) == {
        "prompt": "a cat",
        "model": "gpt-image-2",
        "size": "3:2",
        "quality": "low",
        "cost": 0.25,
        "seconds": 52,
    }
    assert {name for name, _ in first.facts} == {"model", "cost"}
