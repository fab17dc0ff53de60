"""
The values of a dataset: cells of text, JSON, and the objects that Python, numpy and Arrow make of a table.

``None``, NaN, an empty cell and the missing values of numpy and pandas all count as missing.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any, Final
from uuid import UUID

from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.gateway.request import typed

__all__ = ["ID_ALLOWED", "NOT_JSON", "PromptTemplate", "field_value", "is_suspicious", "json_value", "own_id"]

#: Errors by which :func:`json_value` refuses a value.
NOT_JSON: Final = (TypeError, ValueError, RecursionError)
_MAX_ID_LENGTH: Final = 200
ID_ALLOWED: Final = (
    f"must be a whole number, or a text of at most {_MAX_ID_LENGTH} characters, none of them a control character"
)
#: Control characters, ends of lines and paragraphs, halves of surrogate pairs.
_NOT_IN_AN_ID: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: Spreadsheets and pandas write the whole numbers of a column with a gap as ``1.0``.
_WHOLE_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
#: Between two addresses: a space, or a separator before the beginning of another address.
_BETWEEN_ADDRESSES: Final = re.compile(r"[,;|]?\s+|[,;|](?=(?:https?|s3[an]?|file)://|data:image/)", re.IGNORECASE)
#: Missing values and errors as programs write them, placeholders, bare addresses, and punctuation.
_SUSPICIOUS: Final = re.compile(
    r"""\s*(?:
        nan | nat | none | null | nil | n/?a | <na> | undefined | \[object\ object\] | \(blank\) | true | false
        | \#[a-z0-9/_]+[!?] | \#n/?a | \#getting_data | loading\.\.\. | err:[0-9]+
        | \{\{.*\}\} | \$\{.*\} | \{\w*\} | [a-z][a-z0-9+.]*://\S+
        | [!-/:-@\[-`{-~]+
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_LONGEST_SUSPICIOUS: Final = 300
#: Whole floats beyond this one stay floats.
_LONGEST_WHOLE: Final = 10**40
#: Types of the missing values of pandas, which cannot be compared.
_PANDAS_MISSING: Final = frozenset({"NAType", "NaTType"})
#: Types whose values are JSON as they are.
_PLAIN: Final = frozenset({str, bool, int})


def is_missing(value: Any) -> bool:
    """Return whether a value stands for an empty cell."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in _PANDAS_MISSING


def is_suspicious(text: str) -> bool:
    """Return whether a text looks like a missing value, an error or a placeholder of the program that wrote it."""
    return len(text) <= _LONGEST_SUSPICIOUS and _SUSPICIOUS.fullmatch(text) is not None


def field_value(name: str, value: Any) -> Any:
    """
    Return the value of a request field, ``None`` where the cell is empty.

    A value that the field does not take is returned unchanged, so that the check of the request names it.
    """
    if type(value) not in _PLAIN:
        try:
            value = json_value(value)
        except NOT_JSON:
            return value
    if is_missing(value):
        return None
    if isinstance(value, str) and name != "prompt":
        value = value.strip()
        if name == "image_urls" and value[0] not in "[(":
            return [address for address in _BETWEEN_ADDRESSES.split(value) if address]
    if name != "extra_body":
        return typed(name, value)
    # Arrow makes a list of pairs of a map.
    is_map = isinstance(value, list) and all(map(_is_pair, value))
    return _without_nulls(typed(name, dict(value) if is_map else value))


def own_id(value: Any) -> str | None:
    """
    Return the id of a record, or ``None`` where it has none. The ids ``1``, ``1.0`` and ``"1.0"`` are the same.

    :raises ValueError: for a value that cannot be an id.
    """
    try:
        value = json_value(value)
    except NOT_JSON as error:
        raise ValueError(ID_ALLOWED) from error
    if is_missing(value):
        return None
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if number := _WHOLE_NUMBER.fullmatch(text):
        return number[1]
    if not 0 < len(text) <= _MAX_ID_LENGTH or _NOT_IN_AN_ID.search(text):
        raise ValueError(ID_ALLOWED)
    return text


def json_value(value: Any) -> Any:
    """
    Return the JSON form of a value.

    ==============================================  ============================================================
    ``None``, NaN, ``NaT``, ``pandas.NA``           ``None``
    numpy scalars and arrays                        the values that they hold
    ``Decimal``, whole floats                       a whole number if possible, otherwise a float
    dates, times, timestamps                        ISO 8601
    enumerations                                    their value
    ``UUID``, paths                                 text
    tuples, sets                                    a list; a set in sorted order
    ==============================================  ============================================================

    :raises TypeError: for infinity, and for a value of any other type; other errors of :data:`NOT_JSON` for values that
        contain themselves or are out of range.
    """
    if type(value) in _PLAIN or value is None:
        return value
    if is_missing(value) and not isinstance(value, str):
        return None
    for types, convert in _FORMS:
        if isinstance(value, types):
            return convert(value)
    if hasattr(value, "as_posix"):
        return str(value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return _from_numpy(value)
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _number(value: Any) -> Any:
    value = value if isinstance(value, Decimal) else float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise TypeError("infinity has no form in JSON")
    return int(value) if abs(value) < _LONGEST_WHOLE and value == int(value) else float(value)


def _from_numpy(value: Any) -> Any:
    if getattr(value, "shape", ()):
        return [json_value(item) for item in value]
    kind = getattr(value.dtype, "kind", "")
    if kind == "m":
        raise TypeError("a duration has no form in JSON")
    if kind == "M":
        # tolist() would make a number of nanoseconds, which pandas uses.
        coarse = value.astype("datetime64[us]")
        return json_value(coarse.tolist()) if coarse == value or str(value) == "NaT" else str(value)
    return json_value(value.tolist())


def _mapping(value: Any) -> dict[str, Any]:
    if not all(isinstance(name, str) for name in value):
        raise TypeError("its names must be texts")
    return {str(name): json_value(item) for name, item in value.items()}


#: In this order, because a numpy float is a float, an enumeration may be a text, and a timestamp is a date.
_FORMS: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (Enum, lambda value: json_value(value.value)),
    (str, str),
    (Integral, int),
    (Decimal | Real, _number),
    (date | time, lambda value: value.isoformat()),
    (UUID, str),
    (Mapping, _mapping),
    (list | tuple, lambda value: [json_value(item) for item in value]),
    (AbstractSet, lambda value: sorted(map(json_value, value), key=str)),
)


def _without_nulls(value: Any) -> Any:
    """Drop the nulls in mappings: Arrow gives every row of a struct column every field of the column."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _is_pair(item: Any) -> bool:
    match item:
        case [str(), _]:
            return True
    return False


class PromptTemplate:
    """
    A prompt with names of columns in braces: ``{name} on white, {colour} light``.

    :param text: ``{{`` and ``}}`` stand for braces.
    :raises InvalidRequestError: for anything else in braces, so that a template cannot reach Python objects.
    """

    def __init__(self, text: str) -> None:
        try:
            self._parts = [(literal, name) for literal, name, _, _ in _parsed(text)]
        except (ValueError, TypeError) as error:
            raise _bad_template(text, f"cannot be parsed ({error})") from error
        self.columns = tuple(dict.fromkeys(name for _, name in self._parts if name is not None))
        if not self.columns:
            raise _bad_template(text, "names no column in braces: all rows would have the same prompt")

    def render(self, fields: Mapping[str, Any], problems: list[str]) -> str | None:
        """Return the prompt, or ``None`` after adding to the problems what is wrong with the columns."""
        texts: dict[str | None, str] = {None: ""}
        for name in self.columns:
            value: Any = fields.get(name)
            try:
                value = json_value(value)
            except NOT_JSON:
                value = ()  # not a text
            if is_missing(value):
                problems.append(f"{name} is missing or empty: prompt_template needs it")
            elif isinstance(value, str | int | float):
                texts[name] = str(value)
            else:
                problems.append(f"{name}={fields[name]!r:.80}: must be a text or a number, for prompt_template")
        if len(texts) <= len(self.columns):
            return None
        return "".join([f"{literal}{texts[name]}" for literal, name in self._parts])


def _parsed(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    parsed = list(string.Formatter().parse(text))
    for _, name, spec, conversion in parsed:
        if name is not None and (spec or conversion or not name.strip() or re.search(r"[.\[\]!:{}]", name)):
            raise ValueError(f"{name!r} in braces is not just the name of a column")
    return parsed


def _bad_template(text: str, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"prompt_template={text!r:.200} {reason}. Nothing was submitted. Write it as '{{name}} on white', with '{{{{' "
        "for a brace.",
        field="prompt_template",
        value=text,
        allowed="a text with names of columns in braces",
    )
