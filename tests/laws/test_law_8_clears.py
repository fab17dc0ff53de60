"""Law 8: a clear is not a word to buy. What was bought and can still be had is used."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import ApimartError, BudgetExceededError, NoImagesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.plain_gateway import PlainGateway, PlainPurchase

    Describe = Callable[..., Callable[[], Any]]

pytestmark = pytest.mark.usefixtures("direct")


def saying(word: str) -> Callable[[PlainPurchase, PlainGateway], dict[str, Any]]:
    """Return a view with a status word, and with pictures if the word means that they are finished."""
    return lambda purchase, at: {**at.usual_view(purchase, "completed" if word == "done" else word), "status": word}


class TestAClear:
    """As a backfill makes it too, which clears succeeded tasks of a failed run."""

    @pytest.mark.parametrize(
        "parameters",
        [
            pytest.param({}, id="one picture"),
            pytest.param({"n": 3}, id="three"),
            pytest.param({"deferrable": False}, id="waiting on the worker"),
            pytest.param({"model": "a-model-of-next-month"}, id="unknown model"),
        ],
    )
    def test_collects_what_was_bought_and_says_so(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        capsys: pytest.CaptureFixture[str],
        parameters: dict[str, Any],
    ) -> None:
        make = image_operator(**parameters)
        first = airflow_task.run(make)
        bought = len(gateway.calls)
        airflow_task.clear_task()
        capsys.readouterr()

        second = airflow_task.run(make)

        assert len(gateway.calls) == bought
        assert second["task_ids"] == first["task_ids"]
        assert second["reused"] is True
        assert "reused" not in first
        told = capsys.readouterr().out
        assert first["task_ids"][0] in told
        assert "on_clear" in told

    @pytest.mark.parametrize("clears", [1, 2, 5])
    def test_may_come_again_and_again(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, clears: int
    ) -> None:
        make = image_operator()
        airflow_task.run(make)
        for _ in range(clears):
            airflow_task.clear_task()
            airflow_task.run(make)

        assert len(gateway.calls) == 1

    @pytest.mark.parametrize(
        "life", [["processing", "completed"], ["processing"] * 3 + ["completed"], ["submitted", "done"]]
    )
    def test_waits_for_what_still_runs(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, life: list[str]
    ) -> None:
        gateway.life = [saying(word) for word in life]
        make = image_operator()
        airflow_task.run_until_deferred(make)
        airflow_task.clear_task()

        result = airflow_task.run(make)

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert result["reused"] is True
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize(
        ("field", "value"), [("prompt", "a red kite, edited"), ("size", "16:9"), ("extra_body", {"seed": 7})]
    )
    def test_collects_though_the_request_was_edited_and_names_the_field(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        capsys: pytest.CaptureFixture[str],
        field: str,
        value: Any,
    ) -> None:
        airflow_task.run(image_operator())
        airflow_task.clear_task()
        capsys.readouterr()

        result = airflow_task.run(image_operator(**{field: value}))

        assert result["prompt"] == "a red kite"
        assert len(gateway.calls) == 1
        assert field in capsys.readouterr().out

    @pytest.mark.parametrize("why", ["failed", "cancelled", "expired URL", "charged failure"])
    def test_buys_what_cannot_be_had(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, why: str
    ) -> None:
        make = image_operator(retries=0)
        match why:
            case "expired URL":
                airflow_task.run(make)
            case "charged failure":
                gateway.life = [{"status": "failed", "cost": 0.0085, "error": "the kiln was cold"}]
            case _:
                gateway.life = [why]
        if why != "expired URL":
            with pytest.raises(ApimartError):
                airflow_task.run(make)
        old = gateway.purchases[0]
        expired = {
            "created": old.created - 90_000,
            "completed": old.created - 89_990,
            "result": {"images": [{"url": [gateway.issue(old)], "expires_at": old.created - 3_590}]},
        }
        states = {"expired URL": expired, "charged failure": {"status": "failed", "cost": 0.0085}}
        lost = states.get(why, {"status": why})
        gateway.life = [
            lambda purchase, at: {**at.usual_view(purchase), **lost} if purchase is old else at.usual_view(purchase)
        ]
        airflow_task.clear_task()

        result = airflow_task.run(make)

        assert result["task_ids"] == [gateway.purchases[1].task_id]
        assert result["delivered"] == 1
        assert len(gateway.purchases) == 2
        assert gateway.keys[0] != gateway.keys[1]

    def test_buys_only_the_part_that_cannot_be_had(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        make = image_operator(n=3)
        airflow_task.run(make)
        old = gateway.purchases[1]
        expired = {
            "created": old.created - 90_000,
            "completed": old.created - 89_990,
            "result": {"images": [{"url": [gateway.issue(old)], "expires_at": old.created - 3_590}]},
        }
        gateway.life = [
            lambda purchase, at: {**at.usual_view(purchase), **expired} if purchase is old else at.usual_view(purchase)
        ]
        airflow_task.clear_task()

        result = airflow_task.run(make)

        assert result["delivered"] == 3
        assert len(gateway.purchases) == 4
        assert old.task_id not in result["task_ids"]

    @pytest.mark.parametrize("deferrable", [True, False])
    @pytest.mark.parametrize("empty", [{"images": []}, {"images": [{"url": None}]}, None], ids=str)
    def test_waits_for_pictures_that_lag_behind_their_status(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, empty: Any, deferrable: bool
    ) -> None:
        make = image_operator(timeout=1, deferrable=deferrable)
        airflow_task.run_until_deferred(make)
        airflow_task.clear_task()
        gateway.life = [{"status": "completed", "result": empty}]
        with pytest.raises(NoImagesError) as caught:
            airflow_task.run(make)
        airflow_task.begin_retry()
        gateway.life = ["completed"]

        result = airflow_task.run(make)

        assert caught.value.retryable
        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize("form", ["b64_json", "url"])
    def test_uses_a_picture_that_came_inside_the_response_for_ever(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, form: str
    ) -> None:
        content = base64.b64encode(gateway.picture).decode()
        picture = {form: content if form == "b64_json" else f"data:image/png;base64,{content}"}
        gateway.reshape("submit", lambda _body: {"created": int(time.time()) - 200_000, "data": [picture]})
        make = image_operator()
        first = airflow_task.run(make)
        airflow_task.clear_task()

        second = airflow_task.run(make)

        assert second["images"] == first["images"]
        assert len(gateway.calls) == 1

    def test_is_no_purchase_that_max_cost_forbids(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        airflow_task.run(image_operator())
        airflow_task.clear_task()
        assert airflow_task.run(image_operator(max_cost=0.001))["reused"] is True
        airflow_task.clear_task()

        with pytest.raises(BudgetExceededError):
            airflow_task.run(image_operator(max_cost=0.001, on_clear="regenerate"))

        assert len(gateway.calls) == 1


class TestRegenerate:
    @pytest.mark.parametrize("way", ["literal", "rendered", "rendered later"])
    def test_buys_in_any_case(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, way: str
    ) -> None:
        first = {"literal": "regenerate", "rendered": "regenerate", "rendered later": "reuse"}[way]
        literal = {"on_clear": "regenerate"} if way == "literal" else {}
        airflow_task.run(image_operator(dict if literal else lambda: {"on_clear": first}, **literal))
        airflow_task.clear_task()

        result = airflow_task.run(image_operator(dict if literal else lambda: {"on_clear": "regenerate"}, **literal))

        assert result["task_ids"] == [gateway.purchases[1].task_id]
        assert "reused" not in result
        assert len(set(gateway.keys)) == 2

    @pytest.mark.parametrize("tries", [1, 2, 3])
    def test_is_a_matter_of_clears_and_not_of_retries(
        self, gateway: PlainGateway, airflow_task: AirflowTask, image_operator: Describe, tries: int
    ) -> None:
        make = image_operator(on_clear="regenerate")
        for _ in range(tries):
            airflow_task.run_until_deferred(make)
            airflow_task.begin_retry()

        airflow_task.run(make)

        assert len(gateway.calls) == 1
