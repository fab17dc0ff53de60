"""A person's verdicts about single rows, given by function and by command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import PREFIX, DatasetTask, rows
from services.misbehaving_proxy import HTML_PAGE
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.datasets.dataset_task import Dataset

    RunOf = Callable[..., DatasetTask]
    Decide = Callable[..., None]

BAD_GATEWAY = RawReply(502, HTML_PAGE.format("Bad Gateway"))

pytestmark = pytest.mark.usefixtures("leaves_soon")


@pytest.fixture(params=["function", "command"])
def decide(request: pytest.FixtureRequest, dataset: Dataset) -> Decide:
    """Give a verdict."""
    from airflow_provider_apimart.dataset.__main__ import main
    from airflow_provider_apimart.dataset.ledger.store import LedgerStore
    from airflow_provider_apimart.dataset.ledger.verdicts import decide_rows

    def by_function(verdict: Any, *ids: str, task_id: str | None = None) -> None:
        decide_rows(LedgerStore(dataset.client, dataset.bucket, PREFIX), ids, verdict, task_id=task_id)

    def by_command(verdict: str, *ids: str, task_id: str | None = None) -> None:
        task = [] if task_id is None else ["--task-id", task_id]
        if main([f"s3://{dataset.bucket}/{PREFIX}", verdict, *ids, *task]):
            raise InvalidRequestError("the command has refused it", field="verdict", value=verdict)

    return by_function if request.param == "function" else by_command


def lose_response(dataset: Dataset, task: DatasetTask, *, is_accepted: bool) -> None:
    """Leave one row of three with an unknown outcome."""
    task.run(dataset.operator(rows(2)))
    if is_accepted:
        dataset.gateway.reshape("submit", lambda _: BAD_GATEWAY)
    else:
        dataset.gateway.reply("submit", BAD_GATEWAY)
    task.clear_task()
    with pytest.raises(ApimartError):
        task.run(dataset.operator(rows(3)))
    assert [line["id"] for line in dataset.table() if line["status"] == "unanswered"] == ["sku-2"]


class TestARowOfUnknownOutcome:
    @pytest.fixture(params=[True, False], ids=["accepted", "never arrived"])
    def is_accepted(self, request: pytest.FixtureRequest) -> bool:
        return bool(request.param)

    def test_is_done_without_a_picture_when_the_loss_is_accepted(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide, *, is_accepted: bool
    ) -> None:
        lose_response(dataset, task, is_accepted=is_accepted)
        calls = len(dataset.gateway.calls)

        decide("accept-loss", "sku-2")

        for day in ("tuesday", "wednesday"):
            result = run_of(day).run(dataset.operator(rows(3)))
            assert (result["done"], result["written_off"], result["failed"]) == (2, 1, 0)
        assert len(dataset.gateway.calls) == calls

    def test_is_bought_again_with_its_old_key(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide, *, is_accepted: bool
    ) -> None:
        lose_response(dataset, task, is_accepted=is_accepted)

        decide("buy-again", "sku-2")
        result = run_of("tuesday").run(dataset.operator(rows(3)))

        assert result["done"] == 3
        assert dataset.gateway.keys[-1] == dataset.gateway.keys[-2]
        assert set(dataset.bought.values()) == {1}

    def test_is_collected_when_it_was_bought(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide
    ) -> None:
        lose_response(dataset, task, is_accepted=True)

        decide("bought", "sku-2", task_id=dataset.gateway.purchases[-1].task_id)
        result = run_of("tuesday").run(dataset.operator(rows(3)))

        assert (result["done"], set(dataset.bought.values())) == (3, {1})
        assert len(dataset.images()) == 3

    def test_is_bought_when_it_was_not(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide
    ) -> None:
        lose_response(dataset, task, is_accepted=False)

        decide("not-bought", "sku-2")
        result = run_of("tuesday").run(dataset.operator(rows(3)))

        assert (result["done"], result["bought"], set(dataset.bought.values())) == (3, 1, {1})

    @pytest.mark.parametrize("verdict", ["regenerate", "bought without a task", "nonsense"])
    def test_refuses_a_verdict_that_is_not_about_it(
        self, dataset: Dataset, task: DatasetTask, verdict: str, decide: Decide
    ) -> None:
        lose_response(dataset, task, is_accepted=True)
        before = dataset.lines()

        with pytest.raises((InvalidRequestError, SystemExit)):
            decide(verdict.partition(" ")[0], "sku-2")

        assert dataset.lines() == before


class TestARowThatIsDone:
    def test_is_regenerated_alone_and_keeps_its_old_picture(
        self, dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide
    ) -> None:
        task.run(dataset.operator(rows(3)))

        decide("regenerate", "sku-1")
        result = run_of("tuesday").run(dataset.operator(rows(3)))
        later = run_of("wednesday").run(dataset.operator(rows(3)))

        assert dataset.bought == {"picture 0": 1, "picture 1": 2, "picture 2": 1}
        assert (result["done"], result["bought"], later["bought"], len(dataset.images())) == (3, 1, 0, 4)

    @pytest.mark.parametrize("verdict", ["accept-loss", "buy-again", "not-bought"])
    def test_takes_no_verdict_about_a_loss(
        self, dataset: Dataset, task: DatasetTask, verdict: str, decide: Decide
    ) -> None:
        task.run(dataset.operator(rows(2)))

        with pytest.raises(InvalidRequestError):
            decide(verdict, "sku-1")

        assert task.run(dataset.operator(rows(2)))["done"] == 2


@pytest.mark.parametrize(
    "life",
    [
        {"status": "cancelled"},
        {"status": "failed", "cost": 0.0085, "error": "charged all the same"},
        {"status": "failed", "error": {"code": "content_policy_violation", "message": "no"}},
    ],
    ids=["cancelled", "charged", "moderated"],
)
class TestARowThatFailed:
    @pytest.fixture(autouse=True)
    def failed(self, dataset: Dataset, task: DatasetTask, life: dict[str, Any]) -> None:
        dataset.gateway.lives = {"picture 1": [life]}
        with pytest.raises(ApimartError):
            task.run(dataset.operator(rows(3), row_retries=0))
        dataset.gateway.lives = {}

    def test_is_bought_again_on_request_with_a_new_key(self, dataset: Dataset, run_of: RunOf, decide: Decide) -> None:
        decide("buy-again", "sku-1")

        result = run_of("tuesday").run(dataset.operator(rows(3)))

        assert (result["done"], dataset.bought["picture 1"]) == (3, 2)
        assert len(set(dataset.gateway.keys)) == len(dataset.gateway.keys)

    def test_may_be_lost(self, dataset: Dataset, run_of: RunOf, decide: Decide) -> None:
        decide("accept-loss", "sku-1")

        result = run_of("tuesday").run(dataset.operator(rows(3)))

        assert (result["done"], result["written_off"], dataset.bought["picture 1"]) == (2, 1, 1)


@pytest.mark.usefixtures("adopts_at_once")
def test_a_late_call_that_is_bought_again_is_collected_too_when_it_comes(
    dataset: Dataset, task: DatasetTask, run_of: RunOf, decide: Decide
) -> None:
    dataset.gateway.lives = {"picture 1": ["submitted"]}
    with pytest.raises(ApimartError):
        task.run(dataset.operator(rows(2), timeout=1))
    decide("buy-again", "sku-1")
    dataset.gateway.lives = {}

    result = run_of("tuesday").run(dataset.operator(rows(2)))

    assert (result["done"], dataset.bought["picture 1"], len(dataset.images())) == (2, 2, 3)
    assert dataset.tasks_in_books() == {purchase.task_id for purchase in dataset.gateway.purchases}


def test_the_command_lists_what_is_open(
    dataset: Dataset, task: DatasetTask, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_provider_apimart.dataset.__main__ import main

    lose_response(dataset, task, is_accepted=True)
    capsys.readouterr()

    assert main([f"s3://{dataset.bucket}/{PREFIX}", "list"]) == 0

    listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sku-")]
    assert len(listed) == 1
    assert {"sku-2", "unanswered", "charged: unknown"} <= set(listed[0].split("\t"))


@pytest.mark.parametrize("command", [["list"], ["export", "pictures"], ["accept-loss", "sku-2"]])
def test_the_command_names_an_address_without_a_ledger(
    dataset: Dataset, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_provider_apimart.dataset.__main__ import main

    assert main([f"s3://{dataset.bucket}/mistyped", *command]) == 1

    assert f"No ledger found at s3://{dataset.bucket}/mistyped/ledger/" in capsys.readouterr().err
