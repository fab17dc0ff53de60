"""Plans, samples, columns, templates and limits of a dataset."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import DatasetTask, rows

from airflow_provider_apimart.exceptions import ApimartError, IncompleteDatasetError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from laws.datasets.dataset_task import Dataset
    from services.plain_gateway import PlainGateway, PlainPurchase

    RunOf = Callable[..., DatasetTask]
    Background = Callable[[Callable[[], Any]], "Future[Any]"]

pytestmark = pytest.mark.usefixtures("leaves_soon")


class TestAPlan:
    @pytest.mark.parametrize("plan_only", [True, "True", "true"])
    def test_of_a_new_dataset_names_rows_and_cost_and_buys_nothing(
        self, dataset: Dataset, task: DatasetTask, plan_only: Any
    ) -> None:
        plan = task.run(dataset.operator(rows(5), plan_only=plan_only))

        assert (plan["total"], plan["to_buy"], plan["done"], plan["cost"]) == (5, 5, 0, pytest.approx(5 * 0.0085))
        assert dataset.gateway.calls == []
        assert dataset.images() == []

    def test_of_a_dataset_that_has_changed_names_what_is_new(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf
    ) -> None:
        task.run(dataset.operator(rows(5)))
        changed = [*rows(4), {"id": "sku-4", "prompt": "another"}, *rows(2, 5)]

        plan = run_of("tuesday").run(dataset.operator(changed, plan_only=True))

        assert (plan["to_buy"], plan["done"]) == (3, 4)
        assert [row["id"] for row in plan["rows"]] == ["sku-4", "sku-5", "sku-6"]
        assert len(dataset.gateway.calls) == 5

    def test_of_a_regeneration_names_every_row(self, dataset: Dataset, task: DatasetTask, run_of: RunOf) -> None:
        task.run(dataset.operator(rows(3)))

        plan = run_of("tuesday").run(dataset.operator(rows(3), plan_only=True, on_existing="regenerate"))

        assert (plan["to_buy"], len(dataset.gateway.calls)) == (3, 3)

    def test_is_followed_by_the_purchase_when_the_task_is_cleared(self, dataset: Dataset, task: DatasetTask) -> None:
        task.run(dataset.operator(rows(3), plan_only=True))
        task.clear_task()

        assert task.run(dataset.operator(rows(3)))["done"] == 3


class TestASample:
    @pytest.mark.parametrize("limit", [2, "2", " 2 "])
    def test_is_the_first_rows_and_the_rest_is_left_for_the_next_run(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, limit: Any
    ) -> None:
        sample = task.run(dataset.operator(rows(6), limit=limit))

        assert (sample["total"], sample["left_out"]) == (2, 4)
        assert dataset.bought == {"picture 0": 1, "picture 1": 1}
        whole = run_of("tuesday").run(dataset.operator(rows(6)))
        assert (whole["done"], whole["bought"], set(dataset.bought.values())) == (6, 4, {1})

    @pytest.mark.parametrize("limit", [0, -1, "a few"])
    def test_of_nothing_is_refused(self, dataset: Dataset, task: DatasetTask, limit: Any) -> None:
        with pytest.raises(InvalidRequestError, match="limit"):
            task.run(dataset.operator(rows(3), limit=limit))

        assert dataset.gateway.calls == []


class TestColumns:
    def test_make_prompts_and_go_into_the_ledger(self, dataset: Dataset, task: DatasetTask) -> None:
        address = dataset.put("rows.csv", "sku,name,colour,price\na1,kite,red,3\nb2,boat,blue,4\n")

        result = task.run(
            dataset.operator(
                address,
                id_column="sku",
                columns=("price",),
                prompt_template="a {name} on white, {colour} light",
            )
        )

        assert sorted(dataset.bought) == ["a boat on white, blue light", "a kite on white, red light"]
        assert [held["id"] for held in result["objects"]] == ["a1", "b2"]
        assert [line["columns"] for line in dataset.table()] == [{"price": "3"}, {"price": "4"}]

    def test_that_are_edited_buy_nothing_again(self, dataset: Dataset, task: DatasetTask, run_of: RunOf) -> None:
        task.run(dataset.operator(rows(3, price=3), columns=("price",)))

        result = run_of("tuesday").run(dataset.operator(rows(3, price=4), columns=("price",)))

        assert (result["done"], result["bought"]) == (3, 0)

    @pytest.mark.parametrize("template", ["a {nmae}", "a {", "a {0}"])
    def test_that_a_template_does_not_find_cost_nothing(
        self, dataset: Dataset, task: DatasetTask, template: str
    ) -> None:
        with pytest.raises(InvalidRequestError):
            task.run(dataset.operator([{"name": "kite"}], prompt_template=template))

        assert dataset.gateway.calls == []


class TestFailures:
    @pytest.mark.parametrize(
        "life", ["failed", {"status": "cancelled"}, {"status": "failed", "cost": 0.0085, "error": "charged"}], ids=str
    )
    def test_at_too_high_a_rate_end_the_buying_early(self, dataset: Dataset, task: DatasetTask, life: Any) -> None:
        dataset.gateway.life = [life]

        with pytest.raises(IncompleteDatasetError, match="max_failure_rate"):
            task.run(dataset.operator(rows(200), max_failure_rate=0.3, max_in_flight=16, row_retries=0))

        assert 20 <= len(dataset.gateway.purchases) <= 60

    def test_below_the_rate_end_nothing(self, dataset: Dataset, task: DatasetTask) -> None:
        dataset.gateway.lives = {f"picture {number}": ["failed"] for number in range(0, 60, 10)}

        result = task.run(dataset.operator(rows(60), max_failure_rate=0.3, max_failed=0.2, row_retries=0))

        assert (result["done"], result["failed"]) == (54, 6)


class TestTheLimitOfCallsInFlight:
    def test_holds_over_all_shards_of_a_run(self, dataset: Dataset, run_of: RunOf, in_background: Background) -> None:
        most = 0

        def count(purchase: PlainPurchase, gateway: PlainGateway) -> dict[str, Any]:
            nonlocal most
            running = [other for other in gateway.purchases if other.polls < 4]
            most = max(most, len(running))
            return gateway.usual_view(purchase, "submitted" if purchase.polls < 4 else "completed")

        dataset.gateway.life = [count]
        workers = [
            in_background(
                lambda index=index: run_of("a run", index).run(
                    dataset.operator(rows(40), max_in_flight=12, shard=(index, 3))
                )
            )
            for index in range(3)
        ]

        results = [worker.result() for worker in workers]

        assert sum(result["done"] for result in results) == 40
        assert most <= 12
        assert set(dataset.bought.values()) == {1}


class TestExtraArguments:
    @pytest.fixture
    def encryption(self) -> dict[str, str]:
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": base64.b64encode(secrets.token_bytes(32)).decode()}

    @pytest.mark.parametrize("form", ["base64", "bytes", "text"])
    def test_with_a_key_of_the_customer_work_or_are_refused_before_buying(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, form: str
    ) -> None:
        key: Any = {
            "base64": base64.b64encode(secrets.token_bytes(32)).decode(),
            "bytes": secrets.token_bytes(32),
            "text": secrets.token_hex(16),
        }[form]
        extra_args = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
        dataset.gateway.life = ["submitted"] * 3 + ["completed"]
        try:
            first = task.run(dataset.operator(rows(3), extra_args=extra_args))
        except (ApimartError, ValueError):
            assert dataset.gateway.calls == []
            return

        second = run_of("tuesday").run(dataset.operator(rows(4), extra_args=extra_args))

        assert (first["done"], second["done"], second["bought"]) == (3, 4, 1)
        assert set(dataset.bought.values()) == {1}

    @pytest.mark.parametrize("name", ["Key", "Bucket", "Body", "IfNoneMatch", "IfMatch"])
    def test_that_would_write_elsewhere_are_refused(self, dataset: Dataset, task: DatasetTask, name: str) -> None:
        with pytest.raises(InvalidRequestError, match=name):
            task.run(dataset.operator(rows(2), extra_args={name: "x"}))

        assert dataset.gateway.calls == []

    @pytest.mark.parametrize(
        "extra_args",
        [{"ServerSideEncryption": "AES256"}, {"StorageClass": "STANDARD"}, {"Tagging": "team=art"}],
        ids=str,
    )
    def test_of_other_kinds_work(self, dataset: Dataset, task: DatasetTask, extra_args: dict[str, str]) -> None:
        assert task.run(dataset.operator(rows(2), extra_args=extra_args))["done"] == 2
