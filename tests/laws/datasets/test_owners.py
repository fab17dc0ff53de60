"""Law 6: siblings, zombies and other runs on one ledger; each picture has one owner."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import DatasetTask, rows, wait_until
from services.misbehaving_proxy import holding
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from laws.datasets.dataset_task import Dataset
    from services.misbehaving_proxy import MisbehavingProxy

    RunOf = Callable[..., DatasetTask]
    Background = Callable[[Callable[[], Any]], "Future[Any]"]

pytestmark = pytest.mark.usefixtures("leaves_soon")

BUSY = RawReply(429, {"error": {"code": 429, "message": "slow down", "type": "rate_limit_error"}}, {"Retry-After": "0"})


def working(task: DatasetTask, make: Callable[[], Any]) -> Callable[[], Any]:
    """Return the work of a task instance, to be done in the background."""
    return lambda: task.run(make)


def outcome_of(work: Callable[[], Any]) -> Any:
    """Return a result, or the error in its place."""
    try:
        return work()
    except ApimartError as error:
        return error


class TestMappedSiblingsWithOnePrefix:
    def test_buy_and_copy_each_its_own_file_at_once(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        dataset.gateway.life = ["submitted"] * 4 + ["completed"]
        workers = [
            in_background(working(run_of("a run", index), dataset.operator(rows(10, 10 * index)))) for index in range(4)
        ]

        results = [worker.result() for worker in workers]

        assert [(result["total"], result["done"], result["bought"]) for result in results] == [(10, 10, 10)] * 4
        assert set(dataset.bought.values()) == {1}
        assert len(dataset.gateway.downloads) == len(dataset.images()) == 40
        assert sum(result["cost"] for result in results) == pytest.approx(dataset.spent)
        assert not [line for line in dataset.lines() if line["status"] == "presumed_lost"]

    def test_with_quick_rows_do_not_wait_for_the_slow_ones_of_another(self, dataset: Dataset, run_of: RunOf) -> None:
        dataset.gateway.life = ["submitted"]
        slow = run_of("a run", 0)
        make_slow = dataset.operator(rows(5))
        trigger = slow.run_until_deferred(make_slow)
        dataset.gateway.life = ["completed"]
        dataset.gateway.lives = {f"picture {number}": ["submitted"] for number in range(5)}
        quick = run_of("a run", 1)

        result = quick.run(dataset.operator(rows(5, 10)))

        assert (result["done"], quick.waits, len(dataset.gateway.downloads)) == (5, [], 5)
        dataset.gateway.lives = {}
        assert slow.finish(make_slow, trigger)["done"] == 5
        assert set(dataset.bought.values()) == {1}

    def test_that_are_all_refused_for_a_while_leave_no_row_behind(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        dataset.gateway.reply("submit", *[BUSY] * 200)
        tasks = [run_of("a run", index) for index in range(3)]
        makers = [
            dataset.operator(rows(6, 6 * index), apimart_conn_id=dataset.parameters["apimart_conn_id"])
            for index in range(3)
        ]
        first = [
            in_background(lambda task=task, make=make: task.run_until_deferred(make))
            for task, make in zip(tasks, makers, strict=True)
        ]
        triggers = [worker.result() for worker in first]
        dataset.gateway.work_again()

        results = [task.finish(make, trigger) for task, make, trigger in zip(tasks, makers, triggers, strict=True)]

        assert [(result["done"], result["bought"]) for result in results] == [(6, 6)] * 3
        assert set(dataset.bought.values()) == {1}

    def test_with_rows_in_common_buy_them_once_and_both_have_them(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        dataset.gateway.life = ["submitted"] * 6 + ["completed"]
        workers = [in_background(working(run_of("a run", index), dataset.operator(rows(8)))) for index in range(3)]

        results = [worker.result() for worker in workers]

        assert [result["done"] for result in results] == [8] * 3
        assert set(dataset.bought.values()) == {1}
        assert sum(result["bought"] for result in results) == 8
        assert sum(result["cost"] for result in results) == pytest.approx(dataset.spent)
        assert len(dataset.images()) == 8


class TestAZombie:
    """An old worker that is still alive when the next try of its task instance begins."""

    @pytest.mark.parametrize("honours_keys", [True, False])
    @pytest.mark.parametrize("policy", ["fail", "resubmit"])
    def test_that_is_buying_gives_way_to_the_next_try(
        self, dataset: Dataset, task: DatasetTask, in_background: Background, *, honours_keys: bool, policy: str
    ) -> None:
        dataset.gateway.honours_keys = honours_keys
        dataset.gateway.life = ["submitted"] * 4 + ["completed"]
        options: Any = {"max_in_flight": 4, "on_unknown_submit": policy}
        old = in_background(
            lambda: outcome_of(lambda: task.run(dataset.operator(rows(24), deferrable=False, **options)))
        )
        wait_until(lambda: len(dataset.gateway.purchases) >= 4)
        next_try = DatasetTask(store=task.store, try_number=1)

        result = next_try.run(dataset.operator(rows(24), **options))

        assert (result["total"], result["done"]) == (24, 24)
        assert set(dataset.bought.values()) == {1}
        assert result["bought"] == 24
        assert result["cost"] == pytest.approx(dataset.spent)
        assert isinstance(old.result(), SupersededError | dict)
        assert dataset.tasks_in_books() == {purchase.task_id for purchase in dataset.gateway.purchases}

    def test_whose_submits_are_still_on_their_way_is_waited_for(
        self,
        dataset: Dataset,
        task: DatasetTask,
        in_background: Background,
        proxy: MisbehavingProxy,
        behind_proxy: str,
    ) -> None:
        released = Event()
        proxy.add_rule(holding(released), method="POST", path="/v1/images/generations", times=None)
        options: Any = {"apimart_conn_id": behind_proxy, "on_unknown_submit": "resubmit"}
        old = in_background(lambda: outcome_of(lambda: task.run(dataset.operator(rows(6), **options))))
        wait_until(lambda: len(dataset.gateway.purchases) == 6)
        next_try = DatasetTask(store=task.store, try_number=1)
        make = dataset.operator(rows(6), **options)

        trigger = next_try.run_until_deferred(make)

        assert trigger.task_ids == []
        assert trigger.wake_at is not None
        released.set()
        result = next_try.finish(make, trigger)
        assert (result["done"], result["bought"]) == (6, 6)
        assert set(dataset.bought.values()) == {1}
        assert isinstance(old.result(), ApimartError | dict)

    def test_that_resumes_after_a_clear_buys_nothing_that_the_new_generation_has(
        self, dataset: Dataset, task: DatasetTask
    ) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(rows(12), max_in_flight=4)
        trigger = task.run_until_deferred(make)
        dataset.gateway.life = ["completed"]
        old = DatasetTask(store=task.store, try_number=1)
        task.clear_task()
        result = task.run(make)

        late = outcome_of(lambda: old.finish(make, trigger))

        assert (result["done"], set(dataset.bought.values())) == (12, {1})
        assert isinstance(late, ApimartError) or late["done"] == 12


class TestTwoRunsOnOneLedger:
    def test_at_once_buy_and_download_each_picture_once(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        dataset.gateway.life = ["submitted"] * 5 + ["completed"]
        workers = [
            in_background(working(run_of(day), dataset.operator(rows(20), max_in_flight=6)))
            for day in ("monday", "tuesday")
        ]

        results = [worker.result() for worker in workers]

        assert [result["done"] for result in results] == [20, 20]
        assert set(dataset.bought.values()) == {1}
        assert len(dataset.gateway.downloads) == 20
        assert sum(result["bought"] for result in results) == 20
        assert sum(result["cost"] for result in results) == pytest.approx(dataset.spent)

    def test_of_which_one_regenerates_buy_each_row_as_often_as_was_asked(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        run_of("sunday").run(dataset.operator(rows(8)))
        monday, tuesday = run_of("monday"), run_of("tuesday")
        workers = [
            in_background(lambda: monday.run(dataset.operator(rows(12), on_existing="regenerate", max_in_flight=4))),
            in_background(lambda: tuesday.run(dataset.operator(rows(12), max_in_flight=4))),
        ]

        results = [worker.result() for worker in workers]

        assert [result["done"] for result in results] == [12, 12]
        assert [dataset.bought[f"picture {number}"] for number in range(8)] == [2] * 8
        assert [dataset.bought[f"picture {number}"] for number in range(8, 12)] == [1] * 4
        assert sum(result["cost"] for result in results) == pytest.approx(dataset.spent - 8 * 0.0085)
        assert len(dataset.images()) == 20

    def test_of_which_both_regenerate_do_not_buy_from_each_other_for_ever(
        self, dataset: Dataset, run_of: RunOf, in_background: Background
    ) -> None:
        run_of("sunday").run(dataset.operator(rows(6)))
        workers = [
            in_background(working(run_of(day), dataset.operator(rows(6), on_existing="regenerate", max_in_flight=3)))
            for day in ("monday", "tuesday")
        ]

        results = [worker.result() for worker in workers]

        assert [result["done"] for result in results] == [6, 6]
        assert max(dataset.bought.values()) <= 3
