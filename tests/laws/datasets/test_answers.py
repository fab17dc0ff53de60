"""A paid picture stays its row's answer until a newer one is paid, and counts by picture, not by call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import DatasetTask, rows
from services.misbehaving_proxy import HTML_PAGE
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.datasets.dataset_task import Dataset

    RunOf = Callable[..., DatasetTask]

pytestmark = pytest.mark.usefixtures("leaves_soon")


def error(code: Any, status: int, message: str = "no") -> RawReply:
    return RawReply(status, {"error": {"code": code, "message": message, "type": "invalid_request_error"}})


#: Why a regeneration may give no picture: the submit's response, or the life of the task.
FAILURES: dict[str, tuple[RawReply | None, Any]] = {
    "an empty balance": (error(402, 402), "completed"),
    "a wrong key": (error(401, 401), "completed"),
    "a refused prompt": (error("content_policy_violation", 400), "completed"),
    "a response that is lost": (RawReply(502, HTML_PAGE.format("Bad Gateway")), "completed"),
    "a task that fails": (None, "failed"),
    "a task that fails and is charged": (None, {"status": "failed", "cost": 0.0085, "error": "the kiln was cold"}),
    "a task that is cancelled": (None, {"status": "cancelled"}),
}


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest) -> tuple[RawReply | None, Any]:
    return FAILURES[request.param]


class TestAPaidPicture:
    def test_stays_the_answer_where_its_regeneration_gives_none(
        self, dataset: Dataset, run_of: RunOf, failure: tuple[RawReply | None, Any]
    ) -> None:
        first = run_of("monday").run(dataset.operator(rows(5)))
        reply, life = failure
        if reply is not None:
            dataset.gateway.reply("submit", *[reply] * 60)
        dataset.gateway.life = [life]
        with pytest.raises(ApimartError):
            run_of("tuesday").run(dataset.operator(rows(5), on_existing="regenerate", row_retries=0))
        bought = len(dataset.gateway.purchases)
        dataset.gateway.work_again()
        dataset.gateway.life = ["completed"]

        result = run_of("wednesday").run(dataset.operator(rows(5)))

        assert (result["done"], result["bought"], len(dataset.gateway.purchases)) == (5, 0, bought)
        assert result["objects"] == first["objects"]

    def test_is_replaced_by_a_newer_one_that_is_paid(self, dataset: Dataset, run_of: RunOf) -> None:
        first = run_of("monday").run(dataset.operator(rows(3)))

        second = run_of("tuesday").run(dataset.operator(rows(3), on_existing="regenerate"))
        third = run_of("wednesday").run(dataset.operator(rows(3)))

        assert second["objects"] != first["objects"]
        assert third["objects"] == second["objects"]
        assert {held["uri"].partition(f"{dataset.bucket}/")[2] for held in first["objects"]} < set(dataset.images())

    def test_stays_the_answer_for_the_rest_of_a_regeneration_that_runs_out_of_money(
        self, dataset: Dataset, run_of: RunOf
    ) -> None:
        run_of("monday").run(dataset.operator(rows(6)))
        with pytest.raises(ApimartError):
            run_of("tuesday").run(dataset.operator(rows(6), on_existing="regenerate", max_cost=0.02))

        result = run_of("wednesday").run(dataset.operator(rows(6)))

        assert (result["done"], result["bought"], len(dataset.gateway.purchases)) == (6, 0, 8)


@pytest.fixture
def images_per_task(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the gateway deliver so many pictures in one task: the vendors have changed that before."""
    from dataclasses import replace

    from airflow_provider_apimart.dataset.input import checking

    known = checking.find_spec

    def change(count: int) -> None:
        def find_spec(*arguments: Any) -> Any:
            spec = known(*arguments)
            return None if spec is None else replace(spec, images_per_task=count)

        monkeypatch.setattr(checking, "find_spec", find_spec)

    return change


