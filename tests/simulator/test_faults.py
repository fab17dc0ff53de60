from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_apimart.simulator.fault_kinds import FAULTS, REQUEST_FAULTS, TASK_FAULTS
from airflow_provider_apimart.simulator.faults import Faults

FOX = {"gateway": "apimart", "prompt": "a red fox", "model": "gpt-image-2"}
OWL = {**FOX, "prompt": "an owl", "idempotency_key": "row-2"}


def happens(faults: Faults, *subjects: dict[str, str], on: str = "submit") -> bool:
    return faults.draw(on, REQUEST_FAULTS, subjects or (FOX,)) is not None


def test_a_rule_applies_to_every_request_unless_told_otherwise() -> None:
    faults = Faults([{"fault": "refuse"}])

    assert [happens(faults) for _ in range(3)] == [True] * 3
    assert not happens(faults, on="task")


def test_a_rule_can_skip_requests_and_end_after_some() -> None:
    faults = Faults([{"fault": "refuse", "skip": 1, "times": 2}])

    assert [happens(faults) for _ in range(5)] == [False, True, True, False, False]
    assert faults.as_json() == [{"fault": "refuse", "skip": 1, "times": 2, "on": "submit", "seen": 5, "fired": 2}]
    assert faults.fired == {"refuse": 2}


@pytest.mark.parametrize(
    ("match", "fox", "owl"),
    [
        ({"prompt": "fox$"}, True, False),
        ({"idempotency_key": "^row-"}, False, True),
        ({"model": "image", "prompt": "owl"}, False, True),
        ({"gateway": "apimaster"}, False, False),
    ],
)
def test_a_rule_applies_only_to_what_it_matches(*, match: dict[str, str], fox: bool, owl: bool) -> None:
    faults = Faults([{"fault": "refuse", "match": match}])

    assert (happens(faults, FOX), happens(faults, OWL)) == (fox, owl)
    assert happens(faults, FOX, OWL) == (fox or owl)


def test_probability_is_repeated_by_the_seed() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults([{"fault": "refuse", "probability": 0.5}], seed)
        return [happens(faults) for _ in range(64)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 16 < sum(run(1)) < 48


def test_the_first_rule_that_fires_wins() -> None:
    faults = Faults([{"fault": "refuse", "times": 1}, {"fault": "html"}])
    drawn = [faults.draw("submit", REQUEST_FAULTS, (FOX,)) for _ in range(2)]

    assert [fault and fault.name for fault in drawn] == ["refuse", "html"]


def test_several_faults_can_befall_one_task() -> None:
    faults = Faults([{"fault": "url_shape"}, {"fault": "missing_cost"}, {"fault": "url_shape", "shape": "relative"}])

    assert faults.draw_all("submit", TASK_FAULTS, FOX) == {"url_shape": {"shape": "string"}, "missing_cost": {}}


def test_a_reset_returns_to_the_initial_rules() -> None:
    faults = Faults([{"fault": "refuse", "times": 1}])
    happens(faults)
    faults.add({"fault": "html"})
    faults.reset()

    assert [rule["fault"] for rule in faults.as_json()] == ["refuse"]
    assert happens(faults)


def test_rules_are_added_all_or_none() -> None:
    faults = Faults()
    with pytest.raises(ValueError, match="fault must be one of"):
        faults.add({"fault": "refuse"}, {"fault": "unheard-of"})

    assert faults.as_json() == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("refuse", "a fault rule is a JSON object"),
        ({}, "fault must be one of"),
        ({"fault": "refuse", "on": "everything"}, "on must be one of submit, task"),
        ({"fault": "image_slow", "on": "submit"}, "on must be one of image"),
        ({"fault": "drop_answer", "status": 500}, "drop_answer does not take status"),
        ({"fault": "delay", "seconds": "long"}, "seconds must be a number"),
        ({"fault": "refuse", "shape": "round"}, "shape must be one of documented"),
        ({"fault": "refuse", "times": -1}, "times and skip must be whole numbers"),
        ({"fault": "refuse", "skip": None}, "times and skip must be whole numbers"),
        ({"fault": "refuse", "probability": 2}, "probability must be a number from 0 to 1"),
        ({"fault": "refuse", "match": {"colour": "red"}}, "match must be an object with some of gateway"),
        ({"fault": "refuse", "match": {"prompt": "("}}, "match must hold regular expressions"),
        ({"fault": "refuse", "match": {"prompt": 7}}, "match must hold regular expressions"),
    ],
)
def test_a_rule_that_cannot_be_understood_names_the_field(rule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults([rule])


def test_every_default_is_a_value_that_is_allowed() -> None:
    for name, kind in FAULTS.items():
        for endpoint in kind.endpoints:
            Faults([{"fault": name, "on": endpoint, **kind.parameters}])
