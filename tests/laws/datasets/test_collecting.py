"""Law 2: what was paid for is collected, whatever happens to the dataset or to status queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import DatasetTask, rows
from services.misbehaving_proxy import HTML_PAGE, answering, cutting_after, cutting_before, replacing
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, IncompleteDatasetError, TaskTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.datasets.dataset_task import Dataset
    from services.misbehaving_proxy import MisbehavingProxy

    RunOf = Callable[..., DatasetTask]

pytestmark = pytest.mark.usefixtures("leaves_soon")


def duplicate_id(dataset: Dataset) -> None:
    dataset.put_rows([*rows(20), {"id": "sku-3", "prompt": "another picture"}])


def gone(dataset: Dataset) -> None:
    dataset.client.delete_object(Bucket=dataset.bucket, Key="rows.jsonl")


#: What happens to a file while its pictures are made.
CHANGES: dict[str, Callable[[Dataset], Any]] = {
    "it gets a duplicate id": duplicate_id,
    "it goes away": gone,
    "it is cut in the middle": lambda dataset: dataset.put("rows.jsonl", '{"id": "sku-0", "pro'),
    "it is an HTML page": lambda dataset: dataset.put("rows.jsonl", HTML_PAGE.format("Access denied")),
    "it is empty": lambda dataset: dataset.put("rows.jsonl", ""),
    "its column has another name": lambda dataset: dataset.put_rows([{"id": "a", "text": "a kite"}]),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> Callable[[Dataset], Any]:
    return CHANGES[request.param]


class TestAFileThatChangesWhilePicturesAreInFlight:
    @pytest.mark.parametrize("way", ["resume", "retry", "crashed trigger"])
    def test_is_not_read_again_in_its_generation(
        self, dataset: Dataset, task: DatasetTask, change: Callable[[Dataset], Any], way: str
    ) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(dataset.put_rows(rows(5)))
        trigger = task.run_until_deferred(make)
        change(dataset)
        dataset.gateway.life = ["completed"]

        if way == "retry":
            result = task.run(make)
        elif way == "resume":
            result = task.finish(make, trigger)
        else:
            result = task.resume_after_failure(make, "Trigger failure")

        assert (result["done"], len(dataset.images()), set(dataset.bought.values())) == (5, 5, {1})

    def test_is_read_after_a_clear_when_everything_is_collected(
        self, dataset: Dataset, task: DatasetTask, change: Callable[[Dataset], Any]
    ) -> None:
        dataset.gateway.life = ["submitted"]
        make = dataset.operator(dataset.put_rows(rows(5)))
        task.run_until_deferred(make)
        change(dataset)
        dataset.gateway.life = ["submitted"] * 4 + ["completed"]
        task.clear_task()

        try:
            task.run(make)
        except (ApimartError, OSError) as error:
            assert "prompts" in str(error) or "rows.jsonl" in str(error) or "line 1" in str(error)  # noqa: PT017

        assert (len(dataset.images()), set(dataset.bought.values())) == (5, {1})


class BrokenRows:
    """Rows of a DAG author whose own code fails later."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "later",
    [
        BrokenRows(RuntimeError("the database is away")),
        BrokenRows(KeyError("sku")),
        None,
        "{{ no file }}",
        42,
    ],
    ids=["an error", "another error", "a pruned XCom", "no file", "a number"],
)
def test_rows_that_cannot_be_had_any_more_are_collected_first_after_a_clear(
    dataset: Dataset, task: DatasetTask, later: Any
) -> None:
    dataset.gateway.life = ["submitted"]
    task.run_until_deferred(dataset.operator(rows(4)))
    dataset.gateway.life = ["completed"]
    task.clear_task()

    with pytest.raises(Exception):  # noqa: B017, PT011 - that of the DAG author's own code
        task.run(dataset.operator(later))

    assert (len(dataset.images()), set(dataset.bought.values())) == (4, {1})


def test_a_dataset_that_shrinks_in_flight_names_each_cost_once(
    dataset: Dataset, task: DatasetTask, run_of: RunOf
) -> None:
    dataset.gateway.life = ["submitted"]
    task.run_until_deferred(dataset.operator(rows(20)))
    dataset.gateway.life = ["completed"]
    task.clear_task()

    result = task.run(dataset.operator(rows(10)))
    later = run_of("the next run").run(dataset.operator(rows(10)))

    assert (result["total"], result["done"], result["bought"]) == (10, 10, 20)
    assert result["cost"] == pytest.approx(dataset.spent)
    assert (later["bought"], later["cost"]) == (0, 0.0)
    assert len(dataset.images()) == 20


#: What a status query can meet on its way.
PAGES: dict[str, Any] = {
    "a Cloudflare page": answering(RawReply(403, HTML_PAGE.format("Attention Required! | Cloudflare"))),
    "a challenge with 200": answering(RawReply(200, HTML_PAGE.format("Just a moment..."))),
    "a bad gateway": replacing(RawReply(502, HTML_PAGE.format("502 Bad Gateway"))),
    "a wrong key": answering(RawReply(401, {"error": {"code": 401, "message": "no key", "type": "authentication"}})),
    "an empty balance": answering(RawReply(402, {"error": {"code": 402, "message": "broke", "type": "payment"}})),
    "an unknown id": answering(RawReply(400, {"error": {"code": 400, "message": "no such task", "type": "invalid"}})),
    "nothing": answering(RawReply(200, b"")),
    "a broken connection": cutting_before(),
    "half a response": cutting_after(40),
}


