"""What a result says as a purchase: its shape is tested with the operator, here is what it counts."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.operators.record import PurchasePart, PurchasePhase, PurchaseRecord
from airflow_provider_apimart.operators.result import TaskOutcomes, build_image_result, describe_purchase

NOW = 9000.0


def task(task_id: str, cost: float | None = 0.5, *, pictures: int = 1, **changes: Any) -> Task:
    images = tuple(Image(f"https://example.com/{task_id}-{index}.png", 2000) for index in range(pictures))
    state = TaskState.COMPLETED if pictures else TaskState.FAILED
    return Task(task_id=task_id, status=str(state), state=state, images=images, cost=cost, **changes)


def purchase(*tasks: Task, gone: tuple[str, ...] = ()) -> dict[str, Any]:
    task_ids = (*(one.task_id for one in tasks), *gone)
    record = PurchaseRecord(
        generation=0,
        fingerprint="",
        parts=(PurchasePart(PurchasePhase.ACCEPTED, n=4, task_ids=task_ids),),
        request={"prompt": "a cat", "model": "gpt-image-2", "size": "1:1"},
        gateway=str(Gateway.APIMART),
    )
    known = TaskOutcomes({one.task_id: one for one in tasks}, dict.fromkeys(gone, "404: no such task."))
    result, _ = build_image_result(record, known, waited=0, now=0)
    return describe_purchase(result, connection="apimart_default", now=NOW)


def figures(told: dict[str, Any]) -> tuple[float | None, float, int]:
    (model,) = told["models"]
    return told["cost"], model["cost"], model["unknown"]


def test_all_paid_calls_count_whether_or_not_they_gave_a_picture() -> None:
    told = purchase(task("a", pictures=3), task("b", 0.25, pictures=0))

    assert (told["delivered"], *figures(told)) == (3, 0.75, 0.75, 0)


def test_a_call_that_failed_at_no_cost_counts_nothing() -> None:
    assert figures(purchase(task("a"), task("b", None, pictures=0))) == (0.5, 0.5, 0)


@pytest.mark.parametrize(
    "told",
    [purchase(task("a"), task("b", None)), purchase(task("a"), gone=("b",))],
    ids=["not told", "forgotten"],
)
def test_an_unknown_cost_stays_unknown_and_is_counted(told: dict[str, Any]) -> None:
    assert figures(told) == (None, 0.5, 1)


def test_a_purchase_of_which_nothing_is_known_has_cost_nothing_known() -> None:
    assert figures(purchase(task("a", None), task("b", None))) == (None, 0.0, 2)


def test_shares_of_one_call_add_up_to_its_cost() -> None:
    told = purchase(task("a", 0.01, pictures=3), task("b", None))

    shares = [image.get("cost") for image in told["images"]]
    assert shares[:3] == [pytest.approx(0.01 / 3)] * 3
    assert shares[3] is None
    assert round(sum(shares[:3]), 10) == 0.01


def test_each_picture_says_what_was_asked_for_and_how_long_it_took_and_has_no_url() -> None:
    told = purchase(task("a", actual_time=52))

    assert told["images"] == [
        {
            "task_id": "a",
            "index": 0,
            "prompt": "a cat",
            "model": "gpt-image-2",
            "size": "1:1",
            "cost": 0.5,
            "seconds": 52,
            "expires_at": 2000,
        }
    ]


def test_the_same_gateway_tasks_are_the_same_purchase_in_any_order_and_others_are_another() -> None:
    one, other = purchase(task("a"), task("b")), purchase(task("b"), task("a"))

    assert one["purchase"] == other["purchase"]
    assert purchase(task("a"), task("c"))["purchase"] != one["purchase"]


def test_it_was_bought_when_the_gateway_made_the_last_task_or_now_where_it_does_not_say() -> None:
    assert purchase(task("a", created=100), task("b", created=300), task("c"))["bought_at"] == 300
    assert purchase(task("a"))["bought_at"] == NOW
