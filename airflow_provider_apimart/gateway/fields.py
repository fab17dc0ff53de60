"""From values as templates and tables give them, often as text, to a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.gateway.request import REQUEST_FIELDS, ImageRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REQUEST_PARAMETERS", "build_request", "typed"]

#: Names of everything that a request is made of.
REQUEST_PARAMETERS: Final = (*REQUEST_FIELDS, "extra_body")

_INTEGERS: Final = frozenset({"n", "output_compression"})
_BOOLEANS: Final = {"true": True, "false": False}
#: A column of whole numbers with a gap in it comes out of pandas as 1.0, 2.0.
_WHOLE_NUMBER: Final = re.compile(r"([+-]?[0-9]{1,9})(?:\.0+)?")


def typed(name: str, value: Any) -> Any:
    """
    Return what a value stands for: a number or true or false where the field wants that, else the value as it is.

    :param name: of the field.
    """
    if name in _INTEGERS:
        number = _WHOLE_NUMBER.fullmatch(str(value).strip()) if isinstance(value, str | float) else None
        return value if number is None else int(number[1])
    if name == "official_fallback" and isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower(), value)
    return value


def build_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request of these values; ``None`` and an empty list of references are left out.

    :param values: by the names in :data:`REQUEST_PARAMETERS`, ``prompt`` among them.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(given.get("image_urls"), list | tuple):
        given["image_urls"] = tuple(given["image_urls"]) or None
    return ImageRequest(**given)
