"""
From an operator's parameters to a request.

When a DAG is parsed, some parameters are literal and some hold templates or the output of other tasks; only the
literal ones can be checked. When the task starts all are rendered, numbers often as text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.request import build_request, typed
from airflow_provider_apimart.gateway.validation import require

if TYPE_CHECKING:
    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["dollars", "duration", "is_literal", "literal_request", "rendered_request", "rendered_values"]

_REQUIRED: Final = frozenset({"prompt", "model", "n"})
#: Rendered forms of a value that is not there.
_ABSENT: Final = frozenset({"", "None"})


def literal_request(values: Mapping[str, Any]) -> tuple[ImageRequest, set[str]]:
    """
    Return the request as far as it is known when the DAG is parsed, and the names of the fields that are not.

    :param values: the operator's request parameters.
    """
    unknown = {name for name, value in values.items() if not is_literal(value)}
    known = {name: value for name, value in values.items() if name not in unknown}
    return build_request({"prompt": "unknown", **rendered_values(known)}), unknown


def rendered_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request from rendered parameters.

    Optional fields that rendered to nothing are left out.
    """
    return build_request(rendered_values(values))


def rendered_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of rendered parameters in their types; ``None`` for optional fields without a value."""
    return {name: _rendered(name, value) for name, value in values.items()}


def _rendered(name: str, value: Any) -> Any:
    is_absent = value is None or (isinstance(value, str) and value.strip() in _ABSENT)
    if name in _REQUIRED:
        require(name, value, not is_absent, "a value: it rendered to nothing. Nothing was submitted")
    elif is_absent:
        return None
    if name == "prompt" and isinstance(value, int | float):
        return str(value)
    if name in {"extra_body", "image_urls"} and isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        return json.loads(value)
    if name == "image_urls" and isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    return typed(name, value)


def is_literal(value: Any) -> bool:
    """Return whether a value will still be the same when the task runs."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, dict):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_literal(item) for item in value)
    return value is None or isinstance(value, int | float)


def duration(name: str, value: Any) -> float:
    """Return a time in seconds, of a number, a numeric text or a ``timedelta``."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    require(name, value, math.isfinite(seconds), "a number of seconds or a timedelta")
    return seconds


def dollars(name: str, value: Any) -> float | None:
    """Return an amount of US dollars, or ``None`` where there is no limit."""
    if value is None or (isinstance(value, str) and value.strip() in _ABSENT):
        return None
    try:
        amount = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        amount = math.nan
    require(name, value, amount > 0 and math.isfinite(amount), "more than 0 US dollars")
    return amount
