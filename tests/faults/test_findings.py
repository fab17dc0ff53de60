"""Findings of campaigns, each as the scenario that showed it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from faults.fault import Fault
from faults.plan import Scenario

if TYPE_CHECKING:
    from faults.campaign import Campaign, Result

TASK_ID = re.compile(r"task_[0-9A-Z]{26}")
AFTER_THE_POST = Fault(
    "crash between POST and recording the id", "execute", {"point": "store.set", "nth": 2, "action": "kill"}
)
DURING_THE_POST = Fault(
    "crash during the POST", "gateway", {"fault": "delay", "on": "submit", "times": 1, "seconds": 10.0, "kills": True}
)
CLEARED = Fault("cleared after a crash that left the outcome unknown", "airflow", {"what": "clear_crashed"})
ANSWER_LOST = Fault(
    "answer to the POST lost", "gateway", {"fault": "drop_answer", "on": "submit", "times": 1, "skip": 1}
)
NEVER_FINISHES = Fault("never finishes", "gateway", {"fault": "never_finishes", "times": 1})
NO_PICTURES = Fault("task completes without pictures", "gateway", {"fault": "no_images", "times": 2})


def refused(status: int, *, skip: int) -> Fault:
    details = {"fault": "refuse", "on": "submit", "status": status, "times": 1, "skip": skip}
    return Fault(f"refused: {status}", "gateway", details)


def run(running: Campaign, index: int, *faults: Fault, **different: Any) -> Result:
    parameters = {
        "seed": 0,
        "index": index,
        "faults": faults,
        "n": 2,
        "model": "gpt-image-2",
        "output_format": None,
        "honours_keys": True,
        "speed": 3000.0,
        "on_unknown_submit": "fail",
        "on_clear": "regenerate",
        "timeout": 30.0,
        "http_timeout": 20.0,
        "retries": 2,
        "s3_attempts": 1,
        **different,
    }
    (result,) = running.run([Scenario(**parameters)])
    assert result.injected == {fault.kind for fault in faults}
    assert result.finding.violations == []
    return result


def test_a_refusal_of_the_second_task_names_the_first_which_is_paid(running: Campaign) -> None:
    result = run(running, 0, refused(402, skip=1))

    assert result.finding.named == result.finding.purchases == 1
    assert result.journal.final["charged"] == "unknown"


def test_an_unknown_outcome_of_the_second_task_names_the_first_at_every_try(running: Campaign) -> None:
    result = run(running, 1, ANSWER_LOST, on_clear="reuse")

    first, second = [outcome for _, _, outcome in result.journal.outcomes if outcome["kind"] == "raised"]
    (accepted,) = set(TASK_ID.findall(first["message"]))
    assert accepted in second["message"]


def test_a_retry_after_a_crash_names_the_key_of_the_unknown_purchase(running: Campaign) -> None:
    result = run(running, 2, AFTER_THE_POST, n=1)

    reported = next(outcome for _, _, outcome in result.journal.outcomes if outcome["kind"] == "raised")
    assert reported["idempotency_key"].startswith("airflow-")
    assert reported["idempotency_key"] in reported["message"]


def test_a_refusal_after_a_crash_leaves_the_outcome_unknown(running: Campaign) -> None:
    result = run(running, 3, AFTER_THE_POST, refused(401, skip=1), n=1, on_unknown_submit="resubmit")

    reported = next(outcome for _, _, outcome in result.journal.outcomes if outcome["kind"] == "raised")
    assert (reported["type"], reported["charged"]) == ("SubmitOutcomeUnknownError", "unknown")
    assert result.finding.purchases == 1
    assert result.finding.recovered


def test_clearing_a_task_of_unknown_outcome_warns_of_the_key(running: Campaign) -> None:
    result = run(running, 4, CLEARED, DURING_THE_POST, n=1)

    assert result.finding.purchases == 2
    assert result.finding.recovered


@pytest.mark.parametrize(
    ("index", "fault", "timeout", "named"),
    [
        pytest.param(5, NEVER_FINISHES, 0.25, 2, id="one task never finishes"),
        pytest.param(6, NO_PICTURES, 0.5, 2, id="no task has pictures"),
    ],
)
def test_the_error_names_every_task_that_is_paid(
    running: Campaign, index: int, fault: Fault, timeout: float, named: int
) -> None:
    result = run(running, index, fault, timeout=timeout)

    assert result.finding.named == result.finding.purchases == named
