"""Money: a run's limit holds over generations, siblings and wrong prices, and each cost is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import DatasetTask, rows

from airflow_provider_apimart.exceptions import ApimartError, BudgetExceededError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from laws.datasets.dataset_task import Dataset
    from services.plain_gateway import PlainGateway, PlainPurchase

    RunOf = Callable[..., DatasetTask]
    Background = Callable[[Callable[[], Any]], "Future[Any]"]

PRICE = 0.0085

pytestmark = pytest.mark.usefixtures("leaves_soon")


class Till:
    """Names a price for each finished picture, and remembers it."""

    def __init__(self, price_of: Callable[[int], float]) -> None:
        self.price_of = price_of
        self.prices: dict[str, float] = {}

    def __call__(self, purchase: PlainPurchase, gateway: PlainGateway) -> dict[str, Any]:
        price = self.prices.setdefault(purchase.task_id, self.price_of(len(self.prices)))
        return {**gateway.usual_view(purchase), "cost": price, "credits_cost": 10 * price}

    @property
    def spent(self) -> float:
        return sum(self.prices.values())


def listed(price: float) -> dict[str, Any]:
    return {"resolution_paid_prices": {"1K": price}}


@pytest.mark.parametrize(
    ("price_of", "list_price", "max_cost", "most"),
    [
        pytest.param(lambda n: PRICE * (3 if n >= 20 else 1), PRICE, 0.5, 0.75, id="three times in the middle"),
        pytest.param(lambda _: 3 * PRICE, PRICE, 0.5, 0.5 + PRICE, id="a list that is stale by three"),
        pytest.param(lambda _: 10 * PRICE, PRICE, 1.0, 1.2, id="a list that is stale by ten"),
        pytest.param(lambda n: PRICE * (1 + n / 20), PRICE, 0.5, 0.75, id="dearer with each picture"),
        pytest.param(lambda _: 2 * PRICE, None, 0.2, 0.2 + PRICE, id="no list at all"),
    ],
)
def test_a_price_that_rises_does_not_break_the_limit(
    dataset: Dataset,
    task: DatasetTask,
    price_of: Callable[[int], float],
    list_price: float | None,
    max_cost: float,
    most: float,
) -> None:
    till = Till(price_of)
    dataset.gateway.life = ["submitted", till]
    dataset.gateway.prices = {} if list_price is None else listed(list_price)

    with pytest.raises(BudgetExceededError):
        task.run(dataset.operator(rows(120), max_cost=max_cost))

    assert 0.5 * max_cost < till.spent <= most
    assert len(till.prices) == len(dataset.gateway.purchases) == len(dataset.images())


@pytest.mark.parametrize(
    "price_of",
    [lambda _: PRICE / 10, lambda n: PRICE / 10 if n >= 3 else PRICE, lambda n: PRICE / (1 + n)],
    ids=["a tenth", "a tenth in the middle", "cheaper with each picture"],
)
def test_a_price_that_falls_refuses_no_row_that_fits(
    dataset: Dataset, task: DatasetTask, price_of: Callable[[int], float]
) -> None:
    till = Till(price_of)
    dataset.gateway.life = [till]
    dataset.gateway.prices = listed(PRICE)

    result = task.run(dataset.operator(rows(30), max_cost=6 * PRICE))

    assert (result["done"], result["cost"]) == (30, pytest.approx(till.spent))


class TestTheLimitOfARun:
    def test_counts_what_an_overlapping_run_has_bought_again(self, dataset: Dataset, run_of: RunOf) -> None:
        monday = run_of("monday")
        dataset.gateway.lives = {f"picture {number}": ["submitted"] for number in range(6, 20)}
        make = dataset.operator(rows(20), max_cost=0.1, max_in_flight=6)
        trigger = monday.run_until_deferred(make)
        dataset.gateway.lives = {}
        again = run_of("tuesday").run(dataset.operator(rows(6), on_existing="regenerate", max_cost=0.1))

        with pytest.raises(BudgetExceededError) as caught:
            monday.finish(make, trigger)

        of_monday = dataset.spent - again["cost"]
        assert of_monday <= 0.1
        assert f"{of_monday:g} USD" in str(caught.value)

    @pytest.mark.parametrize("times", [1, 3])
    def test_holds_over_clears(self, dataset: Dataset, task: DatasetTask, times: int) -> None:
        make = dataset.operator(rows(30), max_cost=0.1)

        for _ in range(times):
            with pytest.raises(BudgetExceededError):
                task.run(make)
            task.clear_task()

        assert 0.09 < dataset.spent <= 0.1

    def test_holds_over_regenerations_of_one_run(self, dataset: Dataset, run_of: RunOf) -> None:
        run_of("sunday").run(dataset.operator(rows(10)))
        monday = run_of("monday")
        make = dataset.operator(rows(10), on_existing="regenerate", max_cost=0.05)

        for _ in range(3):
            with pytest.raises(BudgetExceededError):
                monday.run(make)
            monday.clear_task()

        assert 0.04 < dataset.spent - 10 * PRICE <= 0.05

    def test_is_shared_by_siblings_at_once(self, dataset: Dataset, run_of: RunOf, in_background: Background) -> None:
        dataset.gateway.life = ["submitted"] * 3 + ["completed"]

        def work(index: int) -> Any:
            try:
                return run_of("a run", index).run(dataset.operator(rows(12, 12 * index), max_cost=0.15))
            except ApimartError as error:
                return error

        workers = [in_background(lambda index=index: work(index)) for index in range(3)]

        outcomes = [worker.result() for worker in workers]

        assert any(isinstance(outcome, BudgetExceededError) for outcome in outcomes)
        assert 0.1 < dataset.spent <= 0.15


class TestEachCost:
    def test_is_in_one_result_whatever_was_cleared_and_regenerated(self, dataset: Dataset, run_of: RunOf) -> None:
        monday, tuesday = run_of("monday"), run_of("tuesday")
        first = monday.run(dataset.operator(rows(6)))
        again = tuesday.run(dataset.operator(rows(8), on_existing="regenerate"))
        monday.clear_task()
        cleared = monday.run(dataset.operator(rows(9)))

        assert first["cost"] == pytest.approx(6 * PRICE)
        # The result of a task instance names all that it has bought: that of a clear takes the place of the first.
        assert cleared["cost"] + again["cost"] == pytest.approx(dataset.spent)
        assert cleared["cost"] == pytest.approx(7 * PRICE)

    def test_is_in_the_ledger_once(self, dataset: Dataset, run_of: RunOf) -> None:
        run_of("monday").run(dataset.operator(rows(6)))
        run_of("tuesday").run(dataset.operator(rows(4), on_existing="regenerate"))
        run_of("wednesday").run(dataset.operator(rows(3)))

        table = dataset.table()

        assert sum(line["cost"] for line in table) == pytest.approx(dataset.spent)
        assert sorted(line["task_ids"][0] for line in table) == sorted(
            purchase.task_id for purchase in dataset.gateway.purchases
        )

    @pytest.mark.parametrize("cost", [None, "", "free of charge", {}, []], ids=str)
    def test_that_is_not_told_is_not_nothing(self, dataset: Dataset, task: DatasetTask, cost: Any) -> None:
        dataset.gateway.lives = {"picture 1": [{"status": "completed", "cost": cost, "credits_cost": None}]}

        result = task.run(dataset.operator(rows(3)))

        assert (result["done"], result["cost"]) == (3, None)
