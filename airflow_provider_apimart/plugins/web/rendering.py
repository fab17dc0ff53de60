"""Templates, and how numbers, money and moments are written. Everything that comes from elsewhere is escaped."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import Request

__all__ = ["age", "dollars", "duration", "render"]

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """
    Return a page.

    :param template: name of its file.
    :param status: HTTP status.
    :param values: what the template shows.
    """
    root = request.scope.get("root_path", "")
    return HTMLResponse(_TEMPLATES.get_template(template).render(root=root, http_status=status, **values), status)


def dollars(amount: float | None) -> str:
    """Return an amount for people: small ones with four digits, since a picture costs less than a cent."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def duration(seconds: float | None) -> str:
    """Return a span of time in its largest unit."""
    if seconds is None:
        return "unknown"
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def age(moment: float | None, now: float | None = None) -> str:
    """
    Return how long ago something was, or how long it will be.

    :param moment: Unix seconds.
    """
    if moment is None:
        return ""
    seconds = (time.time() if now is None else now) - moment
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def _moment(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(sep=" ", timespec="seconds")


def _query(values: Mapping[str, Any]) -> str:
    return urlencode({name: value for name, value in values.items() if value not in {None, ""}})


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("airflow_provider_apimart.plugins.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "dollars": dollars,
        "duration": duration,
        "moment": _moment,
        "query": _query,
    }
    return environment


_TEMPLATES: Final = _environment()
