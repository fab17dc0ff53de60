"""The tree of errors: as it is drawn, complete, and safe to move between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from airflow_provider_apimart import exceptions
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    SubmitOutcomeUnknownError,
)

CLASSES = {
    name: cls
    for name, cls in vars(exceptions).items()
    if inspect.isclass(cls) and issubclass(cls, ApimartError) and cls.__module__ == exceptions.__name__
}
ATTRIBUTES = {
    "status_code": 502,
    "code": "bad_gateway",
    "request_id": "request-1",
    "task_id": "task_1",
    "retry_after": 2.5,
    "retryable": True,
    "charged": "unknown",
}
ADDITIONAL = {
    InvalidRequestError: {"field": "size", "value": ("7:5",), "allowed": "must be one of '1:1'"},
    SubmitOutcomeUnknownError: {"idempotency_key": "airflow-1"},
}

each_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def drawn_tree() -> dict[str, str]:
    """Return each class of the module's docstring with the class that it is drawn below."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        if found := re.match(r"    (?P<lines>[│├└─ ]*)(?P<name>\w+Error)\b", line):
            depth = len(found["lines"]) // 4
            parents[found["name"]] = above[depth - 1] if depth else "Exception"
            above[depth:] = [found["name"]]
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    assert drawn_tree() == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}


def test_every_class_is_public() -> None:
    assert sorted([*CLASSES, "Charged"]) == exceptions.__all__


def test_an_invalid_request_is_the_only_one_that_is_something_else_too() -> None:
    assert [cls for cls in CLASSES.values() if len(cls.__bases__) > 1] == [InvalidRequestError]
    assert issubclass(InvalidRequestError, ValueError)


@each_class
def test_an_error_survives_pickling_with_all_that_it_knows(cls: type[ApimartError]) -> None:
    attributes = {**ATTRIBUTES, **ADDITIONAL.get(cls, {})}
    error = cls("It broke.", **attributes)

    # The protocols between which Airflow's own processes may choose.
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        moved = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes

        assert type(moved) is cls
        assert (str(moved), moved.args) == ("It broke.", ("It broke.",))
        assert vars(moved) == vars(error) == attributes


@each_class
def test_an_error_needs_no_more_than_its_class(cls: type[ApimartError]) -> None:
    error = cls()

    assert (error.status_code, error.code, error.request_id, error.task_id, error.retry_after) == (None,) * 5
    assert error.retryable is cls.default_retryable
    assert error.charged == cls.default_charged


@each_class
def test_an_error_says_in_its_docstring_what_it_means(cls: type[ApimartError]) -> None:
    assert cls.__doc__


@pytest.mark.parametrize("cls", [ConfigurationError, InvalidRequestError, BudgetExceededError])
def test_what_is_refused_before_it_is_sent_was_not_charged_and_is_not_tried_again(cls: type[ApimartError]) -> None:
    assert (cls().charged, cls().retryable) == ("no", False)


def test_a_lost_answer_may_have_been_charged_and_is_not_tried_again() -> None:
    error = SubmitOutcomeUnknownError("Lost.", idempotency_key="airflow-1")

    assert (error.charged, error.retryable, error.idempotency_key) == ("unknown", False, "airflow-1")
