"""What the transfer is given, read as pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.transfers.source import Picture, merge_pictures, read_source


def result(*task_ids: str, cost: float = 0.5) -> dict[str, Any]:
    images = [{"task_id": task_id, "index": 0, "url": f"https://example.com/{task_id}"} for task_id in task_ids]
    return {"task_ids": list(task_ids), "cost": cost, "images": images}


A, B, C = result("task_1"), result("task_2", "task_3"), "task_4"


@pytest.mark.parametrize(
    "source",
    [
        [A, B, C],
        (A, B, C),
        [[A, B], C],
        [(A, C), (B, None)],
        [[[A]], [[B], []], [None, [C]]],
        pytest.param(iter([A, iter([B, C])]), id="iterators"),
        [json.dumps(A), json.dumps([B]), C],
        json.dumps([A, [B, C]]),
        [A, B, {C}],
        [A, B, frozenset({C}), (None,)],
        [A, B, A, [C, C]],
    ],
    ids=str,
)
def test_any_nesting_of_results_and_ids_is_read(source: Any) -> None:
    read = read_source(source)

    assert [picture.task_id for picture in read.pictures] == ["task_1", "task_2", "task_3"]
    assert read.task_ids == ("task_4",)
    assert read.costs == (0.5, 0.5)


@pytest.mark.parametrize("ids", [["a", "b"], [["a"], ["b"]], ("a", ["b"]), '["a", "b"]', {"a": 0, "b": 0}.keys()])
def test_lists_of_ids_are_read(ids: Any) -> None:
    assert read_source(ids).task_ids == ("a", "b")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "is empty"),
        (" ", "is empty"),
        (17, "holds int '17'"),
        (b"task_1", "holds bytes"),
        ("a kite over a lake", "holds str"),
        ("{'task_ids': ['task_1']}", "holds str"),
        ('{"task_ids"', "holds str"),
        ("https://example.com/a.png", "holds str"),
        ("x" * 257, "holds str"),
        ([A, {"url": "u"}], "holds dict"),
        ({"schema_version": 1, "objects": [], "task_ids": []}, "copied its pictures to S3 already"),
        ([{"total": 3, "manifest": "s3://b/m", "images": "s3://b/images/"}], "copied its pictures to S3 already"),
    ],
)
def test_anything_else_is_refused_with_one_clear_error(source: Any, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        read_source(source)

    assert (caught.value.field, caught.value.charged) == ("source", "no")
    assert "no picture was lost" in str(caught.value)


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidRequestError):
        read_source(endless)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1776835126, 1776835126),
        (1776835126000, 1776835126),
        ("1776835126", 1776835126),
        ("2026-04-22T05:18:46+00:00", 1776835126),
        (1776835126.9, 1776835126),
        *((nothing, None) for nothing in (0, -1, None, "", "soon", True, [], float("nan"), float("inf"))),
    ],
)
def test_an_expiry_is_read_tolerantly(value: Any, seconds: int | None) -> None:
    assert picture_expiring(value).expires_at == seconds


@pytest.mark.parametrize("expires_at", [None, 0, 10**18, -(10**18), 99_999_999_999, float("nan")])
def test_any_expiry_can_be_named_in_an_error(expires_at: Any) -> None:
    assert "URL expires: " in str(picture_expiring(expires_at))


def picture_expiring(expires_at: Any) -> Picture:
    image = {"task_id": "task_1", "index": 0, "url": "https://example.com/a.png", "expires_at": expires_at}
    (picture,) = read_source({"images": [image]}).pictures
    return picture


@pytest.mark.parametrize("entry", [{"task_id": "task_1"}, {"task_id": "task_1", "index": 0, "url": None}, "nonsense"])
def test_a_task_without_a_url_is_queried(entry: Any) -> None:
    read = read_source({"task_ids": ["task_1"], "images": [entry], "tasks": [None, {"task_id": []}][:1]})

    assert (read.pictures, read.task_ids) == ((), ("task_1",))


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
    assert len(merge_pictures(source.pictures)) == 1


def test_a_field_that_a_result_repeats_as_a_list_does_not_stop_the_transfer() -> None:
    images = [{"task_id": "task_1", "index": 0, "url": "https://example.com/a.png"}]

    (picture,) = read_source({"images": images, "size": ["1:1"]}).pictures

    assert {picture: "copied"}[picture] == "copied"


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
