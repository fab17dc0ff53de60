"""What a request may name. The other tests of the same: ``test_images.py``, through the whole of Airflow."""

from __future__ import annotations

from typing import Any

import pytest
from plugins.reports import purchase

from airflow_provider_apimart.plugins.web.events import Event
from airflow_provider_apimart.plugins.web.origins import DeliveredPicture
from airflow_provider_apimart.plugins.web.reported import delivered_by, is_below, uris_of
from airflow_provider_apimart.plugins.web.scope import Scope

SOURCE = Scope("posters", "run", "copy", -1)
PREFIX = "s3://bucket/pictures"
RETURNED = {"images": [{"task_id": "task_1", "index": 0, "url": "https://images.example/1.png"}]}


def event(extra: dict[str, Any]) -> Event:
    return Event(source=SOURCE, at=0.0, extra=extra)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/pictures/1.png",
        "s3://bucket/pictures/2026/1.png",
        "s3://bucket/pictures/a b?c#d%2e/ä.png",
        "s3://bucket/pictures/...",
        "s3://bucket/pictures//1.png",
    ],
)
def test_an_object_below_the_prefix_may_be_named(uri: str) -> None:
    assert is_below(uri, PREFIX)
    assert is_below(uri, f"{PREFIX}/")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://bucket/pictures",
        "s3://bucket/pictures/",
        "s3://bucket/pictures2/1.png",
        "s3://bucket/pictures-private/1.png",
        "s3://bucket/Pictures/1.png",
        "s3://bucket/1.png",
        "s3://bucket2/pictures/1.png",
        "s3://buck/et/pictures/1.png",
        "s3://other/pictures/1.png",
        "s3://other/s3://bucket/pictures/1.png",
        "s3:///bucket/pictures/1.png",
        "S3://bucket/pictures/1.png",
        "https://bucket/pictures/1.png",
        "file:///etc/passwd",
        "bucket/pictures/1.png",
        " s3://bucket/pictures/1.png",
        "s3://bucket//pictures/1.png",
        "s3://user@bucket/pictures/1.png",
        "s3://bucket/pictures/../private/1.png",
        "s3://bucket/pictures/..",
        "s3://bucket/pictures/./../private/1.png",
        "s3://bucket/pictures/a/../../private/1.png",
        "s3://bucket/pictures/../../other/1.png",
        "s3://bucket/./pictures/1.png",
        "s3://bucket/private/../pictures/1.png",
    ],
)
def test_no_other_object_may_be_named(uri: str) -> None:
    assert not is_below(uri, PREFIX)


@pytest.mark.parametrize("prefix", [None, "", "s3", "s3://", "s3:///", "https://bucket/pictures", 7, ["s3://bucket"]])
def test_what_is_no_prefix_has_nothing_below_it(prefix: Any) -> None:
    for uri in ("s3://bucket/pictures/1.png", "s3:///1.png", "https://bucket/pictures/1.png"):
        assert not is_below(uri, prefix)


def test_a_whole_bucket_may_be_a_prefix() -> None:
    assert is_below("s3://bucket/1.png", "s3://bucket")
    assert not is_below("s3://bucket2/1.png", "s3://bucket")


@pytest.mark.parametrize(
    ("images", "uris"),
    [
        ([{"uri": "s3://bucket/1.png"}, {"uri": "s3://bucket/2.png"}], {"s3://bucket/1.png", "s3://bucket/2.png"}),
        ([{"task_id": "task_1"}, {"uri": None}, {"uri": 7}, {"uri": ["s3://bucket/1.png"]}], set()),
        (["s3://bucket/1.png", None, 7], set()),
        ("s3://bucket/1.png", set()),
        ({"uri": "s3://bucket/1.png"}, set()),
        (None, set()),
    ],
)
def test_only_what_is_listed_with_its_address_may_be_named(images: Any, uris: set[str]) -> None:
    assert uris_of(images) == uris


def test_a_delivered_picture_is_reached_by_the_connection_that_bought_it() -> None:
    events = [event(purchase([2], connection="another")), event(purchase([1], connection="apimart_private"))]

    assert delivered_by(events, RETURNED, "task_1-0") == DeliveredPicture(
        "https://images.example/1.png", "apimart_private", "task_1-0"
    )


@pytest.mark.parametrize("name", ["task_1-1", "task_1", "task_2-0", "-0", "task_1-00", "https://images.example/1.png"])
def test_a_name_that_the_task_has_not_returned_is_unknown(name: str) -> None:
    assert delivered_by([event(purchase([1, 2]))], RETURNED, name) is None


def test_what_no_purchase_tells_of_is_unknown_whatever_the_xcom_says() -> None:
    assert delivered_by([], RETURNED, "task_1-0") is None
    assert delivered_by([event(purchase([2]))], RETURNED, "task_1-0") is None


@pytest.mark.parametrize(
    "returned", [None, "s3://xcoms/7.json", [], {}, {"images": None}, {"images": "task_1-0"}, {"images": ["task_1-0"]}]
)
def test_an_xcom_that_is_no_result_has_no_picture(returned: Any) -> None:
    assert delivered_by([event(purchase([1]))], returned, "task_1-0") is None
