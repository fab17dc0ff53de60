"""What the operators say of what they have bought and stored, once each, whatever became of their workers."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance

from airflow_provider_apimart.exceptions import IncompleteDatasetError, TaskFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator
    from services.gateway_clock import GatewayClock

    from airflow_provider_apimart.simulator import Simulator

    Describe = Callable[..., Callable[[], BaseOperator]]

COST = 0.0085
PURCHASES, IMAGES = "apimart-purchases", "apimart-images"


def names(task_instance: TaskInstance) -> list[str]:
    return [event.name for event in task_instance.events]


def purchases(*task_instances: TaskInstance) -> list[dict[str, Any]]:
    return [event.extra for it in task_instances for event in it.events if event.name == PURCHASES]


def spent(told: list[dict[str, Any]]) -> float:
    """Add up money as the documentation says: of each purchase the last word."""
    return sum({extra["purchase"]: extra["cost"] for extra in told}.values())


class TestARequest:
    @pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "inline"])
    def test_is_one_purchase_in_the_documented_shape(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, deferrable: bool
    ) -> None:
        result = task_instance.run(operator(n=2, size="16:9", resolution="1k", deferrable=deferrable))

        (told,) = purchases(task_instance)
        bought = result["tasks"]
        assert names(task_instance) == [PURCHASES]
        assert told == {
            "schema_version": 1,
            "kind": "purchase",
            "purchase": told["purchase"],
            "connection": "apimart_default",
            "gateway": "apimart",
            "bought_at": max(task["created"] for task in bought),
            "task_ids": [task["id"] for task in simulator.tasks()],
            "delivered": 2,
            "cost": result["cost"],
            "credits_cost": result["credits_cost"],
            "currency": "USD",
            "models": [{"model": "gpt-image-2", "delivered": 2, "cost": result["cost"], "unknown": 0}],
            "images": [
                {
                    "task_id": image["task_id"],
                    "index": image["index"],
                    "prompt": "a lighthouse at dawn",
                    "model": "gpt-image-2",
                    "size": "16:9",
                    "resolution": "1k",
                    "cost": result["cost"] / 2,
                    "seconds": task["actual_time"],
                    "expires_at": image["expires_at"],
                }
                for image, task in zip(result["images"], bought, strict=True)
            ],
        }
        assert json.loads(json.dumps(told)) == told

    def test_that_a_retry_goes_on_with_is_one_purchase(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())  # This worker dies with its trigger.
        task_instance.run(operator())

        assert spent(purchases(task_instance)) == simulator.stats()["cost"] == COST
        assert len(purchases(task_instance)) == 1

    def test_that_is_collected_after_its_trigger_crashed_is_said_too(
        self, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.event_of(task_instance.run_until_deferred(operator()))
        task_instance.resume_after_failure(operator(), "Trigger failure")

        assert spent(purchases(task_instance)) == COST

    def test_that_is_used_again_after_a_clear_is_the_same_purchase(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run(operator(on_clear="reuse"))
        task_instance.clear()
        task_instance.run(operator(on_clear="reuse"))

        first, second = purchases(task_instance)
        assert first == second
        assert spent([first, second]) == simulator.stats()["cost"]

    def test_that_is_bought_anew_after_a_clear_is_another_purchase(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run(operator(on_clear="regenerate"))
        task_instance.clear()
        task_instance.run(operator(on_clear="regenerate"))

        assert len({told["purchase"] for told in purchases(task_instance)}) == 2
        assert spent(purchases(task_instance)) == pytest.approx(simulator.stats()["cost"]) == 2 * COST

    def test_of_each_mapped_instance_is_a_purchase_of_its_own(self, simulator: Simulator, operator: Describe) -> None:
        mapped = [TaskInstance(map_index=map_index) for map_index in range(3)]
        for instance in mapped:
            instance.run(operator())

        assert len({told["purchase"] for told in purchases(*mapped)}) == 3
        assert spent(purchases(*mapped)) == pytest.approx(simulator.stats()["cost"])

    def test_of_which_the_cost_is_not_known_is_a_purchase_all_the_same(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "missing_cost"})
        task_instance.run(operator())

        (told,) = purchases(task_instance)
        assert (told["cost"], told["delivered"]) == (None, 1)
        assert told["models"] == [{"model": "gpt-image-2", "delivered": 1, "cost": 0.0, "unknown": 1}]

    def test_that_gave_no_picture_is_said_by_nobody(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed"})

        with pytest.raises(TaskFailedError):
            task_instance.run(operator())

        assert task_instance.events == []


class TestADataset:
    def test_is_one_purchase_and_one_event_of_its_pictures_in_the_documented_shapes(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, bucket: str
    ) -> None:
        rows = [{"id": "heron", "prompt": "A grey heron", "size": "2:3"}, {"id": "robin", "prompt": "A robin"}]
        result = task_instance.run(dataset_operator(rows))

        bought, stored = (event.extra for event in task_instance.events)
        tasks = {task["prompt"]: task["id"] for task in simulator.tasks()}
        assert names(task_instance) == [PURCHASES, IMAGES]
        assert bought == {
            "schema_version": 1,
            "kind": "purchase",
            "purchase": bought["purchase"],
            "connection": "apimart_default",
            "gateway": "apimart",
            "bought_at": bought["bought_at"],
            "task_ids": [tasks["A grey heron"], tasks["A robin"]],
            "delivered": 2,
            "cost": 2 * COST,
            "credits_cost": result["credits_cost"],
            "currency": "USD",
            "models": [{"model": "gpt-image-2", "delivered": 2, "cost": 2 * COST, "unknown": 0}],
            "ledger": f"s3://{bucket}/catalogue/ledger/ledger.jsonl.gz",
        }
        assert stored == {
            "schema_version": 1,
            "kind": "images",
            "prefix": f"s3://{bucket}/catalogue",
            "connection": "apimart_default",
            "aws_connection": "aws_default",
            "count": 2,
            "task_ids": [tasks["A grey heron"], tasks["A robin"]],
            "models": ["gpt-image-2"],
            "cost": 2 * COST,
            "credits_cost": result["credits_cost"],
            "currency": "USD",
            "images": [
                {
                    "uri": held["uri"],
                    "task_id": tasks[row["prompt"]],
                    "index": 0,
                    **row,
                    "model": "gpt-image-2",
                    "cost": COST,
                    "width": held["width"],
                    "height": held["height"],
                    "bytes": listed["bytes"],
                }
                for row, held, listed in zip(rows, result["objects"], stored["images"], strict=True)
            ],
            "manifest": result["manifest"],
        }
        assert json.loads(json.dumps([bought, stored])) == [bought, stored]

    def test_that_fails_says_nothing_and_what_a_later_try_says_includes_what_it_bought(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_moderated", "match": {"prompt": "second"}})
        with pytest.raises(IncompleteDatasetError):
            task_instance.run(dataset_operator(["first", "second"]))
        assert task_instance.events == []

        simulator.clear_faults()
        task_instance.clear()
        task_instance.run(dataset_operator(["first", "second"]))

        (told,) = purchases(task_instance)
        assert (told["delivered"], told["cost"]) == (2, simulator.stats()["cost"])

    def test_whose_task_is_cleared_is_the_same_purchase(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        task_instance.run(dataset_operator(["first"]))
        task_instance.clear()
        task_instance.run(dataset_operator(["first", "second"]))

        one, both = purchases(task_instance)
        assert one["purchase"] == both["purchase"]
        assert (one["delivered"], both["delivered"]) == (1, 2)
        assert spent([one, both]) == pytest.approx(simulator.stats()["cost"])

    def test_that_an_earlier_run_has_bought_is_no_purchase_but_its_pictures_are_there(
        self, simulator: Simulator, dataset_operator: Describe
    ) -> None:
        monday, tuesday = TaskInstance(run_id="monday"), TaskInstance(run_id="tuesday")
        monday.run(dataset_operator(["first", "second"]))
        tuesday.run(dataset_operator(["first", "second"]))

        assert names(tuesday) == [IMAGES]
        assert tuesday.events[0].extra["images"] == monday.events[1].extra["images"]
        assert spent(purchases(monday, tuesday)) == pytest.approx(simulator.stats()["cost"])

    def test_that_is_bought_in_shards_is_a_purchase_for_each_and_counted_once(
        self, simulator: Simulator, dataset_operator: Describe
    ) -> None:
        shards = [TaskInstance(map_index=index) for index in range(2)]
        rows = [f"picture {number}" for number in range(8)]
        for index, instance in enumerate(shards):
            instance.run(dataset_operator(rows, shard=(index, 2)))

        told = purchases(*shards)
        assert sum(extra["delivered"] for extra in told) == 8
        assert spent(told) == pytest.approx(simulator.stats()["cost"])
        assert Counter(task_id for extra in told for task_id in extra["task_ids"]).most_common(1)[0][1] == 1

    def test_of_which_a_cost_is_not_known_counts_that_and_says_so(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "missing_cost", "match": {"prompt": "second"}})
        task_instance.run(dataset_operator(["first", "second"]))

        bought, stored = (event.extra for event in task_instance.events)
        assert bought["cost"] is bought["credits_cost"] is stored["cost"] is None
        assert bought["models"] == [{"model": "gpt-image-2", "delivered": 2, "cost": COST, "unknown": 1}]
        assert [image.get("cost") for image in stored["images"]] == [COST, None]

    def test_that_is_bought_anew_by_another_run_is_another_purchase(
        self, simulator: Simulator, dataset_operator: Describe
    ) -> None:
        monday = TaskInstance(run_id="monday")
        monday.run(dataset_operator(["first"]))
        tuesday = TaskInstance(run_id="tuesday")
        tuesday.run(dataset_operator(["first"], on_existing="regenerate"))

        assert len({told["purchase"] for told in purchases(monday, tuesday)}) == 2
        assert spent(purchases(monday, tuesday)) == pytest.approx(simulator.stats()["cost"]) == 2 * COST

    def test_without_rows_is_nothing_to_speak_of(self, task_instance: TaskInstance, dataset_operator: Describe) -> None:
        task_instance.run(dataset_operator([]))

        assert task_instance.events == []

    def test_in_a_bucket_of_its_own_is_under_the_address_of_the_bucket(
        self, task_instance: TaskInstance, dataset_operator: Describe, bucket: str
    ) -> None:
        task_instance.run(dataset_operator(["first"], s3_prefix=""))

        assert task_instance.events[1].extra["prefix"] == f"s3://{bucket}"


class TestADatasetWhoseTriggerCrashed:
    @pytest.fixture
    def simulator(self, unhurried_simulator: Simulator) -> Simulator:
        return unhurried_simulator

    def test_is_said_too_when_it_is_collected(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, gateway_clock: GatewayClock
    ) -> None:
        operator = dataset_operator(["first", "second"])
        task_instance.run_until_deferred(operator)
        gateway_clock.finish_everything()
        task_instance.resume_after_failure(operator, "Trigger failure")

        assert names(task_instance) == [PURCHASES, IMAGES]
        assert spent(purchases(task_instance)) == simulator.stats()["cost"]
