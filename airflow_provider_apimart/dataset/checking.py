"""
Which records may be bought, and why the others may not. Pure.

What is held per record is a digest of 16 bytes, by which a row is recognised that would be bought twice.
"""

from __future__ import annotations

import json
import math
import unicodedata
from difflib import get_close_matches
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.references.addresses import problems_before_upload
from airflow_provider_apimart.dataset.row import InvalidRow, Row, Unreadable, row_of
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, build_request, typed
from airflow_provider_apimart.gateway.validation import Problem
from airflow_provider_apimart.gateway.validation import notices as notices_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_apimart.dataset.row import Record
    from airflow_provider_apimart.gateway.catalogue import Gateway

__all__ = ["check_rows"]

_MAX_ID_LENGTH: Final = 200
#: Control characters, halves of surrogate pairs, ends of lines and of paragraphs.
_NOT_IN_AN_ID: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def check_rows(
    records: Iterable[Record | Unreadable],
    *,
    defaults: Mapping[str, Any],
    gateway: Gateway,
    id_field: str = "id",
    notices: Counter[str] | None = None,
) -> Iterator[Row | InvalidRow]:
    """
    Turn each record into a row that may be bought, or into one that says why it may not.

    An empty cell, ``None`` and NaN leave a field out. Numbers, booleans, lists of URLs (as JSON, or with spaces or
    ends of lines between them) and the JSON of ``extra_body`` may be written as text. A prompt is taken as it is.

    :param records: in the order of the dataset.
    :param defaults: values of request fields that a record leaves out.
    :param gateway: the one that will be called.
    :param id_field: column that names the picture. A record without an id is named after what it asks for.
    :param notices: where to count, for each text that :func:`~airflow_provider_apimart.gateway.validation.notices`
        returns, the rows that it is about.
    :raises InvalidRequestError: at the first record with a column that is no request field.
    """
    usual = {name: _value(name, value) for name, value in defaults.items()}
    first_with: dict[bytes, int] = {}
    for record in records:
        if isinstance(record, Unreadable):
            yield InvalidRow(record.number, None, (record.reason,))
            continue
        _refuse_unknown_columns(record, id_field)
        row = _checked(record, usual, gateway, id_field)
        if notices is not None and isinstance(row, Row):
            notices.update(notices_of(row.request, gateway))
        yield _once(row, first_with)


def _refuse_unknown_columns(record: Record, id_field: str) -> None:
    known = (*REQUEST_PARAMETERS, id_field)
    unknown = [name for name in record.fields if name not in known]
    if not unknown:
        return
    nearest = {name: get_close_matches(name.strip().lower(), known, n=1) for name in unknown}
    listed = ", ".join(
        f"{name!r:.80}{f' (did you mean {near[0]!r}?)' if near else ''}" for name, near in nearest.items()
    )
    raise InvalidRequestError(
        f"row {record.number} has columns that are no request fields: {listed}. Known are {', '.join(known)}. Leave "
        "out the others; what else the gateway takes goes into the column extra_body, as JSON. Nothing was sent.",
        field=unknown[0],
        value=record.fields[unknown[0]],
        allowed=f"one of {', '.join(known)}",
    )


def _checked(record: Record, defaults: Mapping[str, Any], gateway: Gateway, id_field: str) -> Row | InvalidRow:
    given = {name: _value(name, record.fields.get(name)) for name in REQUEST_PARAMETERS}
    present = {name: value for name, value in given.items() if value is not None}
    request = build_request({"prompt": "", **defaults, **present})
    own_id, problems = _own_id(id_field, record.fields.get(id_field))
    problems += problems_before_upload(request, gateway)
    if problems:
        return InvalidRow(record.number, own_id, tuple(str(problem) for problem in problems))
    return row_of(record.number, own_id, request)


def _once(row: Row | InvalidRow, first_with: dict[bytes, int]) -> Row | InvalidRow:
    """Return the row, or why it must not be bought where an earlier one has its id."""
    if row.id is None:
        return row
    first = first_with.setdefault(blake2b(row.id.encode(), digest_size=16).digest(), row.number)
    if first == row.number:
        return row
    if isinstance(row, Row) and not row.has_own_id:
        same = f"asks for the same as row {first}, whose picture serves both: to buy two, give each an id of its own"
        return InvalidRow(row.number, None, (same,))
    earlier = row.reasons if isinstance(row, InvalidRow) else ()
    return InvalidRow(row.number, row.id, (*earlier, f"has the id {row.id!r}, as row {first} has"))


def _own_id(id_field: str, value: Any) -> tuple[str | None, list[Problem]]:
    """Return the record's own id, if it has one, and what is wrong with it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # As pandas reads a column of whole numbers with a gap in it.
    if _is_missing(value):
        return None, []
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None, [Problem(id_field, value, "must be a text or a whole number")]
    own_id = str(value).strip()
    if len(own_id) > _MAX_ID_LENGTH or any(unicodedata.category(letter) in _NOT_IN_AN_ID for letter in own_id):
        allowed = f"must be at most {_MAX_ID_LENGTH} characters, none of them a control character"
        return None, [Problem(id_field, value, allowed)]
    return own_id, []


def _value(name: str, value: Any) -> Any:
    """Return what a cell stands for, ``None`` where it is empty."""
    if _is_missing(value):
        return None
    if not isinstance(value, str) or name == "prompt":
        return typed(name, value)
    if name == "image_urls":
        return _from_json(value) if value.lstrip().startswith("[") else value.split()
    if name == "extra_body":
        return _from_json(value)
    return typed(name, value.strip())


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _from_json(text: str) -> Any:
    """Return what the JSON stands for; the text itself, which no such field takes, where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
