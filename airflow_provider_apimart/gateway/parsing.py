"""
Tolerant readers of the values in a gateway's JSON. Does no I/O.

The vendors' pages contradict each other, and proxies of the gateways add shapes of their own. A value is read where its
meaning is plain (text for a number, milliseconds for seconds, a list for an object); otherwise it is ``None``, never a
guess and never 0. URLs are returned as they came.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from airflow_provider_apimart.gateway.response import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "find_failure",
    "find_image_urls",
    "find_named_id",
    "find_task_objects",
    "read_integer",
    "read_json_text",
    "read_number",
    "read_timestamp",
]

#: Unix times in seconds have ten digits until the year 2286; larger ones are milli- or microseconds.
_LATEST_SECOND: Final = 1e11
#: A number that is larger is not a time, not even in nanoseconds.
_LATEST_NUMBER: Final = 1e20
#: Where a task object holds its pictures, or something that holds them, the likeliest first. Not ``image_urls``: at the
#: top of a task, that is the request's own list of reference images.
_HOLDERS: Final = ("result", "output", "outputs", "images", "data", "result_url", "urls", "image", "image_url", "url")
#: Where a picture, or a holder of pictures, has its address.
_ADDRESSES: Final = ("url", "urls", "uri", "image_url", "image_urls")
#: Where it has its content, which counts where it has no address.
_CONTENTS: Final = ("b64_json", "base64")
_NESTED: Final = ("images", "image", "data", "output", "outputs", "result")
_FAILURES: Final = ("error", "fail_reason", "failReason", "failure_reason", "failed_reason")
_MAX_DEPTH: Final = 8
_ID_KEYS: Final = ("task_id", "taskId", "taskID", "task-id")
#: An id of the gateways wherever it stands, even as a bare text.
_TASK_ID: Final = re.compile(r"task[-_](?=[\w-]*\d)[\w-]+")
#: First characters of the base64 form of picture formats. No two bytes decide: ``/wo`` may begin a path.
_BASE64_TYPES: Final = {"iVBOR": "png", "/9j/": "jpeg", "UklGR": "webp", "R0lGOD": "gif", "PHN2Zy": "svg+xml"}
#: The fewest characters of a text that is taken for a picture by its beginning alone.
_SHORTEST_BASE64: Final = 64


def read_number(value: Any) -> float | None:
    """Return a finite number from a number or a text, rounded to ten decimals, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number, 10) if math.isfinite(number) else None


def read_amount(value: Any) -> float | None:
    """Return an amount of money from a number or a text, or ``None``; an amount below 0 is not one."""
    number = read_number(value)
    return number if number is not None and number >= 0 else None


def read_integer(value: Any) -> int | None:
    """Return a whole number from ``40``, ``40.0``, ``"40"`` or ``"40%"``, or ``None``."""
    if type(value) is int:  # The usual case, thousands of times a second; True is a bool.
        return value
    number = read_number(value.rstrip("% ") if isinstance(value, str) else value)
    return None if number is None else int(number)


def read_timestamp(value: Any) -> int | None:
    """
    Return Unix seconds from seconds, milliseconds, microseconds or an ISO 8601 text, or ``None``.

    0, negative and absurd numbers mean that the gateway does not say.
    """
    number = read_number(value)
    if number is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
            number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if number is None or number >= _LATEST_NUMBER:
        return None
    while number >= _LATEST_SECOND:
        number /= 1000
    return int(number) if number >= 1 else None


