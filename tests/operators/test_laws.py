"""The laws that the image operator keeps: the record decides, nothing is bought twice, nothing paid is lost."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import (
    BudgetExceededError,
    InvalidRequestError,
    SubmitOutcomeUnknownError,
    TaskFailedError,
    TaskModeratedError,
)
from airflow_provider_apimart.operators.image import ApimartImageOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from operators.task_instance import TaskInstance

    from airflow_provider_apimart.simulator import Simulator

    Describe = Callable[..., Callable[[], ApimartImageOperator]]

KEY = "apimart_purchase"


def received(simulator: Simulator) -> int:
    return simulator.stats()["submits"]["received"]


def accepted(simulator: Simulator) -> int:
    return simulator.stats()["submits"]["accepted"]


def rendered(make_operator: Callable[[], ApimartImageOperator], **values: Any) -> Callable[[], ApimartImageOperator]:
    """Describe an operator some of whose parameters Airflow has rendered to something else."""

    def make() -> ApimartImageOperator:
        operator = make_operator()
        for name, value in values.items():
            setattr(operator, name, value)
        return operator

    return make


class TestTheRecordDecides:
    @pytest.mark.parametrize(
        "lost",
        [{"prompt": None}, {"prompt": "None"}, {"model": ""}, {"n": None}, {"size": "7:5"}, {"poll_interval": "often"}],
        ids=str,
    )
    @pytest.mark.parametrize(
        ("way", "has_store"),
        [
            ("resume", True),
            ("crashed trigger", True),
            ("retry", True),
            # A retry without a record has nothing but the parameters.
            ("resume", False),
            ("crashed trigger", False),
        ],
    )
    def test_when_the_parameters_can_no_longer_be_rendered(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        lost: dict[str, Any],
        way: str,
        has_store: bool,
    ) -> None:
        if not has_store:
            task_instance.store = None
        trigger = task_instance.run_until_deferred(operator())
        event = task_instance.event_of(trigger)
        broken = rendered(operator(), **lost)

        if way == "resume":
            result = task_instance.resume(broken, event)
        elif way == "crashed trigger":
            result = task_instance.resume_after_failure(broken, "Trigger failure")
        else:
            result = task_instance.run(broken)

        assert (result["prompt"], result["model"], result["requested"]) == ("a lighthouse at dawn", "gpt-image-2", 1)
        assert result["delivered"] == 1
        assert received(simulator) == 1

    @pytest.mark.parametrize(
        "make_value",
        [lambda: f"kite {uuid.uuid4()}", lambda: f"it is {time.time()}", lambda: "edited"],
        ids=["random", "time", "variable"],
    )
    def test_when_a_template_renders_to_something_else_each_time(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, make_value: Callable[[], str]
    ) -> None:
        bought = make_value()
        trigger = task_instance.run_until_deferred(operator(prompt=bought))
        other = operator(prompt=f"{make_value()}, another one")

        assert task_instance.resume(other, task_instance.event_of(trigger))["prompt"] == bought
        assert task_instance.run(other)["prompt"] == bought
        assert simulator.tasks()[0]["body"]["prompt"] == bought
        assert received(simulator) == 1

    @pytest.mark.parametrize(
        "changed",
        [
            {"image_urls": ["https://example.com/a.png?signature=2"]},
            {"size": "16:9"},
            {"n": 3},
        ],
        ids=str,
    )
    def test_when_a_retry_asks_for_something_else_with_one_warning_that_names_it(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
        changed: dict[str, Any],
    ) -> None:
        first = {"image_urls": ["https://example.com/a.png?signature=1"]}
        task_instance.run_until_deferred(operator(**first))

        result = task_instance.run(operator(**{**first, **changed}))

        assert result["delivered"] == 1
        assert received(simulator) == 1
        (name,) = changed
        warnings = [line for line in capsys.readouterr().out.splitlines() if "differ in" in line]
        assert len(warnings) == 1
        assert f"differ in {name}," in warnings[0]

    @pytest.mark.parametrize("n", [1, 8])
    @pytest.mark.parametrize("change", ["submit_path", "gateway", "id"])
    def test_when_the_connection_was_edited_between_tries(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        monkeypatch: pytest.MonkeyPatch,
        n: int,
        change: str,
    ) -> None:
        connection = {"conn_type": "apimart", "host": simulator.apimaster_url, "password": "sk-x"}
        monkeypatch.setenv(
            "AIRFLOW_CONN_APIMART_DEFAULT", json.dumps({**connection, "extra": {"gateway": "apimaster"}})
        )
        trigger = task_instance.run_until_deferred(operator(n=n))
        task_instance.event_of(trigger)
        bought = received(simulator)
        extra = {"gateway": "apimaster", "submit_path": "/v1/images/generations/async"}
        if change == "submit_path":
            monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps({**connection, "extra": extra}))
        elif change == "gateway":
            edited = {**connection, "host": simulator.apimaster_url, "extra": {"gateway": "apimart"}}
            monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(edited))
        else:
            monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({**connection, "password": "sk-y"}))

        result = task_instance.run(operator(n=n, **({"apimart_conn_id": "other"} if change == "id" else {})))

        assert result["delivered"] == n
        assert received(simulator) == bought

    @pytest.mark.parametrize(
        "values",
        [{"model": None}, {"model": "None"}, {"n": None}, {"n": ""}, {"prompt": None}, {"prompt": ""}],
        ids=str,
    )
    def test_and_nothing_is_bought_for_a_required_field_that_rendered_to_nothing(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, values: dict[str, Any]
    ) -> None:
        (name,) = values

        with pytest.raises(InvalidRequestError, match=name) as caught:
            task_instance.run(rendered(operator(), **values))

        assert not caught.value.retryable
        assert received(simulator) == 0

    def test_even_one_of_release_0_1(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())
        record = task_instance.store.get(KEY)
        (part,) = record["parts"]
        part = {"phase": "accepted", "attempt": 0, "task_ids": part["task_ids"], "delivered": []}
        old = {"version": 1, "generation": record["generation"], "fingerprint": "another", "parts": [part]}
        task_instance.store.set(KEY, old)

        result = task_instance.run(operator())

        assert (result["delivered"], result["prompt"]) == (1, "a lighthouse at dawn")
        assert received(simulator) == 1


class TestAFreeFailure:
    def test_in_the_answer_to_the_submit_is_bought_again_by_the_retry(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        # A store whose part was recorded with a task that had failed already, as the response said.
        simulator.add_fault({"fault": "task_failed", "times": 1})
        trigger = task_instance.run_until_deferred(operator())
        (failed,) = task_instance.event_of(trigger)["tasks"]
        record = task_instance.store.get(KEY)
        record["parts"][0]["delivered"] = [failed]
        task_instance.store.set(KEY, record)

        assert task_instance.run(operator())["delivered"] == 1
        assert accepted(simulator) == 2

    def test_is_bought_again_at_most_as_often_as_the_task_is_retried(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed"})

        for _ in range(6):
            with pytest.raises(TaskFailedError):
                task_instance.run(operator(retries=2))

        assert accepted(simulator) == 3

    def test_is_bought_with_the_next_key_where_a_retry_has_no_record(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.store = None
        simulator.add_fault({"fault": "task_failed", "times": 1})
        with pytest.raises(TaskFailedError):
            task_instance.run(operator())

        assert task_instance.run(operator())["delivered"] == 1
        assert accepted(simulator) == 2

    def test_for_its_content_is_not_bought_again_before_the_prompt_is_changed_and_the_task_cleared(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_moderated", "times": 1})
        for _ in range(3):
            with pytest.raises(TaskModeratedError):
                task_instance.run(operator())
        assert accepted(simulator) == 1

        task_instance.clear()
        result = task_instance.run(operator(prompt="something milder"))

        assert (result["delivered"], result["prompt"]) == (1, "something milder")
        assert "reused" not in result
        assert accepted(simulator) == 2


class TestAClear:
    @pytest.mark.parametrize("fault", ["task_failed", "task_cancelled", "task_moderated"])
    def test_buys_what_cannot_be_had(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, fault: str
    ) -> None:
        simulator.add_fault({"fault": fault, "times": 1})
        with pytest.raises(Exception, match="task"):
            task_instance.run(operator())
        task_instance.clear()

        assert task_instance.run(operator())["delivered"] == 1
        assert accepted(simulator) == 2

    def test_buys_only_the_part_that_is_missing(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "task_failed", "times": 1})
        first = task_instance.run(operator(n=3))
        assert first["delivered"] == 2
        task_instance.clear()

        second = task_instance.run(operator(n=3))

        assert (second["delivered"], second["reused"]) == (3, True)
        assert len({*first["task_ids"], *second["task_ids"]}) == accepted(simulator) == 4

    def test_waits_for_what_still_runs(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator())
        task_instance.clear()

        assert task_instance.run(operator())["reused"] is True
        assert accepted(simulator) == 1

    def test_does_not_take_one_denial_for_a_loss_and_buys_what_was_denied_for_minutes(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        (lost,) = task_instance.run(operator())["task_ids"]
        task_instance.clear()
        simulator.add_fault({"fault": "task_unknown", "on": "task"})

        trigger = task_instance.run_until_deferred(operator())
        assert trigger.task_ids == [lost]
        simulator.clear_faults()
        event = {"status": "finished", "task_ids": [lost], "tasks": [], "failures": {lost: "404"}}
        result = self.finish_after(task_instance, operator(), event)

        assert result["delivered"] == 1
        assert result["task_ids"] != [lost]
        assert accepted(simulator) == 2

    @pytest.mark.parametrize(("expires_in", "bought"), [(3600, 1), (-1, 2)])
    def test_buys_again_when_the_url_has_expired(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        expires_in: float,
        bought: int,
    ) -> None:
        result = task_instance.run(operator())
        (task,) = result["tasks"]
        image = {"url": [result["images"][0]["url"]], "expires_at": int(time.time() + expires_in)}
        record = task_instance.store.get(KEY)
        delivered = {"id": task["task_id"], "status": "completed", "result": {"images": [image]}}
        record["parts"][0]["delivered"] = [delivered]
        task_instance.store.set(KEY, record)
        task_instance.clear()

        task_instance.run(operator())

        assert accepted(simulator) == bought

    def test_checks_the_budget_only_for_what_it_buys(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run(operator())
        task_instance.clear()

        assert task_instance.run(operator(max_cost=0.0001))["reused"] is True
        task_instance.clear()
        with pytest.raises(BudgetExceededError):
            task_instance.run(operator(max_cost=0.0001, on_clear="regenerate"))
        assert accepted(simulator) == 1

    @staticmethod
    def finish_after(task_instance: TaskInstance, make_operator: Callable[[], Any], event: dict[str, Any]) -> Any:
        from airflow.sdk.exceptions import TaskDeferred

        try:
            return task_instance.resume(make_operator, event)
        except TaskDeferred as deferred:
            return task_instance.finish(make_operator, deferred.trigger)


class TestAnUnknownOutcome:
    def test_whose_key_is_dead_is_not_submitted_again(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        self.lose_answer(simulator, task_instance, operator)
        self.age(task_instance, 24 * 3600)

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            task_instance.run(operator(on_unknown_submit="resubmit"))

        assert not caught.value.retryable
        assert received(simulator) == 1

    @pytest.mark.parametrize(
        ("age", "changed", "keys"),
        [(3600, {}, 1), (24 * 3600, {}, 2), (3600, {"size": "16:9"}, 2)],
        ids=["key lives", "key is dead", "request changed"],
    )
    def test_is_submitted_after_a_clear_with_the_old_key_while_it_lives(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        capsys: pytest.CaptureFixture[str],
        age: float,
        changed: dict[str, Any],
        keys: int,
    ) -> None:
        self.lose_answer(simulator, task_instance, operator)
        self.age(task_instance, age)
        task_instance.clear()

        assert task_instance.run(operator(**changed))["delivered"] == 1
        assert len(simulator.stats()["tasks_per_idempotency_key"]) == keys
        assert ("may exist and be billed" in capsys.readouterr().out) is (keys == 2)

    def test_takes_a_new_key_where_the_gateway_refuses_the_old_one(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        self.lose_answer(simulator, task_instance, operator)
        task_instance.clear()
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 409, "times": 1})

        assert task_instance.run(operator())["delivered"] == 1
        assert len(simulator.stats()["tasks_per_idempotency_key"]) == 2

    def test_names_the_parts_that_were_accepted_and_keeps_them(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            task_instance.run(operator(n=3))

        known = task_instance.xcoms["task_ids"]
        assert len(known) == 2
        assert all(task_id in str(caught.value) for task_id in known)
        task_instance.clear()
        assert task_instance.run(operator(n=3))["delivered"] == 3
        assert accepted(simulator) == 3

    @staticmethod
    def lose_answer(simulator: Simulator, task_instance: TaskInstance, operator: Describe) -> None:
        simulator.add_fault({"fault": "drop_answer", "on": "submit", "times": 1})
        with pytest.raises(SubmitOutcomeUnknownError):
            task_instance.run(operator())

    @staticmethod
    def age(task_instance: TaskInstance, seconds: float) -> None:
        record = task_instance.store.get(KEY)
        for part in record["parts"]:
            part["intended_at"] -= seconds
        task_instance.store.set(KEY, record)


class TestAnAirflowThatDoesNotAnswer:
    @pytest.mark.parametrize("failing_writes", [1, 2])
    def test_after_the_purchase_is_waited_for(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, failing_writes: int
    ) -> None:
        def lose_the_next_writes() -> None:
            task_instance.store.failing_writes = failing_writes

        self.after_the_intent(task_instance, lose_the_next_writes)

        result = task_instance.run(operator())

        assert result["delivered"] == 1
        assert task_instance.store.get(KEY)["parts"][0]["task_ids"] == result["task_ids"]
        assert received(simulator) == 1

    def test_makes_the_worker_wait_itself_when_the_record_cannot_be_written(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "1")

        def lose_all_writes() -> None:
            task_instance.store.failing_writes = 1_000_000
            task_instance.fail_xcoms = True

        self.after_the_intent(task_instance, lose_all_writes)

        result = task_instance.run_until_deferred(operator())

        assert result["delivered"] == 1
        assert result["task_ids"][0] in capsys.readouterr().out
        assert received(simulator) == 1

    def test_to_the_push_of_an_xcom_is_no_reason_to_end_the_try(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.fail_xcoms = True

        assert task_instance.run(operator(n=2))["delivered"] == 2
        assert received(simulator) == 2

    @staticmethod
    def after_the_intent(task_instance: TaskInstance, then: Callable[[], None]) -> None:
        """Do something between the record's first write, which precedes the purchase, and the next."""
        store = task_instance.store
        write = store.set

        def set_once(key: str, value: Any, *, retention: Any = None) -> None:
            write(key, value, retention=retention)
            store.set = write
            then()

        store.set = set_once


