"""What a dataset says as events; their shapes are tested with the operator, here is what they count."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import CHARGED, FREE, LOST, NOW, entry

from airflow_provider_apimart.dataset.event import images_of, purchase_of
from airflow_provider_apimart.dataset.ledger import Ledger, State
from airflow_provider_apimart.dataset.manifest import Manifest

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.entry import Entry

RUN = "monday"
MANIFEST = "s3://bucket/ledger/manifests/a.jsonl"


def states(*known: Entry) -> list[State]:
    ledger = Ledger()
    ledger.add(known)
    return [state for each in known if (state := ledger.find(each.key))]


def bought(*own: Entry, **pictures: int) -> dict[str, Any] | None:
    """What is said of a run's purchases, each of other rows, and its pictures by model."""
    counted = Counter({(RUN, model.replace("_", "-")): count for model, count in pictures.items()})
    return purchase_of(
        states(*own),
        Manifest(MANIFEST, list(own), counted),
        run_id=RUN,
        purchase="0a1b",
        connection="apimart_default",
        gateway="apimart",
        ledger="s3://bucket/ledger/ledger.jsonl",
    )


def stored(*entries: Entry) -> dict[str, Any] | None:
    counted = Counter({(RUN, "m"): sum(len(each.objects) for each in entries)})
    return images_of(
        states(*entries),
        Manifest(MANIFEST, list(entries), counted),
        prefix="s3://bucket/catalogue",
        connection="apimart_default",
        aws_connection=None,
    )


def held(name: str) -> dict[str, Any]:
    return {
        "uri": f"s3://bucket/images/{name}.png",
        "bytes": 1,
        "sha256": "0",
        "content_type": "image/png",
        "width": 2,
        "height": 3,
    }


def test_money_is_told_by_model_in_order() -> None:
    told = bought(
        entry(id="1", model="b", cost=0.5),
        entry(id="2", model="a", cost=0.25),
        entry(id="3", model="b", cost=0.125),
        a=1,
        b=4,
    )

    assert told
    assert (told["cost"], told["delivered"]) == (0.875, 5)
    assert told["models"] == [
        {"model": "a", "delivered": 1, "cost": 0.25, "unknown": 0},
        {"model": "b", "delivered": 4, "cost": 0.625, "unknown": 0},
    ]


@pytest.mark.parametrize("fate", [CHARGED, LOST], ids=["charged", "lost"])
def test_a_call_of_unknown_cost_counts_as_one_whether_or_not_it_was_answered(fate: dict[str, Any]) -> None:
    told = bought(entry(id="1", model="m", cost=0.5), entry(id="2", model="m", **fate), m=1)

    assert told
    assert told["cost"] is None
    assert told["models"] == [{"model": "m", "delivered": 1, "cost": 0.5, "unknown": 1}]


def test_what_cost_nothing_is_no_purchase() -> None:
    assert bought(entry(id="1", **FREE)) is None
    assert bought() is None


def test_what_cost_nothing_beside_a_purchase_is_not_named() -> None:
    told = bought(entry(id="1", task_ids=("paid",)), entry(id="2", task_ids=("free",), **FREE))

    assert told
    assert told["task_ids"] == ["paid"]


def test_it_was_bought_when_the_last_call_went_out() -> None:
    told = bought(entry(id="1", intended_at=NOW + 5, updated_at=NOW + 9), entry(id="2", intended_at=NOW + 7))

    assert told
    assert told["bought_at"] == NOW + 7


def test_entries_of_other_runs_are_not_named_as_bought() -> None:
    ours, theirs = entry(id="1", task_ids=("ours",)), entry(id="2", task_ids=("theirs",), run_id="sunday")

    told = purchase_of(
        states(ours),
        Manifest(MANIFEST, [theirs, ours], Counter({(RUN, "gpt-image-2"): 1, ("sunday", "gpt-image-2"): 1})),
        run_id=RUN,
        purchase="0a1b",
        connection="apimart_default",
        gateway="apimart",
        ledger="s3://bucket/ledger/ledger.jsonl",
    )

    assert told
    assert (told["task_ids"], told["delivered"]) == (["ours"], 1)


def test_pictures_of_one_call_share_its_cost_and_are_told_apart() -> None:
    objects = (held("lamp-task_1-0"), held("lamp-task_1-1"), held("lamp-by-hand"))
    told = stored(entry(id="lamp", task_ids=("task_1",), objects=objects, cost=0.75))

    assert told
    assert [(it["cost"], it.get("task_id"), it.get("index")) for it in told["images"]] == [
        (0.25, "task_1", 0),
        (0.25, "task_1", 1),
        (0.25, None, None),
    ]
    assert (told["count"], told["cost"], told["aws_connection"]) == (3, 0.75, None)
    assert {"sha256", "content_type"}.isdisjoint(told["images"][0])


def test_a_cost_that_is_not_known_is_left_out_of_the_picture_and_makes_the_sum_unknown() -> None:
    told = stored(
        entry(id="1", objects=(held("1-task_1-0"),), cost=None), entry(id="2", objects=(held("2-task_2-0"),), cost=0.5)
    )

    assert told
    assert told["cost"] is None
    assert [it.get("cost") for it in told["images"]] == [None, 0.5]


def test_without_a_picture_there_is_nothing_to_say() -> None:
    assert stored() is None
