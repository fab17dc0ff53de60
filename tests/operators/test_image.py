"""The image operator against the simulator: what it buys, what it returns, and what it says."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import (
    AuthenticationError,
    BudgetExceededError,
    InvalidRequestError,
    NoImagesError,
    RecordUnavailableError,
    SubmitOutcomeUnknownError,
    TaskCancelledError,
    TaskFailedError,
    TaskModeratedError,
    TaskTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.task_instance import TaskInstance

    from airflow_provider_apimart.operators.image import ApimartImageOperator
    from airflow_provider_apimart.simulator import Simulator

    Describe = Callable[..., Callable[[], ApimartImageOperator]]


@pytest.fixture(params=[True, False], ids=["deferred", "inline"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return request.param


def accepted(simulator: Simulator) -> int:
    return simulator.stats()["submits"]["accepted"]


class TestTheResult:
    def test_has_the_documented_shape(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, deferrable: bool
    ) -> None:
        result = task_instance.run(operator(resolution="2k", size="16:9", deferrable=deferrable))

        (task,) = simulator.tasks()
        image = result["images"][0]
        described = result["tasks"][0]
        assert result == {
            "schema_version": 1,
            "status": "completed",
            "gateway": "apimart",
            "model": "gpt-image-2",
            "prompt": "a lighthouse at dawn",
            "size": "16:9",
            "resolution": "2k",
            "quality": None,
            "task_ids": [task["id"]],
            "requested": 1,
            "delivered": 1,
            "images": [{"task_id": task["id"], "index": 0, "url": image["url"], "expires_at": image["expires_at"]}],
            "cost": 0.014,
            "credits_cost": 0.14,
            "currency": "USD",
            "tasks": [
                {
                    "task_id": task["id"],
                    "status": "completed",
                    "cost": 0.014,
                    "credits_cost": 0.14,
                    "created": described["created"],
                    "completed": described["completed"],
                    "actual_time": described["actual_time"],
                }
            ],
        }
        assert image["expires_at"] == described["completed"] + 86_400

    def test_holds_all_pictures_of_a_request_that_became_several_tasks(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, deferrable: bool
    ) -> None:
        result = task_instance.run(operator(model="gpt-image-2-official", n=6, quality="low", deferrable=deferrable))

        pictures = {task["id"]: task["body"]["n"] for task in simulator.tasks()}
        assert [pictures[task_id] for task_id in result["task_ids"]] == [4, 2]
        assert (result["requested"], result["delivered"]) == (6, 6)
        assert [image["index"] for image in result["images"]] == [0, 1, 2, 3, 0, 1]
        assert len({image["url"] for image in result["images"]}) == 6

    def test_says_unknown_rather_than_zero_where_the_gateway_tells_no_cost(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "missing_cost"})

        result = task_instance.run(operator())

        assert result["cost"] is None
        assert result["credits_cost"] is None

    def test_reports_fewer_pictures_than_were_asked_for(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        simulator.add_fault({"fault": "partial_delivery", "delivered": 1})

        result = task_instance.run(operator(model="gpt-image-2-official", n=3, quality="low"))

        assert (result["status"], result["requested"], result["delivered"]) == ("partial", 3, 1)
        assert "Delivered 1 of 3 pictures" in capsys.readouterr().out

    def test_keeps_the_pictures_of_one_task_when_another_of_the_same_request_fails(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "times": 1, "message": "the kiln was cold"})

        result = task_instance.run(operator(n=2))

        assert (result["status"], result["delivered"]) == ("partial", 1)
        assert sorted(task["status"] for task in result["tasks"]) == ["completed", "failed"]
        assert "the kiln was cold" in capsys.readouterr().out

    def test_is_there_at_once_when_the_gateway_answers_with_pictures(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "submit_shape", "shape": "synchronous"})

        result = task_instance.run_until_deferred(operator())

        assert result["delivered"] == 1
        assert result["task_ids"][0].startswith("sync_")


class TestTheIds:
    def test_are_in_an_xcom_before_the_task_defers(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator(n=2))

        assert sorted(task_instance.xcoms["task_ids"]) == sorted(task["id"] for task in simulator.tasks())

    def test_are_in_an_xcom_even_when_the_second_task_of_a_request_is_refused(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 402, "skip": 1})

        with pytest.raises(Exception, match="402"):
            task_instance.run(operator(n=2))

        assert task_instance.xcoms["task_ids"] == [simulator.tasks()[0]["id"]]


class TestAFailureOfTheGatewaysTask:
    @pytest.mark.parametrize(
        ("fault", "error", "charged", "retryable"),
        [
            pytest.param({"fault": "task_failed"}, TaskFailedError, "no", True, id="failed"),
            pytest.param({"fault": "task_moderated"}, TaskModeratedError, "no", False, id="moderated"),
            pytest.param({"fault": "task_cancelled"}, TaskCancelledError, "unknown", False, id="cancelled"),
            pytest.param({"fault": "no_images"}, NoImagesError, "yes", True, id="no images"),
        ],
    )
    def test_is_raised_with_what_it_cost(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        deferrable: bool,
        fault: dict[str, Any],
        error: type[Exception],
        charged: str,
        retryable: bool,
    ) -> None:
        simulator.add_fault(fault)

        with pytest.raises(error) as caught:
            # A completed task without pictures is queried again until the deadline, which must not be far.
            task_instance.run(operator(deferrable=deferrable, timeout=2))

        assert caught.value.task_id == simulator.tasks()[0]["id"]
        assert (caught.value.charged, caught.value.retryable) == (charged, retryable)

    def test_is_a_timeout_when_the_deadline_passes_first(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, deferrable: bool
    ) -> None:
        simulator.add_fault({"fault": "never_finishes"})

        with pytest.raises(TaskTimeoutError, match="buys nothing") as caught:
            task_instance.run(operator(timeout=1, deferrable=deferrable))

        assert caught.value.task_id == simulator.tasks()[0]["id"]


class TestTheWait:
    def test_ends_at_the_execution_timeout_when_that_comes_first(
        self, task_instance: TaskInstance, operator: Describe
    ) -> None:
        before = time.time()
        trigger = task_instance.run_until_deferred(operator(timeout=600, execution_timeout=timedelta(seconds=60)))

        assert before + 60 <= trigger.deadline <= time.time() + 60

    def test_hands_the_trigger_no_secret(
        self, task_instance: TaskInstance, operator: Describe, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
    ) -> None:
        connection = {"conn_type": "apimart", "host": simulator.url, "password": "sk-do-not-tell"}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))

        trigger = task_instance.run_until_deferred(operator())

        assert "do-not-tell" not in json.dumps(trigger.serialize())

    def test_holds_the_event_for_ten_seconds_after_the_deferral(
        self, task_instance: TaskInstance, operator: Describe
    ) -> None:
        before = time.time()
        trigger = task_instance.run_until_deferred(operator())

        assert trigger.not_before >= before + 10

    def test_outlasts_a_gateway_that_cannot_be_asked_for_a_while(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "task", "status": 401, "times": 2})

        result = task_instance.run(operator(deferrable=False))

        assert result["delivered"] == 1
        assert "Could not get the status" in capsys.readouterr().out


class TestAWrongRequest:
    def test_is_refused_when_the_dag_is_parsed(self, operator: Describe) -> None:
        with pytest.raises(InvalidRequestError, match="size='7:5'") as caught:
            operator(size="7:5")()

        assert caught.value.field == "size"

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [("on_clear", "again"), ("on_unknown_submit", "maybe"), ("timeout", 0), ("poll_interval", -1)],
    )
    def test_names_the_operators_own_parameters_too(self, operator: Describe, parameter: str, value: object) -> None:
        with pytest.raises(InvalidRequestError, match=parameter):
            operator(**{parameter: value})()

    def test_is_refused_at_the_start_when_only_this_gateway_refuses_it(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = {
            "conn_type": "apimart",
            "host": simulator.apimaster_url,
            "password": "sk-x",
            "extra": {"gateway": "apimaster"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
        make_operator = operator(quality="high")

        with pytest.raises(InvalidRequestError, match="quality='high'"):
            task_instance.run(make_operator)

        assert simulator.stats()["submits"]["received"] == 0

    def test_says_what_the_vendor_would_change_in_silence(
        self,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        task_instance.run(operator(model="gpt-image-2-official", background="transparent", quality="low"))

        assert "does not support transparent backgrounds" in capsys.readouterr().out

    def test_passes_with_one_line_when_the_model_is_not_known(
        self, task_instance: TaskInstance, operator: Describe, capsys: pytest.CaptureFixture[str], simulator: Simulator
    ) -> None:
        task_instance.run(operator(model="next-months-model", size="17:3", extra_body={"mood": "calm"}))

        assert capsys.readouterr().out.count("not in the catalogue") == 1
        assert simulator.tasks()[0]["body"]["mood"] == "calm"


class TestTheBudget:
    def test_lets_a_request_pass_that_it_covers(self, task_instance: TaskInstance, operator: Describe) -> None:
        assert task_instance.run(operator(max_cost=0.01))["cost"] == 0.0085

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            pytest.param({"n": 2, "max_cost": 0.01}, "0.017", id="too dear"),
            pytest.param({"model": "next-months-model", "max_cost": 5.0}, "cannot be determined", id="no price"),
        ],
    )
    def test_buys_nothing_beyond_it(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        parameters: dict[str, Any],
        message: str,
    ) -> None:
        with pytest.raises(BudgetExceededError, match=message):
            task_instance.run(operator(**parameters))

        assert simulator.stats()["submits"]["received"] == 0


class TestARetry:
    def test_buys_nothing_while_the_first_purchase_still_runs(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())

        result = task_instance.run(operator())

        assert accepted(simulator) == simulator.stats()["submits"]["received"] == 1
        assert result["task_ids"] == [simulator.tasks()[0]["id"]]

    def test_returns_the_finished_pictures_without_deferring_again(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        first = task_instance.run(operator())

        assert task_instance.run_until_deferred(operator()) == first
        assert accepted(simulator) == 1

    def test_collects_what_finished_after_the_deadline(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "never_finishes"})
        with pytest.raises(TaskTimeoutError):
            task_instance.run(operator(timeout=1))
        simulator.clear_faults()

        with pytest.raises(TaskTimeoutError):
            task_instance.run(operator(timeout=1))
        assert accepted(simulator) == 1

    def test_buys_again_what_failed_without_being_charged(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "times": 1})
        with pytest.raises(TaskFailedError):
            task_instance.run(operator())

        assert task_instance.run(operator())["delivered"] == 1
        assert accepted(simulator) == 2
        assert len(simulator.stats()["tasks_per_idempotency_key"]) == 2

    def test_submits_only_the_part_that_was_refused(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 402, "skip": 1, "times": 1})
        with pytest.raises(Exception, match="402"):
            task_instance.run(operator(n=2))

        result = task_instance.run(operator(n=2))

        assert accepted(simulator) == result["delivered"] == 2

    def test_does_not_buy_when_the_gateway_no_longer_knows_what_was_bought(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())
        simulator.add_fault({"fault": "task_unknown", "on": "task"})

        with pytest.raises(TaskTimeoutError) as caught:
            task_instance.run(operator(deferrable=False, timeout=0.4))

        assert (caught.value.charged, caught.value.retryable) == ("unknown", True)
        assert accepted(simulator) == 1

    def test_of_another_map_index_or_run_buys_its_own_picture(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        for run_id, map_index in (("a", 0), ("a", 1), ("b", 0)):
            task_instance.run_id, task_instance.map_index = run_id, map_index
            task_instance.store.values.clear()
            task_instance.run(operator())

        assert accepted(simulator) == 3

    def test_without_a_state_store_sends_the_same_key_so_that_the_gateway_recognises_it(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.store = None
        first = task_instance.run(operator())

        assert task_instance.run(operator())["task_ids"] == first["task_ids"]
        assert simulator.stats()["submits"] == {"received": 2, "accepted": 1, "replayed": 1, "refused": 0, "dropped": 0}

    def test_forgets_between_tries_when_durable_is_off_and_relies_on_the_key(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run(operator(durable=False))
        task_instance.run(operator(durable=False))

        assert task_instance.store.history == []
        assert accepted(simulator) == 1


class TestClearing:
    def test_buys_new_pictures_where_that_is_wanted(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        first = task_instance.run(operator())
        task_instance.clear()

        second = task_instance.run(operator(on_clear="regenerate"))

        assert second["task_ids"] != first["task_ids"]
        assert "reused" not in second
        assert accepted(simulator) == 2

    def test_reuses_what_was_bought(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        first = task_instance.run(operator())
        task_instance.clear()

        assert task_instance.run(operator()) == {**first, "reused": True}
        assert accepted(simulator) == 1
        log = capsys.readouterr().out
        assert first["task_ids"][0] in log
        assert "on_clear='regenerate'" in log


class TestALostAnswer:
    def test_fails_as_unknown_and_no_retry_buys_until_the_task_is_cleared(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})

        for _ in range(3):  # The worker that made the call has given it up: nobody else can learn its outcome.
            with pytest.raises(SubmitOutcomeUnknownError) as caught:
                task_instance.run(operator())
            assert (caught.value.charged, caught.value.retryable) == ("unknown", False)
        assert simulator.stats()["submits"]["received"] == 1

        task_instance.clear()
        assert task_instance.run(operator())["delivered"] == 1
        assert simulator.stats()["submits"]["received"] == 2
        assert list(simulator.stats()["tasks_per_idempotency_key"].values()) == [1]

    def test_is_sent_once_more_with_the_same_key_where_that_is_wanted(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})

        result = task_instance.run(operator(on_unknown_submit="resubmit"))

        assert result["delivered"] == 1
        assert list(simulator.stats()["tasks_per_idempotency_key"].values()) == [1]

    def test_stays_unknown_when_the_second_answer_is_a_refusal(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 401, "times": 1})

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            task_instance.run(operator(on_unknown_submit="resubmit"))

        assert caught.value.retryable
        assert task_instance.run(operator(on_unknown_submit="resubmit"))["delivered"] == 1
        assert accepted(simulator) == 1


class TestAStateStoreThatFails:
    def test_leads_to_no_purchase_when_it_cannot_be_read(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.store.fail_reads = True

        with pytest.raises(RecordUnavailableError, match="Nothing was submitted"):
            task_instance.run(operator())

        assert simulator.stats()["submits"]["received"] == 0

    def test_leads_to_no_purchase_when_it_loses_the_intent(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.store.fail_writes = True

        with pytest.raises(RecordUnavailableError):
            task_instance.run(operator())

        assert simulator.stats()["submits"]["received"] == 0

    def test_leads_to_no_purchase_when_it_holds_what_cannot_be_understood(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())
        key = next(iter(task_instance.store.values))
        task_instance.store.values[key] = '{"version": 99}'

        with pytest.raises(RecordUnavailableError, match="99"):
            task_instance.run(operator())

        assert accepted(simulator) == 1


class TestATriggerThatCameToNothing:
    def fail(self, task_instance: TaskInstance, make_operator: Callable[[], ApimartImageOperator]) -> Any:
        return task_instance.resume_after_failure(make_operator, "Trigger failure")

    def test_does_not_lose_a_picture_that_the_gateway_has_finished(
        self, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.event_of(task_instance.run_until_deferred(operator()))  # The picture is there now.

        assert self.fail(task_instance, operator())["delivered"] == 1

    @pytest.mark.parametrize(
        "fault",
        [
            {"fault": "refuse", "on": "task", "status": 502},
            {"fault": "refuse", "on": "task", "status": 401},
            {"fault": "task_unknown", "on": "task"},
        ],
        ids=["gateway away", "wrong key", "unknown for now"],
    )
    @pytest.mark.parametrize("record", ["state store", "xcom", "only the ids"])
    def test_makes_the_task_defer_again_at_no_cost(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        fault: dict[str, Any],
        record: str,
    ) -> None:
        from airflow.sdk.exceptions import TaskDeferred

        if record != "state store":
            task_instance.store = None
        task_instance.run_until_deferred(operator(retries=0))
        if record == "only the ids":
            del task_instance.xcoms["apimart_purchase"]
        simulator.add_fault(fault)

        with pytest.raises(TaskDeferred) as deferred:
            self.fail(task_instance, operator(retries=0))

        simulator.clear_faults()
        assert deferred.value.trigger.task_ids == [simulator.tasks()[0]["id"]]
        assert task_instance.finish(operator(retries=0), deferred.value.trigger)["delivered"] == 1
        assert simulator.stats()["submits"]["received"] == 1

    def test_ends_with_a_timeout_after_the_deadline(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "never_finishes"})
        task_instance.run_until_deferred(operator())
        record = task_instance.store.get("apimart_purchase")
        task_instance.store.set("apimart_purchase", {**record, "deadline": 1.0})

        with pytest.raises(TaskTimeoutError, match="buys nothing"):
            self.fail(task_instance, operator())

    def test_ends_with_a_timeout_when_it_happens_again_and_again(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        from airflow.sdk.exceptions import TaskDeferred

        simulator.add_fault({"fault": "never_finishes"})
        task_instance.run_until_deferred(operator())

        for _ in range(20):
            with pytest.raises(TaskDeferred):
                self.fail(task_instance, operator())
        with pytest.raises(TaskTimeoutError):
            self.fail(task_instance, operator())


def test_a_wrong_key_is_refused_without_a_purchase(
    simulator: Simulator, task_instance: TaskInstance, operator: Describe
) -> None:
    simulator.add_fault({"fault": "refuse", "on": "submit", "status": 401})

    with pytest.raises(AuthenticationError) as caught:
        task_instance.run(operator())

    assert (caught.value.charged, caught.value.retryable) == ("no", False)
    assert accepted(simulator) == 0


def test_killing_a_task_that_waits_on_its_worker_says_what_happens_to_the_money(
    simulator: Simulator, task_instance: TaskInstance, operator: Describe, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.add_fault({"fault": "never_finishes"})
    waiting = operator(deferrable=False, timeout=0.5)()
    with pytest.raises(TaskTimeoutError):
        waiting.execute(task_instance.context)

    waiting.on_kill()

    said = capsys.readouterr().out
    assert simulator.tasks()[0]["id"] in said
    assert "Killed while waiting" in said
