"""What a task returns about its dataset; its shape is tested with the operator."""

from __future__ import annotations

from typing import Any

import pytest
from dataset.entries import CHARGED, FREE, entry

from airflow_provider_apimart.dataset.ledger import Ledger, State
from airflow_provider_apimart.dataset.manifest import Manifest
from airflow_provider_apimart.dataset.report import report_of
from airflow_provider_apimart.dataset.survey import Survey

MANIFEST = Manifest("s3://bucket/catalogue/ledger/manifests/a.jsonl")


def state(**changes: Any) -> State:
    ledger = Ledger()
    ledger.add([entry(**changes)])
    (known,) = ledger.states()
    return known


def report(*own: State) -> dict[str, Any]:
    return report_of(Survey(total=len(own)), own, MANIFEST, invalid=3, ledger="s3://bucket/catalogue/ledger/")


def test_what_was_charged_counts_as_bought_whether_or_not_there_is_a_picture() -> None:
    told = report(state(cost=0.5, credits_cost=5.0), state(cost=0.25, credits_cost=2.5, **CHARGED), state(**FREE))

    assert (told["bought"], told["cost"], told["invalid"]) == (2, 0.75, 3)


@pytest.mark.parametrize(("costs", "expected"), [((), 0.0), ((0.5, None), None), ((0.5, 0.25), 0.75)])
def test_a_sum_with_an_unknown_part_is_unknown_and_of_nothing_it_is_nothing(
    costs: tuple[float | None, ...], expected: float | None
) -> None:
    assert report(*(state(cost=cost) for cost in costs))["cost"] == expected


def test_pictures_are_listed_unless_they_are_too_many() -> None:
    held = {"uri": "s3://bucket/a.png", "bytes": 1, "sha256": "0", "content_type": "image/png", "width": 2, "height": 3}
    two = entry(id="lamp", row=7, objects=(held, {**held, "uri": "s3://bucket/b.png"}))

    manifest = Manifest("s3://bucket/ledger/manifests/a.jsonl", [two])

    told = report_of(Survey(total=1), [], manifest, invalid=0, ledger="s3://bucket/ledger/")
    many = report_of(Survey(total=1001), [], manifest, invalid=0, ledger="s3://bucket/ledger/")

    assert told["objects"] == [
        {"id": "lamp", "row": 7, "uri": "s3://bucket/a.png", "width": 2, "height": 3},
        {"id": "lamp", "row": 7, "uri": "s3://bucket/b.png", "width": 2, "height": 3},
    ]
    assert many["objects"] is None
    assert told["manifest"] == many["manifest"] == "s3://bucket/ledger/manifests/a.jsonl"
    assert told["images"] == "s3://bucket/images/"
