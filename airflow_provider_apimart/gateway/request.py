"""
A request for pictures: its fields, its JSON body, and the keys under which a gateway recognises it.

Values come from DAG files, templates, XComs and tables, often as text. :func:`typed` converts a value to what its field
takes, and leaves alone what it cannot convert: :mod:`~airflow_provider_apimart.gateway.validation` refuses that.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError

__all__ = [
    "KEY_LIFETIME",
    "REQUEST_FIELDS",
    "REQUEST_PARAMETERS",
    "ImageRequest",
    "build_request",
    "digest",
    "fingerprint",
    "idempotency_key",
    "is_literal",
    "literal_request",
    "rendered_request",
    "rendered_values",
    "typed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """
    A request for ``n`` pictures of one prompt. A field left ``None`` is not sent.

    :param prompt: what the picture shows.
    :param model: the vendor's name of the model.
    :param size: ``"auto"``, a ratio such as ``"16:9"``, or pixels such as ``"1881x836"`` where the model takes them.
    :param resolution: ``"1k"``, ``"2k"`` or ``"4k"``.
    :param quality: ``"auto"``, ``"low"``, ``"medium"`` or ``"high"``; newer models also take ``"xhigh"`` and ``"max"``.
    :param n: number of pictures, at most 500.
    :param background: ``"auto"``, ``"opaque"`` or ``"transparent"``.
    :param moderation: strength of the model provider's filter, ``"auto"`` or ``"low"``.
    :param output_format: ``"png"``, ``"jpeg"`` or ``"webp"``.
    :param output_compression: 0 to 100, for jpeg and webp.
    :param image_urls: reference images: public URLs, or data URIs where the model takes them.
    :param mask_url: mask with an alpha channel, of the size of the first reference image.
    :param official_fallback: whether the gateway may use the dearer official channel when its own fails.
    :param extra_body: further fields, sent as they are. It also carries values that the catalogue does not know.
    """

    prompt: str
    model: str = "gpt-image-2"
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    n: int = 1
    background: str | None = None
    moderation: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    image_urls: tuple[str, ...] | None = None
    mask_url: str | None = None
    official_fallback: bool | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of this request as one task, in a stable order of keys."""
        return {**self._set_fields(), **self.extra_body}

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set, as JSON values from which :meth:`from_json` restores the request."""
        return {**self._set_fields(), **({"extra_body": dict(self.extra_body)} if self.extra_body else {})}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ImageRequest:
        """Return the request that :meth:`to_json` has described; unknown names are ignored."""
        return build_request({name: values[name] for name in REQUEST_PARAMETERS if name in values})

    def split(self, images_per_task: int | None) -> tuple[ImageRequest, ...]:
        """
        Return the requests, one per gateway task, that together ask for ``n`` pictures.

        :param images_per_task: what the gateway delivers in one task; ``None`` where that is unknown, and the
            request stays whole.
        """
        if images_per_task is None or self.n <= images_per_task:
            return (self,)
        whole, rest = divmod(self.n, images_per_task)
        counts = [images_per_task] * whole + ([rest] if rest else [])
        return tuple(replace(self, n=count) for count in counts)

    def _set_fields(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in REQUEST_FIELDS}
        if self.image_urls is not None:
            named["image_urls"] = list(self.image_urls)
        return {name: value for name, value in named.items() if value is not None}


#: Names of the fields that become keys of the JSON body.
REQUEST_FIELDS: Final = tuple(f.name for f in fields(ImageRequest) if f.name != "extra_body")


#: Names of everything that a request is made of.
REQUEST_PARAMETERS: Final = (*REQUEST_FIELDS, "extra_body")

#: Fields that cannot be left out, so that a value which rendered to nothing must not become the default.
_REQUIRED: Final = frozenset({"prompt", "model", "n"})
_BOOLEANS: Final = {"true": True, "false": False}
#: A column of whole numbers with a gap in it comes out of pandas as 1.0, 2.0.
_WHOLE_NUMBER: Final = re.compile(r"([+-]?[0-9]{1,9})(?:\.0+)?")
#: The texts that Jinja, and its filter ``tojson``, render for a missing value.
_ABSENT: Final = frozenset({"", "None", "null"})
_TEMPLATE: Final = re.compile(r"\{[{%#]")
#: A text with a second address in it.
_SEVERAL_ADDRESSES: Final = re.compile(r"(?:\s|[,;]\s*)(?=(?:https?|s3[an]?|file|data):)|\s(?=\.{0,2}/)", re.IGNORECASE)


def typed(name: str, value: Any) -> Any:
    """
    Return a value as its field takes it, or unchanged where it has no plain meaning there.

    ================================  ==============================================================================
    ``n``, ``output_compression``     whole numbers, also as text or as a float
    ``official_fallback``             ``true`` or ``false`` as text
    ``prompt``                        a number, which native template rendering makes of ``"1984"``, becomes text
    ``image_urls``                    any iterable, the JSON (or Python) text of a list, or the text of one URL
    ``extra_body``                    a mapping, or the JSON (or Python) text of one
    ================================  ==============================================================================
    """
    return _CONVERSIONS.get(name, _text)(value)


def _prompt(value: Any) -> Any:
    return str(value) if not isinstance(value, bool) and isinstance(value, Real | Decimal) else value


def _text(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _integer(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | float | Decimal | Integral):
        return value
    number = _WHOLE_NUMBER.fullmatch(str(value).strip())
    return value if number is None else int(number[1])


def _mapping(value: Any) -> Any:
    parsed = _parsed(value) if isinstance(value, str) else value
    return dict(parsed) if isinstance(parsed, Mapping) else value


def _addresses(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        parsed = _parsed(text) if text[:1] in ("[", "(") else text
        if isinstance(parsed, str):
            return value if not text or parsed[:1] in ("[", "(") or _SEVERAL_ADDRESSES.search(text) else (text,)
        return tuple(parsed) if isinstance(parsed, list | tuple) else value
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        return (str(value),) if hasattr(value, "as_posix") else value
    # The order of a set differs between processes, and with it the request that a gateway would recognise.
    return tuple(map(_address, sorted(value, key=str) if isinstance(value, AbstractSet) else value))


def _address(value: Any) -> Any:
    """Return a path, also one of ``ObjectStoragePath``, as text."""
    return str(value) if hasattr(value, "as_posix") else value


def _parsed(text: str) -> Any:
    """Return the value of a JSON text, or of a Python literal, as which Jinja renders a list; else the text."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "prompt": _prompt,
    "n": _integer,
    "output_compression": _integer,
    "official_fallback": _boolean,
    "image_urls": _addresses,
    "mask_url": _address,
    "extra_body": _mapping,
}


