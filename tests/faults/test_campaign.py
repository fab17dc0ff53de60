"""A slice of the campaign, what it is planned from, and proof that it can fail."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import BaseOperator
from faults.audit import find_secrets
from faults.kinds import KINDS, kind_of
from faults.plan import plan_scenario
from faults.report import rows_of, total

from airflow_provider_apimart.retry_policy import ApimartRetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from faults.campaign import Campaign, Result

SEED = 2026


class NaiveBuyer(BaseOperator):
    """What an operator looks like to whom nobody has told that workers die."""

    def __init__(self, *, prompt: str, model: str, n: int, **parameters: Any) -> None:
        super().__init__(task_id=parameters["task_id"], retry_policy=ApimartRetryPolicy())
        self.prompt = prompt
        self.model = model
        self.n = n

    def execute(self, context: Mapping[str, Any]) -> Any:
        from airflow_provider_apimart.gateway.request import ImageRequest
        from airflow_provider_apimart.hooks.apimart import ApimartHook

        request = ImageRequest(prompt=self.prompt, model=self.model, n=self.n, size="256x256")
        with ApimartHook("apimart_default") as hook:
            submission = hook.submit(request, idempotency_key=str(uuid.uuid4()))
        task_ids = [task.task_id for task in submission.tasks]
        context["ti"].xcom_push("task_ids", task_ids)
        return task_ids


@pytest.fixture(scope="module")
def results(running: Campaign) -> list[Result]:
    """One scenario for each kind of fault."""
    return running.run([plan_scenario(SEED, index, combine=False) for index in range(len(KINDS))])


class TestTheSlice:
    def test_breaks_no_promise(self, running: Campaign, results: list[Result]) -> None:
        broken = {result.scenario.kind: result.finding.violations for result in results if result.finding.violations}

        assert broken == {}
        assert running.violations == []

    def test_injects_every_fault_that_it_plans(self, results: list[Result]) -> None:
        assert [result.scenario.kind for result in results if not result.injected] == []
        assert {kind for result in results for kind in result.injected} == {kind.name for kind in KINDS}

    def test_buys_nothing_twice_and_loses_nothing_by_the_gateways_own_account(self, results: list[Result]) -> None:
        whole = total(rows_of(results))

        assert whole["injected"] == len(KINDS)
        assert whole["purchases"] >= len(KINDS) / 2
        assert (whole["doubles"], whole["lost"]) == (0, 0)

    def test_recovers_from_what_can_be_recovered_from(self, results: list[Result]) -> None:
        """The rest is refused for good, was never finished, or is not had and named."""
        recovered = {result.scenario.kind for result in results if result.finding.recovered}

        assert {kind.name for kind in KINDS} - recovered == {
            "image URL expired for ever",
            "id unknown for ever",
            "never finishes",
            "one of several ids unknown",
            "two copies under one key",
            "refused: 401",
            "refused: 402",
            "refused: request cannot be built",
            "task completes without pictures",
            "task is cancelled",
            "task is refused by moderation",
        }

    def test_looks_into_the_bucket_while_it_is_written_to(self, running: Campaign, results: list[Result]) -> None:
        assert len(results) == len(KINDS)
        assert running.observer.looks > 10


class TestTheCampaignCanFail:
    def test_a_buyer_that_remembers_nothing_buys_twice(self, running: Campaign) -> None:
        scenario = plan_scenario(SEED, 0, kinds=[kind_of("crash after the XCom")], combine=False)
        naive = replace(scenario, index=10_000, n=1, operator="faults.test_campaign:NaiveBuyer")

        (result,) = running.run([naive])

        assert result.injected == {"crash after the XCom"}
        assert (result.finding.purchases, result.finding.doubles) == (2, 1)
        assert "2 tasks were bought where 1 were asked for" in result.finding.violations[0]

    def test_a_buyer_whose_pictures_nobody_copies_loses_them(self, running: Campaign) -> None:
        scenario = plan_scenario(SEED, 0, kinds=[kind_of("image URL expired for ever")], combine=False)
        careless = replace(scenario, index=10_001, copies=False)

        (result,) = running.run([careless])

        assert result.finding.lost == result.finding.purchases
        assert "is not stored" in result.finding.violations[0]

    def test_a_buyer_that_buys_again_after_each_clear_buys_twice(self, running: Campaign) -> None:
        kind = kind_of("backfill clears a run that has succeeded")
        scenario = plan_scenario(SEED, 0, kinds=[kind], combine=False)
        naive = replace(scenario, index=10_002, n=1, operator="faults.test_campaign:NaiveBuyer")

        (result,) = running.run([naive])

        assert (result.finding.purchases, result.finding.doubles) == (2, 1)
        assert "bought over 1 clears where 1 were asked for" in result.finding.violations[0]

    def test_a_buyer_that_is_to_buy_again_after_a_clear_does_not_buy_twice(self, running: Campaign) -> None:
        scenario = plan_scenario(SEED, 0, kinds=[kind_of("cleared after the copy")], combine=False)
        naive = replace(scenario, index=10_003, n=1, on_clear="regenerate", operator="faults.test_campaign:NaiveBuyer")

        (result,) = running.run([naive])

        assert (result.finding.purchases, result.finding.doubles) == (2, 0)

    def test_a_key_in_a_log_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("Authorization: Bearer sk-secret")

        assert find_secrets(tmp_path, ["sk-secret"]) == [str(tmp_path / "log")]
        assert find_secrets(tmp_path, ["sk-other"]) == []


class TestAPlan:
    def test_is_the_same_for_the_same_seed(self) -> None:
        assert [plan_scenario(7, index) for index in range(50)] == [plan_scenario(7, index) for index in range(50)]
        assert [plan_scenario(7, index) for index in range(50)] != [plan_scenario(8, index) for index in range(50)]

    def test_takes_every_kind_in_turn(self) -> None:
        kinds = [plan_scenario(7, index).kind for index in range(2 * len(KINDS))]

        assert {kinds.count(kind.name) for kind in KINDS} == {2}

    def test_sends_a_request_again_only_where_the_gateway_recognises_it(self) -> None:
        scenarios = [plan_scenario(7, index) for index in range(500)]

        assert {(s.honours_keys, s.on_unknown_submit) for s in scenarios} == {
            (True, "fail"),
            (True, "resubmit"),
            (False, "fail"),
        }

    def test_gives_each_fault_what_it_needs(self) -> None:
        needs = {kind.name: kind.needs for kind in KINDS}
        for scenario in (plan_scenario(7, index) for index in range(500)):
            for fault in scenario.faults:
                for name, value in needs[fault.kind].items():
                    if name == "at_least":
                        assert scenario.n >= value
                    elif name not in {"inline", "sleeps"}:
                        assert getattr(scenario, name) == value

    def test_combines_some_faults(self) -> None:
        counts = {len({fault.kind for fault in plan_scenario(7, index).faults}) for index in range(200)}

        assert counts == {1, 2, 3}
