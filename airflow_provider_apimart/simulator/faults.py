"""
Rules that say when something goes wrong.

A rule is a JSON object: the name of a ``fault``, the endpoint it happens ``on``, how many matching requests to ``skip``
first, how many ``times`` and with which ``probability`` it happens then, what the request must ``match`` (regular
expressions), and the fault's own parameters, see :data:`.fault_kinds.FAULTS`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from airflow_provider_apimart.simulator.fault_kinds import FAULTS, FaultKind

__all__ = ["MATCHABLE", "Fault", "Faults", "Subject"]

#: What a request or task is known by, for ``match``.
Subject = Mapping[str, str]
MATCHABLE: Final = ("gateway", "idempotency_key", "model", "prompt", "task_id")
_COMMON: Final = ("fault", "on", "times", "skip", "probability", "match")


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that goes wrong now.

    :param name: the fault's name.
    :param parameters: its parameters, with defaults filled in.
    """

    name: str
    parameters: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.parameters[name]


@dataclass(slots=True)
class _Rule:
    given: Mapping[str, Any]
    fault: Fault
    endpoint: str
    times: int | None
    skip: int
    probability: float
    patterns: Mapping[str, re.Pattern[str]]
    random: Random
    seen: int = 0
    fired: int = 0

    def fires(self, subjects: Sequence[Subject]) -> bool:
        """Return whether the fault happens to this request, and count it."""
        if not any(self._matches(subject) for subject in subjects):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.fired >= self.times):
            return False
        if self.random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def _matches(self, subject: Subject) -> bool:
        return all(name in subject and pattern.search(subject[name]) for name, pattern in self.patterns.items())


class Faults:
    """
    The rules in force, asked in the order in which they were given.

    :param initial: rules as JSON objects; a reset returns to them.
    :param seed: repeats what ``probability`` decides.
    :raises ValueError: a rule that cannot be understood; the message names the field.

    ``fired`` counts by name how often each fault has happened since the last reset.
    """

    def __init__(self, initial: Sequence[Mapping[str, Any]] = (), seed: int = 0) -> None:
        self._initial = tuple(initial)
        self._seed = seed
        self._rules: list[_Rule] = []
        self.fired: Counter[str] = Counter()
        self.reset()

    def add(self, *rules: Mapping[str, Any]) -> None:
        """
        Put rules into force, all of them or none.

        :raises ValueError: a rule that cannot be understood; the message names the field.
        """
        start = len(self._rules)
        self._rules += [_read(rule, f"{self._seed}:{number}") for number, rule in enumerate(rules, start)]

    def clear(self) -> None:
        """Take all rules out of force."""
        self._rules = []

    def reset(self) -> None:
        """Return to the initial rules, with nothing counted."""
        self.clear()
        self.fired.clear()
        self.add(*self._initial)

    def draw(self, endpoint: str, names: Collection[str], subjects: Sequence[Subject]) -> Fault | None:
        """
        Return the first of the named faults that happens now, if any.

        :param endpoint: where the request arrived.
        :param names: faults in question.
        :param subjects: what the request is about; several for a batch.
        """
        return next(self._firing(endpoint, names, subjects), None)

    def draw_all(self, endpoint: str, names: Collection[str], subject: Subject) -> dict[str, Mapping[str, Any]]:
        """Return the parameters of all of the named faults that happen now, the first rule of each."""
        drawn: dict[str, Mapping[str, Any]] = {}
        for fault in self._firing(endpoint, names, (subject,)):
            drawn.setdefault(fault.name, fault.parameters)
        return drawn

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rules with how many requests each has ``seen`` and how often it has ``fired``."""
        return [{**rule.given, "on": rule.endpoint, "seen": rule.seen, "fired": rule.fired} for rule in self._rules]

    def _firing(self, endpoint: str, names: Collection[str], subjects: Sequence[Subject]) -> Iterator[Fault]:
        for rule in self._rules:
            if rule.endpoint == endpoint and rule.fault.name in names and rule.fires(subjects):
                self.fired[rule.fault.name] += 1
                yield rule.fault


def _read(rule: object, seed: str) -> _Rule:
    if not isinstance(rule, Mapping):
        raise ValueError(f"a fault rule is a JSON object, not {rule!r}")  # noqa: TRY004 - one type for whatever is wrong
    name = rule.get("fault")
    if name not in FAULTS:
        raise ValueError(f"fault must be one of {', '.join(FAULTS)}, not {name!r}")
    kind = FAULTS[str(name)]
    endpoint = rule.get("on", kind.endpoints[0])
    if endpoint not in kind.endpoints:
        raise ValueError(f"on must be one of {', '.join(kind.endpoints)} for {name}, not {endpoint!r}")
    times, skip, probability = rule.get("times"), rule.get("skip", 0), rule.get("probability", 1.0)
    if not (times is None or _is_count(times)) or not _is_count(skip):
        raise ValueError(f"times and skip must be whole numbers, not {times!r} and {skip!r}")
    if not isinstance(probability, int | float) or not 0 <= probability <= 1:
        raise ValueError(f"probability must be a number from 0 to 1, not {probability!r}")
    return _Rule(
        given=dict(rule),
        fault=Fault(str(name), _read_parameters(str(name), kind, rule)),
        endpoint=str(endpoint),
        times=times,
        skip=skip,
        probability=probability,
        patterns=_read_patterns(rule.get("match", {})),
        random=Random(seed),
    )


def _read_parameters(name: str, kind: FaultKind, rule: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(rule) - {*_COMMON, *kind.parameters}
    if unknown:
        raise ValueError(f"{name} does not take {', '.join(sorted(unknown))}; it takes {', '.join(kind.parameters)}")
    parameters = {key: rule.get(key, default) for key, default in kind.parameters.items()}
    for key, value in parameters.items():
        if key in kind.choices and value is not None and value not in kind.choices[key]:
            raise ValueError(f"{key} must be one of {', '.join(kind.choices[key])} for {name}, not {value!r}")
        if isinstance(kind.parameters[key], int | float) and not isinstance(value, int | float):
            raise ValueError(f"{key} must be a number or a boolean for {name}, not {value!r}")  # noqa: TRY004 - as above
    return parameters


def _read_patterns(match: object) -> dict[str, re.Pattern[str]]:
    if not isinstance(match, Mapping) or not set(match) <= set(MATCHABLE):
        raise ValueError(f"match must be an object with some of {', '.join(MATCHABLE)}, not {match!r}")
    try:
        return {str(name): re.compile(pattern) for name, pattern in match.items()}
    except (re.error, TypeError) as error:
        raise ValueError(f"match must hold regular expressions: {error}") from error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
