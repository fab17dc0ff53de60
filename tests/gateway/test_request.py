"""A request becomes the JSON bodies of one task or several."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.gateway.request import ImageRequest

EVERYTHING: dict[str, Any] = {
    "prompt": "A lighthouse",
    "model": "gpt-image-1-official",
    "size": "1:1",
    "resolution": "1k",
    "quality": "low",
    "n": 2,
    "background": "auto",
    "moderation": "low",
    "output_format": "jpeg",
    "output_compression": 0,
    "image_urls": ["https://cdn.example/1.png"],
    "mask_url": "https://cdn.example/mask.png",
    "official_fallback": False,
}


def test_a_field_that_is_not_set_is_not_sent() -> None:
    assert ImageRequest(prompt="A lighthouse").body() == {"prompt": "A lighthouse", "model": "gpt-image-2", "n": 1}


def test_every_field_that_is_set_is_sent_even_if_it_is_zero_or_false() -> None:
    fields = {**EVERYTHING, "image_urls": tuple(EVERYTHING["image_urls"])}

    assert ImageRequest(**fields).body() == EVERYTHING


def test_an_empty_list_of_references_is_sent_as_it_is() -> None:
    assert ImageRequest(prompt="A lighthouse", image_urls=()).body()["image_urls"] == []


def test_further_fields_are_sent_as_they_are() -> None:
    body = ImageRequest(prompt="A lighthouse", extra_body={"nsfw_check": True, "style": None}).body()

    assert body["nsfw_check"] is True
    assert body["style"] is None


@pytest.mark.parametrize(
    ("n", "images_per_task", "counts"),
    [(1, 1, [1]), (2, 1, [1, 1]), (4, 4, [4]), (5, 4, [4, 1]), (10, 4, [4, 4, 2]), (10, None, [10])],
)
def test_more_pictures_than_one_task_delivers_become_several_tasks(
    n: int, images_per_task: int | None, counts: list[int]
) -> None:
    parts = ImageRequest(prompt="A lighthouse", n=n).split(images_per_task)

    assert [part.n for part in parts] == counts


@given(st.integers(1, 500), st.one_of(st.none(), st.integers(1, 20)))
def test_splitting_conserves_the_number_of_pictures_and_everything_else(n: int, images_per_task: int | None) -> None:
    request = ImageRequest(prompt="A lighthouse", n=n, size="1:1", extra_body={"style": "x"})

    parts = request.split(images_per_task)

    assert sum(part.n for part in parts) == n
    assert all(1 <= part.n <= (images_per_task or n) for part in parts)
    assert {repr({**part.body(), "n": None}) for part in parts} == {repr({**request.body(), "n": None})}


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest(prompt="A lighthouse"),
        ImageRequest(**{**EVERYTHING, "image_urls": tuple(EVERYTHING["image_urls"])}),
        ImageRequest(prompt="图\n", n=3, extra_body={"seed": 7, "style": None, "nested": {"a": [1.5, True]}}),
    ],
    ids=["defaults", "everything", "extra body"],
)
def test_a_request_survives_its_record(request_: ImageRequest) -> None:
    restored = ImageRequest.from_json(json.loads(json.dumps(request_.to_json())))

    assert restored == request_
    assert restored.body() == request_.body()


def test_a_record_of_another_version_may_hold_further_fields() -> None:
    assert ImageRequest.from_json({"prompt": "A lighthouse", "seed": 7}) == ImageRequest(prompt="A lighthouse")
