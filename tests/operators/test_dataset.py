"""The dataset operator against the simulator and a real S3 server: what it buys, keeps, returns and says."""

from __future__ import annotations

import gzip
import json
import math
import time
from contextlib import closing
from datetime import timedelta
from logging import getLogger
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from operators.task_instance import StateStore
from services.reference_files import transparent_png

from airflow_provider_apimart.dataset.input import read_dataset
from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BudgetExceededError,
    IncompleteDatasetError,
    InsufficientBalanceError,
    InvalidRequestError,
    RecordUnavailableError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
    TransferError,
)
from airflow_provider_apimart.gateway.catalogue import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from operators.task_instance import TaskInstance
    from services.gateway_clock import GatewayClock
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.row import Row
    from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
    from airflow_provider_apimart.simulator import Simulator

    Describe = Callable[..., Callable[[], ApimartImageDatasetOperator]]

#: What the simulator asks for one picture of gpt-image-2 at 1k, in US dollars.
PRICE = 0.0085
NOW = 1_750_000_000.0


def rows(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": f"sku-{number}", "prompt": f"picture {number}", **fields} for number in range(count)]


def copied(row: Row) -> Entry:
    return Entry(
        row=row.number,
        id=row.id,
        fingerprint=row.fingerprint,
        status=EntryStatus.COPIED,
        charged="yes",
        cost=PRICE,
        prompt=row.request.prompt,
        model=row.request.model,
        idempotency_key=f"airflow-{row.id}",
        run_id="a_dag/an earlier run",
        intended_at=NOW,
        updated_at=NOW,
    )


def accepted(simulator: Simulator) -> int:
    return simulator.stats()["submits"]["accepted"]


@pytest.fixture
def stored(s3_server: SeaweedFS, bucket: str) -> Callable[[str], dict[str, bytes]]:
    """Return what is below a folder of the dataset."""

    def read(folder: str) -> dict[str, bytes]:
        client = s3_server.client()
        listed = client.list_objects_v2(Bucket=bucket, Prefix=f"catalogue/{folder}").get("Contents", ())
        keys = [found["Key"] for found in listed]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    return read


@pytest.fixture
def ledger(stored: Callable[[str], dict[str, bytes]]) -> Callable[[], list[dict[str, Any]]]:
    """Return the lines of the ledger as people open it."""
    name = "ledger/ledger.jsonl.gz"
    return lambda: [json.loads(line) for line in gzip.decompress(stored(name)[f"catalogue/{name}"]).splitlines()]


@pytest.fixture(autouse=True)
def _empty_bucket(s3_server: SeaweedFS, bucket: str) -> Iterator[None]:
    yield
    client = s3_server.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", ()):
            client.delete_object(Bucket=bucket, Key=found["Key"])


class TestTheResult:
    def test_has_the_documented_shape(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, bucket: str, stored: Any
    ) -> None:
        result = task_instance.run(dataset_operator(rows(2)))

        sold = {task["body"]["prompt"]: task["id"] for task in simulator.tasks()}
        ((manifest, lines),) = stored("ledger/manifests/").items()
        assert [json.loads(line)["id"] for line in gzip.decompress(lines).splitlines()] == ["sku-0", "sku-1"]
        assert result == {
            "schema_version": 1,
            "total": 2,
            "done": 2,
            "failed": 0,
            "written_off": 0,
            "invalid": 0,
            "left_out": 0,
            "bought": 2,
            "cost": pytest.approx(2 * PRICE),
            "credits_cost": pytest.approx(20 * PRICE),
            "currency": "USD",
            "ledger": f"s3://{bucket}/catalogue/ledger/ledger.jsonl.gz",
            "images": f"s3://{bucket}/catalogue/images/",
            "manifest": f"s3://{bucket}/{manifest}",
            "objects": [
                {
                    "id": f"sku-{place}",
                    "row": place + 1,
                    "uri": f"s3://{bucket}/catalogue/images/sku-{place}-{sold[f'picture {place}']}-0.png",
                    "width": 1024,
                    "height": 1024,
                }
                for place in range(2)
            ],
        }

    def test_of_an_empty_dataset_is_nothing(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        result = task_instance.run(dataset_operator([]))

        assert (result["total"], result["cost"], result["objects"]) == (0, 0.0, [])
        assert simulator.stats()["requests"]["submit"] == 0

    def test_holds_every_picture_of_a_row_that_asks_for_several(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        result = task_instance.run(dataset_operator([{"prompt": "a kite", "n": 3}]))

        assert len(result["objects"]) == 3
        assert {held["row"] for held in result["objects"]} == {1}
        assert accepted(simulator) == 3


class TestTheRows:
    @pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
    def test_may_be_a_file_in_s3(
        self,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        s3_server: SeaweedFS,
        bucket: str,
        simulator: Simulator,
        suffix: str,
    ) -> None:
        content = {".jsonl": '{"prompt": "a kite", "size": "1:1"}', ".csv": "prompt,size\na kite,1:1"}[suffix]
        s3_server.client().put_object(Bucket=bucket, Key=f"prompts{suffix}", Body=content.encode())

        task_instance.run(dataset_operator(f"s3://{bucket}/prompts{suffix}", resolution="2k"))

        (task,) = simulator.tasks()
        sent = {name: task["body"][name] for name in ("prompt", "size", "resolution")}
        assert sent == {"prompt": "a kite", "size": "1:1", "resolution": "2k"}

    def test_are_all_checked_before_the_first_is_paid(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        bad = [*rows(40), {"id": "sku-3", "prompt": "the same id"}, {"prompt": ""}, {"prompt": "a", "size": "7:0"}]

        with pytest.raises(InvalidRequestError) as caught:
            task_instance.run(dataset_operator(bad))

        assert all(f"row {number}" in str(caught.value) for number in (41, 42, 43))
        assert "on_invalid='skip'" in str(caught.value)
        assert simulator.stats()["requests"]["submit"] == 0

    def test_that_cannot_be_bought_are_left_out_on_request(
        self, task_instance: TaskInstance, dataset_operator: Describe, simulator: Simulator
    ) -> None:
        result = task_instance.run(dataset_operator([*rows(2), {"prompt": ""}], on_invalid="skip"))

        assert (result["total"], result["invalid"]) == (2, 1)
        assert accepted(simulator) == 2

    def test_may_name_reference_images_that_are_uploaded_once(
        self,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        simulator: Simulator,
        s3_server: SeaweedFS,
        bucket: str,
        tmp_path: Path,
    ) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="reference.png", Body=transparent_png())
        (tmp_path / "local.png").write_bytes(transparent_png((41, 30)))
        references = [f"s3://{bucket}/reference.png", str(tmp_path / "local.png")]

        task_instance.run(dataset_operator(rows(5, image_urls=references), max_in_flight=2))

        assert simulator.stats()["requests"]["upload"] == 2
        assert accepted(simulator) == 5


class TestALaterRun:
    def test_buys_nothing_again(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        first = task_instance.run(dataset_operator(rows(5)))
        task_instance.begin_run("the next run")

        second = task_instance.run(dataset_operator(rows(5)))

        assert accepted(simulator) == 5
        assert (second["bought"], second["cost"]) == (0, 0.0)
        assert second["objects"] == first["objects"]

    def test_buys_what_is_new_or_changed(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        task_instance.run(dataset_operator(rows(5)))
        task_instance.begin_run("the next run")
        changed = [*rows(3), {"id": "sku-3", "prompt": "another picture"}, *rows(6)[4:]]

        result = task_instance.run(dataset_operator(changed))

        assert result["bought"] == 2
        assert {task["body"]["prompt"] for task in simulator.tasks()[5:]} == {"another picture", "picture 5"}

    def test_buys_a_hundred_rows_of_ten_thousand_where_a_hundred_were_edited(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        s3_server: SeaweedFS,
        bucket: str,
        tmp_path: Path,
    ) -> None:
        store = LedgerStore(s3_server.client(), bucket, "catalogue")
        ledger = Ledger.open(store, writer="0" * 16, try_number=1, warn=getLogger(__name__).warning)
        known = read_dataset(
            rows(10_000),
            defaults={"model": "gpt-image-2"},
            gateway=Gateway.APIMART,
            aws_conn_id=None,
            on_invalid="fail",
        )
        with closing(known):
            ledger.record(*(copied(known.row(place)) for place in range(len(known))))
        ledger.close(is_finished=False)
        edited = [{**row, "size": "16:9"} if place % 100 == 0 else row for place, row in enumerate(rows(10_000))]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in edited))

        result = task_instance.run(dataset_operator(str(tmp_path / "rows.jsonl")))

        assert (result["total"], result["done"], result["bought"]) == (10_000, 10_000, 100)
        assert simulator.stats()["submits"]["received"] == 100

    def test_buys_everything_anew_on_request_but_not_in_its_own_retry(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        task_instance.run(dataset_operator(rows(3)))
        task_instance.begin_run("the next run")
        anew = dataset_operator(rows(3), on_existing="regenerate")

        task_instance.run(anew)
        task_instance.clear()
        task_instance.run(anew)

        assert accepted(simulator) == 6
        assert len(stored("images/")) == 6

    def test_collects_what_the_dataset_has_no_row_for_any_more(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        simulator.add_fault({"fault": "status_word", "word": "queued"})
        task_instance.run_until_deferred(dataset_operator(rows(3)))

        task_instance.run(dataset_operator(rows(2)))

        assert accepted(simulator) == 3
        assert len(stored("images/")) == 3


class TestMoney:
    def test_is_spent_up_to_max_cost_and_no_further(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        with pytest.raises(BudgetExceededError) as caught:
            task_instance.run(dataset_operator(rows(10), max_cost=4.5 * PRICE))

        assert accepted(simulator) == 4
        assert len(stored("images/")) == 4
        assert "6 of 10 rows were not bought" in str(caught.value)
        assert "0.034 USD spent of" in str(caught.value)
        assert not caught.value.retryable

    def test_goes_on_after_max_cost_was_raised_and_the_task_cleared(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        with pytest.raises(BudgetExceededError):
            task_instance.run(dataset_operator(rows(10), max_cost=4.5 * PRICE))
        task_instance.clear()

        result = task_instance.run(dataset_operator(rows(10), max_cost="1"))

        assert (result["done"], result["bought"]) == (10, 10)
        assert result["cost"] == pytest.approx(10 * PRICE)
        assert accepted(simulator) == 10

    def test_of_a_run_is_shared_by_its_shards(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        for index in range(2):
            task_instance.map_index = index
            with pytest.raises(BudgetExceededError):
                task_instance.run(dataset_operator(rows(20), max_cost=6.5 * PRICE, shard=(index, 2)))

        assert accepted(simulator) == 6

    def test_cannot_be_kept_where_nobody_tells_a_price(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "missing_cost"}, {"fault": "refuse", "on": "pricing", "status": 404})

        with pytest.raises(BudgetExceededError, match="max_cost cannot be kept"):
            task_instance.run(dataset_operator(rows(5), max_cost=1))

        assert accepted(simulator) == 1

    def test_that_is_not_known_is_not_nothing(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "missing_cost", "times": 1})

        assert task_instance.run(dataset_operator(rows(2)))["cost"] is None


class TestShards:
    def test_buy_each_row_once_between_them(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        results = []
        for index in range(3):
            task_instance.map_index, task_instance.store = index, StateStore()
            results.append(task_instance.run(dataset_operator(rows(30), shard=[index, 3])))

        assert sum(result["total"] for result in results) == 30
        assert all(result["total"] for result in results)
        assert set(simulator.stats()["tasks_per_prompt"].values()) == {1}
        assert accepted(simulator) == 30


class TestFailedRows:
    def test_are_bought_again_where_they_were_not_charged(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "times": 2, "match": {"prompt": "picture 1"}})

        result = task_instance.run(dataset_operator(rows(3)))

        assert result["done"] == 3
        assert result["cost"] == pytest.approx(3 * PRICE)
        assert simulator.stats()["tasks_per_prompt"] == {"picture 0": 1, "picture 1": 3, "picture 2": 1}

    def test_fail_the_task_when_their_retries_are_used_up_after_all_others_were_bought(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "match": {"prompt": "picture 1"}, "message": "the kiln was cold"})

        with pytest.raises(IncompleteDatasetError) as caught:
            task_instance.run(dataset_operator(rows(3), row_retries=1))

        assert "1 of 3 rows have no picture" in str(caught.value)
        assert "row 2 (sku-1)" in str(caught.value)
        assert simulator.stats()["tasks_per_prompt"]["picture 1"] == 2
        assert len(stored("images/")) == 2

    def test_are_tried_anew_when_a_person_clears_the_task(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "match": {"prompt": "picture 1"}})
        with pytest.raises(IncompleteDatasetError):
            task_instance.run(dataset_operator(rows(3), row_retries=0))
        simulator.clear_faults()
        task_instance.clear()

        assert task_instance.run(dataset_operator(rows(3), row_retries=0))["done"] == 3
        assert simulator.stats()["tasks_per_prompt"]["picture 0"] == 1

    def test_are_not_bought_again_for_what_they_ask_for(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, ledger: Any
    ) -> None:
        simulator.add_fault({"fault": "task_moderated", "match": {"prompt": "picture 1"}})

        result = task_instance.run(dataset_operator(rows(3), max_failed=1))

        assert (result["done"], result["failed"]) == (2, 1)
        assert simulator.stats()["tasks_per_prompt"]["picture 1"] == 1
        (failed,) = [line for line in ledger() if line["status"] == "failed"]
        assert (failed["id"], failed["charged"], failed["cost"]) == ("sku-1", "no", 0.0)
        assert "content_policy_violation" in failed["error"]["message"]

    def test_that_are_too_many_stop_the_buying(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_moderated"})

        with pytest.raises(IncompleteDatasetError, match="of the others were not bought"):
            task_instance.run(dataset_operator(rows(50), max_failed=0.1, max_in_flight=10))

        assert accepted(simulator) < 50

    @pytest.mark.parametrize("status", [401, 402])
    def test_are_not_blamed_for_the_account(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, status: int, ledger: Any
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": status})

        with pytest.raises({401: AuthenticationError, 402: InsufficientBalanceError}[status]):
            task_instance.run(dataset_operator(rows(100)))

        assert simulator.stats()["requests"]["submit"] <= 32
        assert {line["status"] for line in ledger()} == {"refused"}
        simulator.clear_faults()
        assert task_instance.run(dataset_operator(rows(100)))["done"] == 100


class TestALostAnswer:
    def test_gives_the_row_up_and_is_not_sent_again(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, ledger: Any
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})

        for _ in range(2):
            with pytest.raises(IncompleteDatasetError, match="on_unknown_submit='resubmit'"):
                task_instance.run(dataset_operator(rows(10)))

        assert simulator.stats()["submits"]["received"] == 10
        assert sorted(line["status"] for line in ledger()) == ["copied"] * 9 + ["unanswered"]

    def test_is_sent_again_with_its_key_on_request(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 3})

        result = task_instance.run(dataset_operator(rows(10), on_unknown_submit="resubmit"))

        submits = simulator.stats()["submits"]
        assert result["done"] == 10
        assert (submits["accepted"], submits["replayed"]) == (10, 3)

    @pytest.mark.parametrize(("policy", "retryable"), [("fail", False), ("resubmit", True)])
    def test_of_most_calls_ends_the_buying(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        policy: str,
        retryable: bool,
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit"})

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            task_instance.run(dataset_operator(rows(100), on_unknown_submit=policy))

        assert caught.value.retryable is retryable
        assert accepted(simulator) == 16


class TestTheWait:
    @pytest.fixture
    def simulator(self, unhurried_simulator: Simulator) -> Simulator:
        return unhurried_simulator

    def test_holds_no_worker_and_ends_when_enough_is_finished(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, gateway_clock: GatewayClock
    ) -> None:
        trigger = task_instance.run_until_deferred(dataset_operator(rows(40), max_in_flight=20))

        assert (len(trigger.task_ids), trigger.wake_at) == (20, None)
        assert accepted(simulator) == 20
        gateway_clock.finish_everything()
        event = task_instance.event_of(trigger)
        assert event["status"] in {"all", "due"}
        assert len(json.dumps(event)) < 800

    def test_shows_how_far_the_task_has_come(
        self, task_instance: TaskInstance, dataset_operator: Describe, gateway_clock: GatewayClock
    ) -> None:
        operator = dataset_operator(rows(10), max_in_flight=5)

        trigger = task_instance.run_until_deferred(operator)

        begun = task_instance.xcoms["progress"]
        counts = {"total": 10, "done": 0, "in_flight": 5, "failed": 0}
        assert {name: begun[name] for name in (*counts, "currency")} == {**counts, "currency": "USD"}
        gateway_clock.finish_everything()
        with pytest.raises(TaskDeferred):
            task_instance.resume(operator, task_instance.event_of(trigger))
        assert {name: task_instance.xcoms["progress"][name] for name in counts} == {**counts, "done": 5}

    def test_ends_at_the_timeout_with_what_is_finished_in_s3_and_a_retry_collects_the_rest(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        gateway_clock: GatewayClock,
        stored: Any,
    ) -> None:
        simulator.add_fault({"fault": "never_finishes", "match": {"prompt": "picture 1"}})
        operator = dataset_operator(rows(3), timeout=12)
        trigger = task_instance.run_until_deferred(operator)
        gateway_clock.finish_everything()
        event = task_instance.event_of(trigger)

        with pytest.raises(TaskTimeoutError, match="buys nothing twice") as caught:
            task_instance.resume(operator, event)

        assert caught.value.retryable
        assert len(stored("images/")) == 2
        with pytest.raises(TaskTimeoutError):
            task_instance.finish(operator, task_instance.run_until_deferred(operator))
        assert accepted(simulator) == 3

    def test_is_bounded_by_execution_timeout(self, task_instance: TaskInstance, dataset_operator: Describe) -> None:
        hour = timedelta(hours=1)
        operator = dataset_operator(rows(10), max_in_flight=5, timeout=7200, execution_timeout=hour)
        trigger = task_instance.run_until_deferred(operator)
        # Half a minute is left for what is on the wire when Airflow's own alarm comes.
        assert trigger.deadline == pytest.approx(trigger.began_at + hour.total_seconds() - 30, abs=1)

        an_hour_later = {
            "status": "timeout",
            "ended": 0,
            "of": 5,
            "began_at": trigger.began_at - hour.total_seconds(),
            "settings": trigger.settings,
        }
        with pytest.raises(TaskTimeoutError, match=r"execution_timeout is over; 5 paid call.* 5 row"):
            task_instance.resume(operator, an_hour_later)

    def test_copies_what_is_finished_although_the_trigger_crashed(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        gateway_clock: GatewayClock,
        stored: Any,
    ) -> None:
        operator = dataset_operator(rows(3))
        simulator.add_fault({"fault": "never_finishes", "match": {"prompt": "picture 2"}})
        task_instance.run_until_deferred(operator)
        gateway_clock.finish_everything()

        with pytest.raises(TaskDeferred):
            task_instance.resume_after_failure(operator, "Trigger failure")

        assert len(stored("images/")) == 2
        assert accepted(simulator) == 3

    def test_that_crashed_with_all_pictures_finished_ends_well(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, gateway_clock: GatewayClock
    ) -> None:
        operator = dataset_operator(rows(3))
        task_instance.run_until_deferred(operator)
        gateway_clock.finish_everything()

        result = task_instance.resume_after_failure(operator, "Trigger failure")

        assert (result["done"], accepted(simulator)) == (3, 3)

    def test_for_a_gateway_that_has_too_much_to_do_holds_no_worker(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, gateway_clock: GatewayClock
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 429, "retry_after": 90})
        operator = dataset_operator(rows(5))

        trigger = task_instance.run_until_deferred(operator)

        assert trigger.task_ids == []
        assert trigger.wake_at is not None
        simulator.clear_faults()
        trigger = task_instance.run_until_deferred(operator)
        gateway_clock.finish_everything()
        assert task_instance.resume(operator, task_instance.event_of(trigger))["done"] == 5


class TestAWorkerWhoseClockIsWrong:
    """The store's clock decides about purchases; triggers and timeouts have the clocks of their machines."""

    @pytest.fixture
    def simulator(self, unhurried_simulator: Simulator) -> Simulator:
        return unhurried_simulator

    @pytest.mark.parametrize("ahead", [7200.0, -7200.0], ids=["late", "early"])
    def test_waits_as_long_as_any_other(
        self,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        monkeypatch: pytest.MonkeyPatch,
        gateway_clock: GatewayClock,
        ahead: float,
    ) -> None:
        monkeypatch.setattr(LedgerStore, "now", lambda _: time.time() + ahead)
        operator = dataset_operator(rows(1), timeout=600, execution_timeout=timedelta(seconds=300))

        trigger = task_instance.run_until_deferred(operator)

        assert 200 < trigger.deadline - time.time() <= 300
        gateway_clock.finish_everything()
        assert task_instance.resume(operator, task_instance.event_of(trigger))["done"] == 1

    @pytest.mark.parametrize("ahead", [7200.0, -7200.0], ids=["late", "early"])
    def test_waits_for_a_busy_gateway_as_long_as_any_other(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        monkeypatch: pytest.MonkeyPatch,
        ahead: float,
    ) -> None:
        monkeypatch.setattr(LedgerStore, "now", lambda _: time.time() + ahead)
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 429, "retry_after": 120})

        trigger = task_instance.run_until_deferred(dataset_operator(rows(1)))

        assert 60 <= trigger.wake_at - time.time() <= 180


class TestWithoutDeferral:
    def test_the_wait_is_spent_on_the_worker(self, task_instance: TaskInstance, dataset_operator: Describe) -> None:
        result = task_instance.run(dataset_operator(rows(12), max_in_flight=5, deferrable=False))

        assert (result["done"], task_instance.deferrals) == (12, 0)

    def test_what_could_not_be_copied_has_another_chance(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        # As often as one session asks for the picture, while another one runs on.
        simulator.add_fault({"fault": "image_truncated", "match": {"prompt": "picture 0"}, "times": 4})
        simulator.add_fault({"fault": "never_finishes", "match": {"prompt": "picture 1"}})
        operator = dataset_operator(rows(2), deferrable=False, timeout=60)()

        def end_when_it_is_copied(key: str, value: Any) -> None:
            if key == "progress" and value["done"]:
                operator.on_kill()

        task_instance.on_xcom = end_when_it_is_copied
        with pytest.raises(ApimartError, match="ended from outside"):
            operator.execute(task_instance.context)

        assert len(stored("images/")) == 1
        assert accepted(simulator) == 2


class TestTrouble:
    def test_with_one_picture_keeps_no_other_from_its_copy_and_a_retry_copies_it(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, stored: Any
    ) -> None:
        simulator.add_fault({"fault": "image_truncated", "match": {"prompt": "picture 1"}})

        with pytest.raises(TransferError, match="a retry copies them and buys nothing"):
            task_instance.run(dataset_operator(rows(3)))

        assert len(stored("images/")) == 2
        simulator.clear_faults()
        assert task_instance.run(dataset_operator(rows(3)))["done"] == 3
        assert accepted(simulator) == 3

    def test_with_the_ledger_buys_nothing(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        dataset_operator: Describe,
        s3_server: SeaweedFS,
        bucket: str,
    ) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="catalogue/ledger/ledger.jsonl", Body=b"{}\n")

        with pytest.raises(RecordUnavailableError, match="line 1 is"):
            task_instance.run(dataset_operator(rows(3)))

        assert simulator.stats()["requests"]["submit"] == 0

    def test_from_outside_ends_the_buying(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
    ) -> None:
        operator = dataset_operator([])()
        operator.on_kill()  # Nothing has begun, and nothing happens.

        def killed_while_read() -> Iterator[str]:
            yield "a picture"
            operator.on_kill()

        operator.prompts = killed_while_read()

        with pytest.raises(ApimartError, match="ended from outside") as caught:
            operator.execute(task_instance.context)

        assert caught.value.retryable
        assert simulator.stats()["requests"]["submit"] == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight=0: must be at least 1"),
        ({"max_failed": 1.5}, "max_failed=1.5: must be a share from 0.0 to 1.0"),
        ({"max_failed": -1}, "max_failed=-1: must be a number of rows"),
        ({"row_retries": -1}, "row_retries=-1"),
        ({"on_existing": "overwrite"}, "on_existing='overwrite': must be 'reuse' or 'regenerate'"),
        ({"on_invalid": "raise"}, "on_invalid='raise'"),
        ({"timeout": 0}, "timeout=0"),
        ({"n": "many"}, "n='many'"),
    ],
)
def test_a_wrong_parameter_fails_when_the_dag_is_parsed(
    dataset_operator: Describe, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message.replace("(", r"\(")):
        dataset_operator(rows(1), **parameters)()


@pytest.mark.parametrize(
    "parameters", [{"shard": (3, 3)}, {"shard": "half"}, {"max_cost": "-1"}, {"max_cost": "a lot"}]
)
def test_a_wrong_templated_parameter_fails_before_anything_is_bought(
    simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe, parameters: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        task_instance.run(dataset_operator(rows(1), **parameters))

    assert simulator.stats()["requests"]["submit"] == 0


def test_the_times_of_a_wait_are_plain_json(
    simulator: Simulator, task_instance: TaskInstance, dataset_operator: Describe
) -> None:
    simulator.add_fault({"fault": "never_finishes"})

    _, kwargs = task_instance.run_until_deferred(dataset_operator(rows(1))).serialize()

    assert math.isfinite(kwargs["deadline"])
    assert json.loads(json.dumps(kwargs, allow_nan=False)) == kwargs