class TestManyParts:
    def test_are_recorded_by_the_group_in_little_space(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        task_instance.run_until_deferred(operator(n=200))

        store = task_instance.store
        assert accepted(simulator) == 200
        assert store.calls <= 80
        assert len(store.values[KEY]) < 40_000
        assert sum(len(json.dumps(value)) for value in store.history) < 1_000_000

    def test_survive_a_refusal_in_the_middle(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe
    ) -> None:
        simulator.add_fault({"fault": "refuse", "on": "submit", "status": 402, "skip": 20, "times": 1})
        with pytest.raises(Exception, match="402"):
            task_instance.run(operator(n=40))

        result = task_instance.run(operator(n=40))

        assert result["delivered"] == accepted(simulator) == 40


class TestParametersAsUsersWriteThem:
    @pytest.mark.parametrize("value", [timedelta(seconds=90), 90, "90", 90.0, "90.0"], ids=repr)
    def test_times_are_numbers_texts_or_timedeltas(
        self, task_instance: TaskInstance, operator: Describe, value: Any
    ) -> None:
        before = time.time()
        trigger = task_instance.run_until_deferred(operator(timeout=value))

        assert before + 90 <= trigger.deadline <= time.time() + 90

    @pytest.mark.parametrize("name", ["timeout", "poll_interval", "initial_delay", "max_cost", "on_clear"])
    def test_a_template_passes_when_the_dag_is_parsed_and_is_checked_when_the_task_starts(
        self, simulator: Simulator, task_instance: TaskInstance, operator: Describe, name: str
    ) -> None:
        assert name in ApimartImageOperator.template_fields
        make_operator = operator(**{name: "{{ params.value }}"})

        with pytest.raises(InvalidRequestError, match=name):
            task_instance.run(rendered(make_operator, **{name: "nonsense"}))

        assert received(simulator) == 0

    def test_airflow_renders_them(self, task_instance: TaskInstance, operator: Describe) -> None:
        from airflow.sdk import DAG

        task = operator(
            max_cost="{{ params.budget }}", timeout="{{ params.seconds }}", on_clear="{{ params.on_clear }}"
        )()
        task.dag = dag = DAG("a_dag", schedule=None)
        params = {"budget": 0.5, "seconds": 60, "on_clear": "regenerate"}
        task.render_template_fields({"dag": dag, "task": task, "params": params})

        assert (task.max_cost, task.timeout, task.on_clear) == ("0.5", "60", "regenerate")
        assert task_instance.run_until_deferred(lambda: task).deadline <= time.time() + 60

    def test_a_wrong_value_of_a_mapped_task_fails_when_it_runs_and_is_not_retried(
        self, simulator: Simulator, task_instance: TaskInstance, apimart_connection: str
    ) -> None:
        mapped = ApimartImageOperator.partial(
            task_id="a_task", prompt="a kite", apimart_conn_id=apimart_connection
        ).expand(size=["17:1"])

        operator = mapped.unmap({"size": "17:1"})
        with pytest.raises(InvalidRequestError, match="size='17:1'") as caught:
            operator.execute(task_instance.context)

        decision = operator.retry_policy.evaluate(caught.value, 1, 3)
        assert decision.action.name == "FAIL"
        assert received(simulator) == 0

    @pytest.mark.parametrize("way", ["argument", "default_args", "partial"])
    def test_a_retry_policy_of_the_user_wins(self, way: str) -> None:
        from airflow.sdk import ExceptionRetryPolicy

        policy = ExceptionRetryPolicy(rules=[])
        arguments: dict[str, Any] = {"task_id": "a_task", "prompt": "a kite"}
        if way == "default_args":
            operator = ApimartImageOperator(**arguments, default_args={"retry_policy": policy})
        elif way == "argument":
            operator = ApimartImageOperator(**arguments, retry_policy=policy)
        else:
            mapped = ApimartImageOperator.partial(task_id="a_task", retry_policy=policy).expand(prompt=["a kite"])
            operator = mapped.unmap({"prompt": "a kite"})

        assert operator.retry_policy is policy

    @pytest.mark.parametrize("kind", ["file", "s3"])
    def test_references_on_the_worker_and_in_s3_are_uploaded_before_the_purchase(
        self,
        simulator: Simulator,
        task_instance: TaskInstance,
        operator: Describe,
        tmp_path: Path,
        kind: str,
        request: pytest.FixtureRequest,
    ) -> None:
        from io import BytesIO

        from PIL import Image

        content = BytesIO()
        Image.new("RGB", (64, 64), "red").save(content, "PNG")
        address = str(tmp_path / "reference.png")
        (tmp_path / "reference.png").write_bytes(content.getvalue())
        if kind == "s3":
            server, bucket = request.getfixturevalue("s3_server"), request.getfixturevalue("bucket")
            request.getfixturevalue("aws_connection")
            server.client().put_object(Bucket=bucket, Key="reference.png", Body=content.getvalue())
            address = f"s3://{bucket}/reference.png"

        result = task_instance.run(operator(image_urls=[address]))
        (tmp_path / "reference.png").unlink()

        assert task_instance.run(operator(image_urls=[address])) == result
        (task,) = simulator.tasks()
        assert task["body"]["image_urls"][0].startswith("http")