def read_json_text(value: Any) -> Any:
    """Return what a text that is itself a JSON object or list stands for, and any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def find_image_urls(data: Mapping[str, Any], *, base_url: str) -> Iterator[tuple[str, int | None]]:
    """
    Yield address and expiry of each picture of a task object, each once, in the gateway's order.

    They are taken from the first field that holds any: others repeat them, or the request's reference images.

    :param base_url: what a path such as ``/f/image/1.png`` is relative to.
    :return: an http(s) URL or a ``data:`` URI, byte for byte as the gateway gave it, with the Unix seconds at which it
        expires, or ``None`` where the gateway does not say.
    """
    for name in _HOLDERS:
        pictures: dict[str, int | None] = {}
        for url, expires_at in _walk(data.get(name), None, base_url, 0):
            pictures.setdefault(url, expires_at)
        if pictures:
            yield from pictures.items()
            return


def _walk(value: Any, expires_at: int | None, base_url: str, depth: int) -> Iterator[tuple[str, int | None]]:
    value = read_json_text(value)
    if isinstance(value, str):
        if (url := _absolute(value, base_url)) is not None:
            yield url, expires_at
    elif depth > _MAX_DEPTH:
        return
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, expires_at, base_url, depth + 1)
    elif isinstance(value, dict):
        expires_at = read_timestamp(value.get("expires_at")) or expires_at

        def below(name: str) -> list[tuple[str, int | None]]:
            content = value.get(name) if name not in _CONTENTS else _data_uri(value.get(name))
            return list(_walk(content, expires_at, base_url, depth + 1))

        addresses = [picture for name in _ADDRESSES for picture in below(name)]
        yield from addresses or [picture for name in _CONTENTS for picture in below(name)]
        for name in _NESTED:
            yield from below(name)


def _data_uri(content: Any) -> str | None:
    """Return a picture's content as a URI; a content that is an address already, as it is."""
    if not isinstance(content, str) or not content or content.startswith(("data:", "http://", "https://")):
        return content if isinstance(content, str) else None
    return f"data:image/{_base64_type(content) or 'png'};base64,{content}"


def _base64_type(content: str) -> str | None:
    return next((kind for start, kind in _BASE64_TYPES.items() if content.startswith(start)), None)


def _absolute(address: str, base_url: str) -> str | None:
    """Return an address that can be downloaded, or ``None`` for anything else."""
    address = address.strip()
    if address[:11].lower().startswith(("http://", "https://", "data:image/")):
        return address
    if len(address) >= _SHORTEST_BASE64 and _base64_type(address):
        return _data_uri(address)
    if not address.startswith("/"):
        return None
    try:
        url = urljoin(f"{base_url}/", address)
    except ValueError:  # Two slashes and no host.
        return None
    return url if url.startswith(("http://", "https://")) else None


def find_task_objects(payload: Any) -> list[dict[str, Any]]:
    """
    Return the objects of a submit's response that name a task, each with its id as text under ``id``.

    The id stands under ``task_id``, ``taskId`` or ``id``, at the top or below ``data``, ``result`` or ``task``, or is a
    text that begins with ``task``.
    """
    return _task_objects(read_json_text(payload), 0)


def _task_objects(value: Any, depth: int) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"id": value}] if depth and _TASK_ID.fullmatch(value) else []
    if isinstance(value, list) and depth <= _MAX_DEPTH:
        return [item_object for item in value for item_object in _task_objects(item, depth + 1)]
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return []
    if (named := find_named_id(value)) is not None:
        return [{**value, "id": named}]
    nested = [
        nested_object
        for name in ("data", "result", "task", "tasks", "task_ids", "output")
        for nested_object in _task_objects(read_json_text(value.get(name)), depth + 1)
    ]
    own = value.get("id")
    # A plain "id" is that of the request at the top without a status, that of a picture beside an address or a content,
    # and that of an envelope around something that names a task.
    is_task = "status" in value or (depth and not any(value.get(name) for name in (*_ADDRESSES, *_CONTENTS)))
    if _is_id(own) and is_task and not any(find_named_id(item) for item in nested):
        return [{**value, "id": str(own)}]
    return nested


def find_named_id(value: Mapping[str, Any]) -> str | None:
    """Return the id of an object that can only be one of a task, or ``None``."""
    for name in _ID_KEYS:
        if _is_id(value.get(name)):
            return str(value[name])
    own = value.get("id")
    return own if isinstance(own, str) and own.startswith("task") else None


def _is_id(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, str | int) and bool(str(value).strip()) and value != 0


def find_failure(data: Mapping[str, Any]) -> tuple[str, str]:
    """Return code and message of a failed task: the gateways send objects, texts, JSON inside texts, and HTML."""
    error = next((data[name] for name in _FAILURES if data.get(name)), None)
    result = data.get("result")
    if not error and isinstance(result, dict):
        error = result.get("error")
    if not error:
        return "", ""
    if isinstance(error, dict):
        return str(error.get("code") or error.get("type") or ""), _plain(error.get("message") or "")
    return "", _plain(error)


def _plain(message: Any) -> str:
    """Return a failure's text: the innermost message of nested JSON, the first line of anything long."""
    text = str(message).strip()
    while text != (inner := first_line(_nested_message(text))):
        text = inner
    return text


def _nested_message(text: str) -> str:
    nested = read_json_text(text)
    if not isinstance(nested, dict):
        return text
    inner = nested.get("error", nested)
    return str((inner.get("message") if isinstance(inner, dict) else inner) or text).strip()
