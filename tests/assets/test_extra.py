"""The shapes of the two events, and that neither grows with the number of pictures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_apimart.assets import MOST_LISTED, images_extra, purchase_extra

#: Bytes that one row of Airflow's database may take.
LIMIT = 100_000
#: Each character takes twelve bytes of JSON.
LONG_PROMPT = "\N{LEOPARD}" * 10_000


def purchase(**changes: Any) -> dict[str, Any]:
    usual = {
        "purchase": "0a1b",
        "connection": "apimart_default",
        "gateway": "apimart",
        "bought_at": 1776748674,
        "task_ids": ["task_1"],
        "delivered": 1,
        "cost": 0.0085,
        "credits_cost": 0.085,
        "models": [],
    }
    return purchase_extra(**{**usual, **changes})


def images(**changes: Any) -> dict[str, Any]:
    usual = {
        "prefix": "s3://pictures/posters",
        "connection": "apimart_default",
        "aws_connection": "aws_default",
        "count": 1,
        "task_ids": ["task_1"],
        "models": ["gpt-image-2"],
        "cost": 0.0085,
        "credits_cost": 0.085,
        "images": [],
    }
    return images_extra(**{**usual, **changes})


def test_a_purchase_names_its_ledger_and_its_pictures_where_it_has_some() -> None:
    assert {"ledger", "images"}.isdisjoint(purchase())
    assert purchase(ledger="s3://pictures/ledger.jsonl")["ledger"] == "s3://pictures/ledger.jsonl"
    assert purchase(images=[{"task_id": "task_1", "index": 0}])["images"] == [{"task_id": "task_1", "index": 0}]


def test_an_unknown_cost_is_null_and_not_left_out() -> None:
    assert purchase(cost=None)["cost"] is None
    assert images(credits_cost=None)["credits_cost"] is None


def test_models_are_named_once_in_order() -> None:
    assert images(models=["b", "a", "b"])["models"] == ["a", "b"]


def test_of_a_picture_it_says_what_is_known_and_no_addresses_but_that_in_s3() -> None:
    known = {"uri": "s3://pictures/a.png", "prompt": "a cat", "size": None, "url": "https://example.com/a", "cost": 0.0}

    assert images(images=[known])["images"] == [{"uri": "s3://pictures/a.png", "prompt": "a cat", "cost": 0.0}]


def test_texts_that_no_database_takes_are_made_storable() -> None:
    (listed,) = images(images=[{"id": "a\ud800", "prompt": "nul \x00" + "x" * 300}])["images"]

    assert listed["id"] == "a\N{REPLACEMENT CHARACTER}"
    assert listed["prompt"] == "nul \N{REPLACEMENT CHARACTER}" + "x" * 195
    assert json.dumps(listed, ensure_ascii=False).encode()


@pytest.mark.parametrize("prompt", ["a cat", LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("folder", ["posters", "f" * 900], ids=["short key", "long key"])
def test_ten_thousand_pictures_stay_small(prompt: str, folder: str) -> None:
    pictures = [{"uri": f"s3://pictures/{folder}/{number}", "prompt": prompt, "index": 0} for number in range(10_000)]
    task_ids = [f"task_{number:026}" for number in range(10_000)]

    stored = images(count=10_000, images=pictures, task_ids=task_ids, manifest="s3://pictures/m.jsonl")
    bought = purchase(delivered=10_000, images=pictures, task_ids=task_ids)

    assert len(json.dumps(stored)) < LIMIT
    assert len(json.dumps(bought)) < LIMIT
    assert (stored["count"], bought["delivered"]) == (10_000, 10_000)


def test_the_first_pictures_and_tasks_are_listed() -> None:
    pictures = [{"uri": f"s3://pictures/{number}"} for number in range(250)]
    task_ids = [f"task_{number:026}" for number in range(250)]

    told = images(images=iter(pictures), task_ids=iter(task_ids))

    assert told["images"] == pictures[:MOST_LISTED]
    assert told["task_ids"] == task_ids[:MOST_LISTED]
    assert MOST_LISTED == 100


def test_no_key_is_one_whose_value_airflow_hides() -> None:
    from airflow._shared.secrets_masker import should_hide_value_for_key

    known = dict.fromkeys(
        ("uri", "id", "task_id", "index", "prompt", "model", "size", "resolution", "quality", "cost", "seconds"), "1"
    )
    known |= dict.fromkeys(("width", "height", "bytes", "expires_at"), "1")
    bought, stored = purchase(ledger="s3://a", images=[known]), images(images=[known], manifest="s3://a")

    names = {*bought, *stored, *known, "delivered", "unknown"}
    assert len(stored["images"][0]) == len(known)
    assert {name for name in names if should_hide_value_for_key(name)} == set()