@pytest.mark.parametrize(
    ("page", "has_batch"),
    [*((page, True) for page in PAGES), ("a Cloudflare page", False), ("a wrong key", False), ("nothing", False)],
)
def test_what_status_queries_meet_ends_no_purchase(
    dataset: Dataset, task: DatasetTask, proxy: MisbehavingProxy, behind_proxy: str, page: str, *, has_batch: bool
) -> None:
    dataset.gateway.has_batch = has_batch
    proxy.add_rule(PAGES[page], path="/v1/tasks", times=2)

    result = task.run(dataset.operator(rows(4), apimart_conn_id=behind_proxy))

    assert (result["done"], len(dataset.images()), set(dataset.bought.values())) == (4, 4, {1})


@pytest.mark.parametrize("page", ["an unknown id", "a bad gateway", "a broken connection"])
def test_what_downloads_meet_ends_no_purchase(
    dataset: Dataset, task: DatasetTask, proxy: MisbehavingProxy, page: str
) -> None:
    dataset.gateway.public_url = proxy.url
    rule = proxy.add_rule(PAGES[page], path="/files/", times=None)
    make = dataset.operator(rows(2))

    with pytest.raises(ApimartError) as caught:
        task.run(make)

    assert caught.value.retryable
    rule.times = 0
    result = task.run(make)
    assert (result["done"], set(dataset.bought.values())) == (2, {1})


@pytest.mark.usefixtures("adopts_at_once")
class TestALateCall:
    """One whose gateway task never ends, or long after the timeout."""

    @pytest.fixture(autouse=True)
    def late(self, dataset: Dataset) -> None:
        dataset.gateway.lives = {"picture 1": ["submitted"]}

    def test_counts_within_max_failed_and_holds_nobody_up(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf
    ) -> None:
        make = dataset.operator(rows(4), max_failed=1, timeout=1)

        first = task.run(make)
        later = [run_of(day).run(make) for day in ("tuesday", "wednesday")]

        assert [(result["done"], result["failed"]) for result in (first, *later)] == [(3, 1)] * 3
        assert set(dataset.bought.values()) == {1}

    def test_is_collected_by_a_later_run_when_it_comes(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf
    ) -> None:
        task.run(dataset.operator(rows(4), max_failed=1, timeout=1))
        dataset.gateway.lives = {}

        result = run_of("tuesday").run(dataset.operator(rows(4), timeout=1))

        assert (result["done"], result["failed"], len(dataset.images())) == (4, 0, 4)
        assert set(dataset.bought.values()) == {1}

    def test_of_a_row_that_was_removed_fails_no_run(self, dataset: Dataset, task: DatasetTask, run_of: RunOf) -> None:
        with pytest.raises(TaskTimeoutError):
            task.run(dataset.operator(rows(4), timeout=1))
        others = [row for row in rows(4) if row["id"] != "sku-1"]
        task.clear_task()

        cleared = task.run(dataset.operator(others, timeout=1))
        later = run_of("tuesday").run(dataset.operator(others, timeout=1))

        assert [(result["total"], result["done"], result["failed"]) for result in (cleared, later)] == [(3, 3, 0)] * 2

    def test_of_a_row_that_was_removed_is_copied_when_it_comes(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf
    ) -> None:
        with pytest.raises(TaskTimeoutError):
            task.run(dataset.operator(rows(4), timeout=1))
        dataset.gateway.lives = {}

        run_of("tuesday").run(dataset.operator([row for row in rows(4) if row["id"] != "sku-1"], timeout=1))

        assert len(dataset.images()) == 4

    def test_of_a_budget_that_is_spent_holds_nobody_up(self, dataset: Dataset, task: DatasetTask) -> None:
        task.most_waits = 8

        with pytest.raises(ApimartError, match=r"were not bought|have no picture"):
            task.run(dataset.operator(rows(6), max_cost=0.0255, max_failed=3, timeout=1))

        assert len(dataset.gateway.purchases) == 3


class TestATaskThatWasCancelledOnce:
    @pytest.mark.parametrize(
        "life",
        [
            {"status": "cancelled"},
            {"status": "failed", "error": {"code": "content_policy_violation", "message": "no"}},
            {"status": "failed", "cost": 0.0085, "error": {"code": "task_failed", "message": "charged all the same"}},
        ],
        ids=["cancelled", "moderated", "charged"],
    )
    def test_is_within_max_failed_in_every_later_run(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, life: dict[str, Any]
    ) -> None:
        dataset.gateway.lives = {"picture 1": [life]}
        with pytest.raises(IncompleteDatasetError, match="sku-1"):
            task.run(dataset.operator(rows(3), row_retries=0))

        result = run_of("tuesday").run(dataset.operator(rows(3), row_retries=0, max_failed=1))

        assert (result["done"], result["failed"]) == (2, 1)
        assert dataset.bought["picture 0"] == dataset.bought["picture 2"] == 1
        if "cost" in life:
            assert dataset.bought["picture 1"] == 1


def test_pictures_that_lag_behind_their_status_are_waited_for(dataset: Dataset, task: DatasetTask) -> None:
    empty = {"status": "completed", "result": {"images": []}}
    dataset.gateway.life = [
        empty,
        {**empty, "result": None},
        {**empty, "result": {"images": [{"url": []}]}},
        "completed",
    ]

    result = task.run(dataset.operator(rows(3)))

    assert (result["done"], set(dataset.bought.values())) == (3, {1})


def test_urls_that_died_are_asked_for_again(dataset: Dataset, task: DatasetTask) -> None:
    dataset.gateway.life = ["submitted"]
    make = dataset.operator(rows(3))
    trigger = task.run_until_deferred(make)
    dataset.gateway.life = ["completed"]
    dataset.gateway.reply("image", RawReply(403, b"<Error/>"), RawReply(404, b""), RawReply(410, b""))

    result = task.finish(make, trigger)

    assert (result["done"], set(dataset.bought.values())) == (3, {1})
    assert json.loads(json.dumps(result)) == result
