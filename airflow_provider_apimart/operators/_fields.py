"""
From an operator's parameters to a request.

When a DAG is parsed, some parameters are literal and some hold templates or the output of other tasks; only the
literal ones can be checked. When the task starts all are rendered, numbers often as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.request import build_request, typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["is_literal", "literal_request", "rendered_request", "rendered_values"]

_REQUIRED: Final = frozenset({"prompt", "model", "n"})
#: What Jinja makes of a value that is not there.
_ABSENT: Final = frozenset({"", "None"})


def literal_request(values: Mapping[str, Any]) -> tuple[ImageRequest, set[str]]:
    """
    Return the request as far as it is known when the DAG is parsed, and the names of the fields that are not.

    :param values: the operator's request parameters.
    """
    unknown = {name for name, value in values.items() if not is_literal(value)}
    known = {name: value for name, value in values.items() if name not in unknown}
    return build_request({"prompt": "unknown", **known}), unknown


def rendered_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request from rendered parameters.

    Optional fields that rendered to nothing are left out.
    """
    return build_request(rendered_values(values))


def rendered_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what rendered parameters stand for.

    Texts that rendered to a number or to true or false become that, and optional fields that rendered to nothing
    ``None``.
    """
    return {name: _rendered(name, value) for name, value in values.items()}


def _rendered(name: str, value: Any) -> Any:
    if isinstance(value, str) and name not in _REQUIRED and value.strip() in _ABSENT:
        return None
    return typed(name, value)


def is_literal(value: Any) -> bool:
    """Whether a value will still be the same when the task runs."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, dict):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, int | float)
