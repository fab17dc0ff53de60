"""Law 1: settings and rows are those with which a try began, whatever templates and files say later."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from laws.airflow_task import FlakyStore
from laws.datasets.dataset_task import DatasetTask, rows

from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    InvalidRequestError,
    RecordUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from laws.datasets.dataset_task import Dataset

pytestmark = pytest.mark.usefixtures("leaves_soon")


def counting(name: str, pattern: str) -> Callable[[], Mapping[str, Any]]:
    """Render to another text in each worker process."""
    numbers = itertools.count()
    return lambda: {name: pattern.format(next(numbers))}


def once_then(name: str, first: Any, later: Any) -> Callable[[], Mapping[str, Any]]:
    values = itertools.chain([first], itertools.repeat(later))
    return lambda: {name: next(values)}


#: Parameters that render to something else in each worker process.
RENDERINGS: dict[str, Callable[[], Callable[[], Mapping[str, Any]]]] = {
    "the prefix holds the time": lambda: counting("s3_prefix", "catalogue/{}"),
    "the prefix is random": lambda: lambda: {"s3_prefix": f"catalogue/{time.monotonic_ns()}"},
    "the prefix's XCom is pruned": lambda: once_then("s3_prefix", "catalogue", "None"),
    "the bucket's Variable was edited": lambda: dict[str, Any],
    "the limit was edited": lambda: once_then("limit", None, "1"),
    "the shard's XCom is gone": lambda: once_then("shard", [0, 1], [1, 2]),
    "the model's Variable was edited": lambda: once_then("model", "gpt-image-2", "gpt-image-1.5"),
    "the policy was edited": lambda: once_then("on_existing", "reuse", "regenerate"),
    "the limit has become nonsense": lambda: once_then("limit", None, "many"),
    "the budget's Variable is gone": lambda: once_then("max_cost", "0.03", None),
}


@pytest.fixture(params=RENDERINGS)
def rendering(request: pytest.FixtureRequest, dataset: Dataset) -> Callable[[], Mapping[str, Any]]:
    if request.param == "the bucket's Variable was edited":
        return once_then("s3_bucket", dataset.bucket, "another-bucket")
    return RENDERINGS[request.param]()


class TestSettingsThatRenderDifferentlyLater:
    def test_are_those_of_the_first_rendering_at_each_wake(
        self, dataset: Dataset, task: DatasetTask, rendering: Callable[[], Mapping[str, Any]]
    ) -> None:
        dataset.gateway.life = ["submitted"] * 8 + ["completed"]
        make = dataset.operator(rows(3), rendered=rendering, max_in_flight=2, max_cost=0.03)

        result = task.run(make)

        assert set(dataset.bought.values()) == {1}
        assert (result["total"], result["done"], result["bought"]) == (3, 3, 3)
        assert len([key for key in dataset.keys("catalogue") if "/images/" in key]) == 3

    def test_are_those_of_the_first_rendering_in_a_retry(
        self, dataset: Dataset, task: DatasetTask, rendering: Callable[[], Mapping[str, Any]]
    ) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(3), rendered=rendering, max_in_flight=2)
        task.run_until_deferred(make)
        dataset.gateway.life = ["completed"]
        task.xcoms.clear()

        result = task.run(make)

        assert dataset.bought == {"picture 0": 1, "picture 1": 1, "picture 2": 1}
        assert result["done"] == 3

    def test_are_those_of_the_first_rendering_after_a_crashed_trigger(
        self, dataset: Dataset, task: DatasetTask
    ) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(3), rendered=counting("s3_prefix", "catalogue/{}"))
        task.run_until_deferred(make)
        dataset.gateway.life = ["completed"]

        result = task.resume_after_failure(make, "Trigger failure")

        assert dataset.bought == {"picture 0": 1, "picture 1": 1, "picture 2": 1}
        assert result["done"] == 3


@pytest.mark.parametrize("on_existing", ["reuse", "regenerate"])
def test_a_clear_looks_for_what_was_bought_where_it_is(dataset: Dataset, task: DatasetTask, on_existing: str) -> None:
    make = dataset.operator(rows(3), rendered=counting("s3_prefix", "catalogue/{}"), on_existing=on_existing)
    task.run(make)
    task.clear_task()

    result = task.run(make)

    assert dataset.bought == {"picture 0": 1, "picture 1": 1, "picture 2": 1}
    assert (result["done"], len(dataset.keys("catalogue/0/images/"))) == (3, 3)


def test_a_clear_with_another_policy_may_go_to_another_place(dataset: Dataset, task: DatasetTask) -> None:
    task.run(dataset.operator(rows(2)))
    task.clear_task()

    task.run(dataset.operator(rows(2), s3_prefix="elsewhere", on_existing="regenerate"))

    assert len(dataset.images("elsewhere")) == 2


def test_without_a_state_store_each_wake_uses_the_first_rendering(dataset: Dataset) -> None:
    dataset.gateway.life = ["submitted"] * 8 + ["completed"]
    task = DatasetTask(store=None, try_number=0)
    make = dataset.operator(rows(4), rendered=counting("s3_prefix", "catalogue/{}"), max_in_flight=2)

    result = task.run(make)

    assert (result["done"], set(dataset.bought.values())) == (4, {1})


class TestAPlanThatIsWantedLater:
    """Somebody sets ``plan_only`` to keep a retry from buying; a worker that only continues a try still collects."""

    def test_is_not_made_by_a_resume(self, dataset: Dataset, task: DatasetTask) -> None:
        dataset.gateway.life = ["submitted"] * 8 + ["completed"]
        rendered = once_then("plan_only", "False", "True")

        assert task.run(dataset.operator(rows(3), rendered=rendered, max_in_flight=2))["done"] == 3

    def test_is_made_by_a_retry(self, dataset: Dataset, task: DatasetTask) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(3), rendered=once_then("plan_only", "False", "True"), max_in_flight=2)
        task.run_until_deferred(make)
        submits = len(dataset.gateway.calls)

        plan = task.run(make)

        assert (plan["plan_only"], plan["to_buy"], plan["in_flight"]) == (True, 1, 2)
        assert len(dataset.gateway.calls) == submits


class TestAnApiServerThatIsAway:
    """At any moment of a try: no call to it ends a try that has bought anything, and nothing is bought twice."""

    @pytest.mark.parametrize("raises", [True, False], ids=["and raises", "and is ignored"])
    def test_when_settings_are_recorded_first_buys_nothing(self, dataset: Dataset, *, raises: bool) -> None:
        task = DatasetTask(store=FlakyStore(lambda: True, raises=raises), try_number=0)

        with pytest.raises(RecordUnavailableError, match="could not be recorded"):
            task.run(dataset.operator(rows(4), rendered=counting("s3_prefix", "catalogue/{}")))

        assert dataset.gateway.calls == []

    @pytest.mark.parametrize("raises", [True, False], ids=["and raises", "and is ignored"])
    @pytest.mark.parametrize("first_failure", [1, 2])
    def test_when_settings_are_recorded_again(self, dataset: Dataset, *, raises: bool, first_failure: int) -> None:
        writes = itertools.count()
        store = FlakyStore(lambda: next(writes) >= first_failure, raises=raises)
        task = DatasetTask(store=store, try_number=0)
        dataset.gateway.life = ["submitted"] * 6 + ["completed"]

        result = task.run(dataset.operator(rows(4), rendered=counting("s3_prefix", "catalogue/{}"), max_in_flight=2))

        assert (result["done"], set(dataset.bought.values())) == (4, {1})

    def test_when_progress_is_pushed(self, dataset: Dataset) -> None:
        task = DatasetTask(try_number=0)
        task.fail_xcoms = True
        dataset.gateway.life = ["submitted"] * 6 + ["completed"]

        result = task.run(dataset.operator(rows(4), max_in_flight=2))

        assert (result["done"], set(dataset.bought.values())) == (4, {1})

    def test_when_settings_are_read_for_a_while(self, dataset: Dataset, task: DatasetTask) -> None:
        assert task.store is not None
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(3), rendered=counting("s3_prefix", "catalogue/{}"))
        task.run_until_deferred(make)
        dataset.gateway.life = ["completed"]
        failures = itertools.count()
        read = task.store.get

        def get(key: str, default: Any = None) -> Any:
            if next(failures) < 2:
                raise RuntimeError("API_SERVER_ERROR: no answer")
            return read(key, default)

        task.store.get = get  # type: ignore[method-assign]

        assert task.run(make)["done"] == 3
        assert set(dataset.bought.values()) == {1}

    def test_when_settings_are_read_for_good_buys_nothing_and_is_retried(
        self, dataset: Dataset, task: DatasetTask
    ) -> None:
        assert task.store is not None
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(3), rendered=counting("s3_prefix", "catalogue/{}"))
        task.run_until_deferred(make)
        task.store.fail_reads = True

        with pytest.raises(ApimartError) as caught:
            task.run(make)

        assert caught.value.retryable
        assert len(dataset.gateway.calls) == 3


def refused(make: Callable[[], Any], task: DatasetTask) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        task.run(make)
    return caught.value


class TestTheInput:
    """One smoke test of each form; tests/dataset/input has the kinds."""

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("rows.jsonl", '{"id": 1, "prompt": "a kite"}\n{"id": 2, "prompt": "a boat"}\n'),
            ("rows.csv", "id,prompt\n1,a kite\n2,a boat\n"),
            ("rows.csv", "id;prompt\n1;a kite\n2;a boat\n"),
            ("rows.tsv", "id\tprompt\n1\ta kite\n2\ta boat\n"),
        ],
    )
    def test_is_read_in_each_form(self, dataset: Dataset, task: DatasetTask, name: str, content: str) -> None:
        result = task.run(dataset.operator(dataset.put(name, content)))

        assert [held["id"] for held in result["objects"]] == ["1", "2"]

    def test_with_decimal_ids_of_the_next_export_buys_nothing_again(
        self, dataset: Dataset, task: DatasetTask, run_of: Callable[..., DatasetTask]
    ) -> None:
        task.run(dataset.operator(dataset.put("rows.csv", "id,prompt\n1,a kite\n2,a boat\n")))

        result = run_of("the next run").run(
            dataset.operator(dataset.put("rows.csv", "id,prompt\n1.0,a kite\n2.0,a boat\n3.0,a hut\n"))
        )

        assert (result["done"], result["bought"]) == (3, 1)

    def test_of_a_struct_column_with_a_new_key_in_one_row_buys_that_row(
        self, dataset: Dataset, task: DatasetTask, run_of: Callable[..., DatasetTask]
    ) -> None:
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        def parquet(table: list[dict[str, Any]]) -> bytes:
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(table), file)
            return file.getvalue()

        old = [{"id": f"{n}", "prompt": f"picture {n}", "extra_body": {"seed": n}} for n in range(5)]
        task.run(dataset.operator(dataset.put("rows.parquet", parquet(old))))
        new = [*old, {"id": "5", "prompt": "picture 5", "extra_body": {"seed": 5, "style": "oil"}}]

        result = run_of("the next run").run(dataset.operator(dataset.put("rows.parquet", parquet(new))))

        assert (result["done"], result["bought"]) == (6, 1)
        assert all(value is not None for call in dataset.gateway.calls for value in call.body.values())

    def test_with_the_same_prompt_twice_is_bought_once_and_reported(
        self, dataset: Dataset, task: DatasetTask, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = task.run(dataset.operator(["a kite", "a boat", "a kite"]))

        assert (result["total"], dataset.bought) == (2, {"a kite": 1, "a boat": 1})
        assert "bought once" in capsys.readouterr().out

    def test_of_nothing_valid_fails_although_invalid_rows_are_skipped(
        self, dataset: Dataset, task: DatasetTask
    ) -> None:
        refused(dataset.operator([{"prompt": ""}, {"prompt": None}], on_invalid="skip"), task)

        assert dataset.gateway.calls == []

    @pytest.mark.parametrize("prompt", ["nan", "None", "#REF!", "NULL"])
    def test_with_a_suspicious_prompt_warns_or_fails(
        self, dataset: Dataset, task: DatasetTask, prompt: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        address = dataset.put("rows.csv", f"prompt\na kite\n{prompt}\n")
        refused(dataset.operator(address, on_suspicious="fail"), task)
        assert dataset.gateway.calls == []

        assert task.run(dataset.operator(address))["done"] == 2
        assert "line 3" in capsys.readouterr().out

    def test_that_is_skipped_as_suspicious_is_counted(self, dataset: Dataset, task: DatasetTask) -> None:
        result = task.run(dataset.operator(dataset.put("rows.csv", "prompt\na kite\nnan\n"), on_suspicious="skip"))

        assert (result["total"], result["invalid"], result["bought"]) == (1, 1, 1)

    @pytest.mark.parametrize(
        "reference",
        [b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b"<html>not found</html>"],
        ids=["8 bytes of PNG", "a PNG without chunks", "a page"],
    )
    def test_with_a_reference_that_is_no_picture_costs_nothing(
        self, dataset: Dataset, task: DatasetTask, reference: bytes
    ) -> None:
        address = dataset.put("reference.png", reference)

        with pytest.raises(ApimartError):
            task.run(dataset.operator([{"prompt": "a kite", "image_urls": [address]}]))

        assert dataset.gateway.calls == []

    @pytest.mark.parametrize("kind", ["generator", "map", "keys"])
    def test_that_can_be_read_once_is_recorded(self, dataset: Dataset, task: DatasetTask, kind: str) -> None:
        prompts = ["a kite", "a boat", "a hut"]
        once: dict[str, Any] = {
            "generator": (prompt for prompt in prompts),
            "map": map(str, prompts),
            "keys": iter(dict.fromkeys(prompts)),
        }
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(once[kind])
        task.run_until_deferred(make)
        dataset.gateway.life = ["completed"]

        result = task.run(make)

        assert (result["total"], result["done"]) == (3, 3)
        assert {line["prompt"] for line in dataset.table()} == set(prompts)


@pytest.mark.parametrize(
    "row_id",
    ["商品" * 40, "🪁" * 80, "ひ" * 79 + "a", "e\u0301" * 80, "a/" * 60, "../../etc/passwd", "x" * 300],
    ids=["80 CJK letters", "80 emoji", "79 kana", "combining", "slashes", "dots", "300 letters"],
)
def test_an_id_of_any_letters_can_be_copied(dataset: Dataset, task: DatasetTask, row_id: str) -> None:
    try:
        result = task.run(dataset.operator([{"id": row_id, "prompt": "a kite"}]))
    except InvalidRequestError:
        assert dataset.gateway.calls == []
        return

    (held,) = result["objects"]
    assert (held["id"], len(dataset.images())) == (row_id, 1)
    assert len(held["uri"].rpartition("/")[2].encode()) <= 255


def test_the_budget_holds_with_a_prefix_that_changes(dataset: Dataset, task: DatasetTask) -> None:
    dataset.gateway.life = ["submitted"] * 6 + ["completed"]
    make = dataset.operator(rows(6), rendered=counting("s3_prefix", "catalogue/{}"), max_cost=0.02)

    with pytest.raises(BudgetExceededError):
        task.run(make)

    assert len(dataset.gateway.purchases) == 2
    assert json.dumps(sorted(dataset.keys("catalogue/0/images/"))).count(".png") == 2
