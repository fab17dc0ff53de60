from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_apimart.plugins.web.card import Card, Status, cards_of_line
from airflow_provider_apimart.plugins.web.scope import Scope

TASK = Scope("d", "r", "t", -1)


def card(status: Status = Status.STORED, **facts: Any) -> Card:
    return Card(status=status, source=TASK, at=0.0, facts=facts)


def line(**changes: Any) -> dict[str, Any]:
    """Return a line of a ledger, as far as a card needs it."""
    return {
        "row": 3,
        "id": "sku-3",
        "status": "copied",
        "prompt": "a lighthouse",
        "model": "gpt-image-2",
        "size": "2:3",
        "resolution": None,
        "quality": None,
        "n": 2,
        "cost": 0.017,
        "task_ids": ["task_1", "task_2"],
        "objects": [
            {"uri": "s3://b/sku-3-task_1-1.png", "width": 8, "height": 8},
            {"uri": "s3://b/sku-3-task_2-0.png", "width": 8, "height": 8},
        ],
        "error": None,
        "intended_at": "2026-11-22T09:00:00.000Z",
        "updated_at": "2026-11-22T09:00:52.000Z",
        **changes,
    }


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({"prompt": "a lighthouse", "id": "sku-3", "task_id": "task_1"}, "a lighthouse"),
        ({"id": "sku-3", "task_id": "task_1"}, "sku-3"),
        ({"task_id": "task_1", "index": 2}, "task_1-2"),
        ({}, "t"),
    ],
)
def test_a_card_is_called_by_the_best_that_is_known(facts: dict[str, Any], title: str) -> None:
    assert card(**facts).title == title


def test_the_size_is_that_of_the_picture_or_else_the_one_that_was_asked_for() -> None:
    assert card(size="2:3", width=1024, height=1536).size == "1024 x 1536"
    assert card(size="2:3").size == "2:3"
    assert card().size == ""


@pytest.mark.parametrize(
    ("status", "facts", "is_expired"),
    [
        (Status.BOUGHT, {"expires_at": time.time() - 1}, True),
        (Status.BOUGHT, {"expires_at": time.time() + 3600}, False),
        (Status.BOUGHT, {}, False),
        (Status.STORED, {"expires_at": time.time() - 1}, False),
    ],
)
def test_a_picture_has_expired_when_its_url_has_and_no_copy_is_known(
    status: Status, facts: dict[str, Any], is_expired: bool
) -> None:
    assert card(status, **facts).is_expired is is_expired


def test_the_request_is_told_as_far_as_it_is_known() -> None:
    [made, _] = cards_of_line(TASK, line(quality="high"))
    assert made.request == {"model": "gpt-image-2", "size": "2:3", "quality": "high", "n": 2}
    assert card(prompt="a lighthouse", width=8).request == {}


def test_a_picture_is_asked_for_by_its_address_or_else_by_the_gateways_name() -> None:
    assert card(uri="s3://b/1.png", task_id="task_1").address() == {**TASK.query(), "uri": "s3://b/1.png"}
    assert card(task_id="task_1", index=1).address() == {**TASK.query(), "picture": "task_1-1"}


def test_the_pictures_of_a_row_share_its_cost() -> None:
    first, second = cards_of_line(TASK, line())
    assert (first.facts["cost"], second.facts["cost"], first.facts["seconds"]) == (0.0085, 0.0085, 52)
    assert {first.status, second.status} == {Status.STORED}
    assert (first.name, second.name) == ("task_1-1", "task_2-0")


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("intended", Status.RUNNING),
        ("accepted", Status.RUNNING),
        ("failed", Status.FAILED),
        ("refused", Status.FAILED),
        ("released", Status.RUNNING),
        ("unknown", Status.FAILED),
        ("presumed_lost", Status.FAILED),
        ("unanswered", Status.FAILED),
        ("written_off", Status.FAILED),
    ],
)
def test_a_row_without_pictures_is_one_card(status: str, shown: Status) -> None:
    error = {"code": None, "message": "not allowed"} if shown is Status.FAILED else None
    [made] = cards_of_line(TASK, line(status=status, objects=[], error=error, cost=None))
    assert (made.status, made.error, made.has_picture) == (shown, error and "not allowed", False)
    assert "cost" not in made.facts, "unknown is never 0"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("presumed_lost", "It is not known whether"),
        ("unanswered", "It is not known whether"),
        ("unknown", "It is not known whether"),
        ("written_off", "Somebody decided"),
    ],
)
def test_a_call_without_an_error_of_its_own_is_explained(status: str, reason: str) -> None:
    [made] = cards_of_line(TASK, line(status=status, objects=[], error=None))
    assert made.error
    assert made.error.startswith(reason)