class TestARowOfManyPictures:
    @pytest.mark.parametrize("n", [2, 4, 7])
    def test_is_the_same_row_in_every_run(self, dataset: Dataset, run_of: RunOf, n: int) -> None:
        first = run_of("monday").run(dataset.operator([{"id": "a", "prompt": "a kite", "n": n}]))
        second = run_of("tuesday").run(dataset.operator([{"id": "a", "prompt": "a kite", "n": n}]))

        assert len(first["objects"]) == n
        assert second["objects"] == first["objects"]
        assert second["bought"] == 0

    @pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 4), (2, 3), (3, 2)])
    def test_is_the_same_row_where_a_task_delivers_another_number(
        self, dataset: Dataset, run_of: RunOf, images_per_task: Callable[[int], None], before: int, after: int
    ) -> None:
        make = dataset.operator([{"id": "a", "prompt": "a kite", "n": 4}], model="gpt-image-2-official")
        images_per_task(before)
        first = run_of("monday").run(make)
        images_per_task(after)

        second = run_of("tuesday").run(make)
        again = run_of("wednesday").run(
            dataset.operator(make().prompts, model="gpt-image-2-official", on_existing="regenerate")
        )

        assert (len(first["objects"]), second["objects"], second["bought"]) == (4, first["objects"], 0)
        assert len(again["objects"]) == 4
        assert len(dataset.images()) == 8

    @pytest.mark.parametrize(("before", "after"), [(1, 4), (1, 2), (2, 4)])
    def test_that_is_bought_in_part_is_completed_where_a_task_delivers_another_number(
        self, dataset: Dataset, run_of: RunOf, images_per_task: Callable[[int], None], before: int, after: int
    ) -> None:
        row = [{"id": "a", "prompt": "a kite", "n": 6}]
        options: Any = {"model": "gpt-image-2-official"}
        images_per_task(before)
        with pytest.raises(ApimartError):
            run_of("monday").run(dataset.operator(row, max_cost=0.0085 * 3, **options))
        images_per_task(after)

        result = run_of("tuesday").run(dataset.operator(row, **options))

        assert len(result["objects"]) == len(dataset.images()) == 6

    def test_that_is_bought_in_part_is_completed(self, dataset: Dataset, run_of: RunOf) -> None:
        make = dataset.operator([{"id": "a", "prompt": "a kite", "n": 4}], max_cost=0.02)
        with pytest.raises(ApimartError):
            run_of("monday").run(make)

        result = run_of("tuesday").run(dataset.operator([{"id": "a", "prompt": "a kite", "n": 4}]))

        pictures = sum(int(purchase.call.body.get("n") or 1) for purchase in dataset.gateway.purchases)
        assert (len(result["objects"]), pictures) == (4, 4)


class TestAClear:
    """Law 8: it is not a word to buy."""

    @pytest.mark.parametrize("on_existing", ["reuse", "regenerate"])
    @pytest.mark.parametrize("times", [1, 3])
    def test_of_a_finished_task_buys_nothing(
        self, dataset: Dataset, task: DatasetTask, on_existing: str, times: int
    ) -> None:
        make = dataset.operator(rows(4), on_existing=on_existing)
        first = task.run(make)

        for _ in range(times):
            task.clear_task()
            result = task.run(make)

        assert set(dataset.bought.values()) == {1}
        assert result["objects"] == first["objects"]

    def test_of_a_waiting_task_collects_what_is_in_flight(self, dataset: Dataset, task: DatasetTask) -> None:
        dataset.gateway.life = ["submitted"]
        task.run_until_deferred(dataset.operator(rows(4)))
        dataset.gateway.life = ["completed"]
        task.clear_task()

        assert task.run(dataset.operator(rows(4)))["done"] == 4
        assert set(dataset.bought.values()) == {1}

    def test_of_a_failed_task_buys_what_was_not_charged_alone(self, dataset: Dataset, task: DatasetTask) -> None:
        dataset.gateway.lives = {
            "picture 1": ["failed"],
            "picture 2": [{"status": "failed", "cost": 0.0085, "error": "charged all the same"}],
        }
        with pytest.raises(ApimartError):
            task.run(dataset.operator(rows(4), row_retries=0))
        dataset.gateway.lives = {}
        task.clear_task()

        result = task.run(dataset.operator(rows(4), row_retries=0, max_failed=1))

        assert (result["done"], result["failed"]) == (3, 1)
        assert dataset.bought == {"picture 0": 1, "picture 1": 2, "picture 2": 1, "picture 3": 1}