def is_literal(value: Any) -> bool:
    """Return whether a value holds neither a template nor the output of a task."""
    if isinstance(value, str):
        return not _TEMPLATE.search(value)
    if isinstance(value, Mapping):
        return all(is_literal(item) for item in value.values())
    if isinstance(value, list | tuple | AbstractSet):
        return all(is_literal(item) for item in value)
    if hasattr(value, "as_posix"):
        return is_literal(str(value))
    return value is None or isinstance(value, int | float | Decimal)


def literal_request(values: Mapping[str, Any]) -> tuple[ImageRequest, set[str]]:
    """
    Return the request as far as it is known when the DAG is parsed, and the names of the fields that are not.

    :param values: request parameters of an operator, by name.
    :raises InvalidRequestError: for a required field that is ``None``.
    """
    unknown = {name for name, value in values.items() if not is_literal(value)}
    known = {name: typed(name, value) for name, value in values.items() if name not in unknown}
    _require_present(known)
    return build_request({"prompt": "unknown", **known}), unknown


def rendered_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request from rendered parameters.

    :param values: as for :func:`rendered_values`.
    :raises InvalidRequestError: for a required field that rendered to nothing.
    """
    return build_request(rendered_values({"prompt": None, **values}))


def rendered_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return rendered parameters as their fields take them; optional fields that rendered to nothing are ``None``.

    :param values: rendered request parameters of an operator, by name.
    :raises InvalidRequestError: for a required field that rendered to nothing: its default was not asked for.
    """
    present = {
        name: None if isinstance(value, str) and value.strip() in _ABSENT else typed(name, value)
        for name, value in values.items()
    }
    _require_present(present)
    return present


def _require_present(values: Mapping[str, Any]) -> None:
    for name in sorted(_REQUIRED & values.keys()):
        if values[name] is None:
            raise InvalidRequestError(
                f"Invalid image request: {name} has no value: it is None or empty, or its template rendered to that "
                f"(an upstream task that returned nothing?). Nothing was submitted. Set {name}.",
                field=name,
                value=None,
                allowed="a value",
            )


def build_request(values: Mapping[str, Any]) -> ImageRequest:
    """
    Return the request of these values. Values that are ``None`` and an empty list of references are left out.

    :param values: by the names in :data:`REQUEST_PARAMETERS`; ``prompt`` is required.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(given.get("image_urls"), list | tuple):
        given["image_urls"] = tuple(given["image_urls"]) or None
    return ImageRequest(**given)


def digest(value: Any) -> str:
    """Return 64 hexadecimal digits that are the same for equal JSON values, whatever the order of their keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(*, connection_id: str, path: str, body: Mapping[str, Any]) -> str:
    """Return a digest of a request body and of the account and path that it is submitted to."""
    return digest([connection_id, path, body])


#: Seconds for which the same idempotency key may be submitted again. The gateways keep keys for 24 hours.
KEY_LIFETIME: Final = 23 * 3600.0


def idempotency_key(*identity: str | int) -> str:
    """
    Return the key for a purchase, the same on every machine for the same identity.

    :param identity: the values that distinguish this purchase from all others, in a fixed order.
    """
    joined = "\0".join(str(part) for part in identity)
    return f"airflow-{hashlib.sha256(joined.encode()).hexdigest()[:48]}"
