"""What a finished request comes to."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.exceptions import TaskFailedError, TaskTimeoutError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.task import Image, Task, TaskState
from airflow_provider_apimart.operators.record import PurchasePart, PurchasePhase, PurchaseRecord
from airflow_provider_apimart.operators.result import TaskOutcomes, build_image_result


def completed(task_id: str, cost: float | None = 0.5, *, expires_at: int | None = 2000) -> Task:
    image = Image(f"https://example.com/{task_id}.png", expires_at)
    return Task(task_id=task_id, status="completed", state=TaskState.COMPLETED, images=(image,), cost=cost)


def failed(task_id: str, cost: float | None = None) -> Task:
    return Task(task_id=task_id, status="failed", state=TaskState.FAILED, cost=cost, error_message="no reason")


def concluded(*task_ids: str, tasks: list[Task], gone: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
    record = PurchaseRecord(
        generation=0,
        fingerprint="",
        parts=tuple(PurchasePart(PurchasePhase.ACCEPTED, task_ids=(task_id,)) for task_id in task_ids),
        request={"prompt": "a cat", "model": "gpt-image-2"},
        gateway=str(Gateway.APIMART),
    )
    known = TaskOutcomes({task.task_id: task for task in tasks}, dict.fromkeys(gone, "404: no such task."))
    return build_image_result(record, known, waited=600, now=1000.0)


def test_everything_that_was_asked_for_is_a_result_without_warnings() -> None:
    result, warnings = concluded("a", "b", tasks=[completed("b"), completed("a")])

    assert (result["status"], result["task_ids"], result["cost"]) == ("completed", ["a", "b"], 1.0)
    assert [image["task_id"] for image in result["images"]] == ["a", "b"]
    assert warnings == []


def test_a_task_that_failed_at_no_cost_counts_nothing() -> None:
    result, warnings = concluded("a", "b", tasks=[completed("a"), failed("b")])

    assert (result["status"], result["delivered"], result["cost"]) == ("partial", 1, 0.5)
    assert len(warnings) == 2


@pytest.mark.parametrize(
    "tasks", [[completed("a"), completed("b", None)], [completed("a"), failed("b", 0.25)]], ids=["not told", "charged"]
)
def test_a_cost_is_the_sum_of_what_is_known_to_be_charged_or_unknown(tasks: list[Task]) -> None:
    result, _ = concluded("a", "b", tasks=tasks)

    assert result["cost"] == (None if tasks[1].cost is None else 0.75)


def test_a_task_that_the_gateway_has_forgotten_is_named_and_makes_the_cost_unknown() -> None:
    result, warnings = concluded("a", "gone", tasks=[completed("a")], gone=("gone",))

    assert (result["status"], result["task_ids"], result["cost"]) == ("partial", ["a", "gone"], None)
    assert "task gone" in warnings[0]


def test_a_url_that_has_died_is_warned_of() -> None:
    result, warnings = concluded("a", "b", tasks=[completed("a", expires_at=999), completed("b", expires_at=None)])

    assert result["status"] == "completed"
    assert [warning.partition(" has expired")[0] for warning in warnings] == ["The URL of picture 0 of task a"]


def test_a_task_that_still_runs_is_a_timeout() -> None:
    with pytest.raises(TaskTimeoutError, match="task b") as caught:
        concluded("a", "b", tasks=[completed("a")])

    assert caught.value.task_id == "b"


def test_no_picture_at_all_is_the_first_reason() -> None:
    with pytest.raises(TaskFailedError, match="no reason"):
        concluded("a", "gone", tasks=[failed("a")], gone=("gone",))
