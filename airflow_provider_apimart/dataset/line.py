"""
A ledger entry as one line of JSON, which people, pandas and DuckDB can read.

The columns are the fields of :class:`~airflow_provider_apimart.dataset.entry.Entry`, with times in ISO 8601 (UTC),
besides ``currency`` and ``schema_version``. Pure.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, get_args

from airflow_provider_apimart.dataset.entry import Entry, Failure, Status
from airflow_provider_apimart.exceptions import Charged

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_line", "to_line"]

_VERSION: Final = 1
_COLUMNS: Final = tuple(field.name for field in fields(Entry))
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(_COLUMNS, (str,)),
    **dict.fromkeys(("row", "part", "n", "generation", "attempt", "refusals", "retries", "max_tries"), (int,)),
    **dict.fromkeys(("size", "resolution", "quality"), (str, NoneType)),
    **dict.fromkeys(("cost", "credits_cost", "reserved"), (int, float, NoneType)),
    **dict.fromkeys(("objects", "delivered", "task_ids"), (list,)),
    "error": (dict, NoneType),
}


def to_line(entry: Entry) -> bytes:
    """Return the entry as a line, without its end."""
    values = {name: getattr(entry, name) for name in _COLUMNS}
    values |= {"intended_at": _iso(entry.intended_at), "updated_at": _iso(entry.updated_at)}
    values |= {"error": entry.error and asdict(entry.error), "currency": "USD", "schema_version": _VERSION}
    # Half a character, which UTF-8 has no form for, becomes the escape that JSON has for it.
    return json.dumps(values, ensure_ascii=False).encode(errors="backslashreplace")


def read_line(line: bytes) -> Entry:
    """
    Read what :func:`to_line` gave.

    :raises ValueError: for anything else. That is no proof that nothing was bought.
    """
    try:
        values = json.loads(line)
        if values["schema_version"] != _VERSION:
            raise ValueError(f"schema_version is {values['schema_version']!r}")  # noqa: TRY301 - one message for all
        return _entry({name: _checked(name, values[name]) for name in _COLUMNS})
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"no ledger entry of this release ({type(error).__name__}: {error})") from error


def _entry(values: dict[str, Any]) -> Entry:
    objects, delivered, task_ids = values["objects"], values["delivered"], values["task_ids"]
    if not all(isinstance(item, dict) for item in (*objects, *delivered)):
        raise TypeError("objects and delivered must hold objects")
    if not all(isinstance(task_id, str) for task_id in task_ids):
        raise TypeError("task_ids must hold texts")
    if values["charged"] not in get_args(Charged):
        raise ValueError(f"charged is {values['charged']!r}")
    return Entry(
        **{
            **values,
            "status": Status(values["status"]),
            "error": None if values["error"] is None else Failure(**values["error"]),
            "objects": tuple(objects),
            "delivered": tuple(delivered),
            "task_ids": tuple(task_ids),
            "intended_at": _seconds(values["intended_at"]),
            "updated_at": _seconds(values["updated_at"]),
        }
    )


def _checked(name: str, value: Any) -> Any:
    # The very type: True is no number.
    if type(value) not in _TYPES[name] or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(f"{name} is {value!r:.80}")
    return value


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone")
    return moment.timestamp()
