"""
Tolerant readers of the values in a gateway's JSON. Does no I/O.

The vendors' pages contradict each other, and proxies of the gateways add shapes of their own. A value is read where its
meaning is plain (text for a number, milliseconds for seconds, a list for an object); otherwise it is ``None``, never a
guess and never 0. URLs are returned as they came.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from airflow_provider_apimart.gateway.response import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "find_failure",
    "find_image_urls",
    "find_task_objects",
    "read_integer",
    "read_json_text",
    "read_number",
    "read_timestamp",
]

#: Unix times in seconds have ten digits until the year 2286; larger ones are milli- or microseconds.
_LATEST_SECOND: Final = 1e11
#: Where a task object holds its pictures, or something that holds them.
_HOLDERS: Final = ("result", "output", "outputs", "images", "image", "result_url", "image_url", "image_urls", "urls")
#: Where a picture, or a holder of pictures, has its address or its content.
_ADDRESSES: Final = ("url", "urls", "uri", "image_url", "image_urls", "b64_json", "base64")
_NESTED: Final = ("images", "image", "data", "output", "outputs", "result")
_FAILURES: Final = ("error", "fail_reason", "failReason", "failure_reason", "failed_reason")
_MAX_DEPTH: Final = 8
_ID_KEYS: Final = ("task_id", "taskId", "taskID", "task-id")
#: First characters of the base64 form of picture formats.
_BASE64_TYPES: Final = {"iVBOR": "png", "/9j/": "jpeg", "UklGR": "webp", "R0lGOD": "gif", "PHN2Zy": "svg+xml"}


def read_number(value: Any) -> float | None:
    """Return a finite number from a number or a text, rounded to ten decimals, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number, 10) if math.isfinite(number) else None


def read_integer(value: Any) -> int | None:
    """Return a whole number from ``40``, ``40.0``, ``"40"`` or ``"40%"``, or ``None``."""
    if type(value) is int:  # The usual case, thousands of times a second; True is a bool.
        return value
    number = read_number(value.rstrip("% ") if isinstance(value, str) else value)
    return None if number is None else int(number)


def read_timestamp(value: Any) -> int | None:
    """
    Return Unix seconds from seconds, milliseconds, microseconds or an ISO 8601 text, or ``None``.

    0 and negative numbers mean that the gateway does not say.
    """
    number = read_number(value)
    if number is None:
        return _iso_timestamp(value) if isinstance(value, str) else None
    while number >= _LATEST_SECOND:
        number /= 1000
    return int(number) if number > 0 else None


def _iso_timestamp(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) or None
    except (ValueError, OverflowError):
        return None


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

    :param base_url: what a path such as ``/f/image/1.png`` is relative to.
    :return: an http(s) URL or a ``data:`` URI, byte for byte as the gateway gave it, with the Unix seconds at which it
        expires, or ``None`` where the gateway does not say.
    """
    seen = set()
    for name in _HOLDERS:
        for address, expires_at in _walk(data.get(name), None, 0):
            url = _absolute(address, base_url)
            if url is not None and url not in seen:
                seen.add(url)
                yield url, expires_at


def _walk(value: Any, expires_at: int | None, depth: int) -> Iterator[tuple[str, int | None]]:
    value = read_json_text(value)
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value, expires_at
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, expires_at, depth + 1)
    elif isinstance(value, dict):
        expires_at = read_timestamp(value.get("expires_at")) or expires_at
        for name in _ADDRESSES:
            content = value.get(name)
            if name in {"b64_json", "base64"}:
                content = _data_uri(content)
            yield from _walk(content, expires_at, depth + 1)
        for name in _NESTED:
            yield from _walk(value.get(name), expires_at, depth + 1)


def _data_uri(content: Any) -> str | None:
    if not isinstance(content, str) or not content or content.startswith(("data:", "http://", "https://")):
        return content if isinstance(content, str) else None
    kind = next((kind for start, kind in _BASE64_TYPES.items() if content.startswith(start)), "png")
    return f"data:image/{kind};base64,{content}"


def _absolute(address: str, base_url: str) -> str | None:
    """Return an address that can be downloaded, or ``None`` for anything else."""
    address = address.strip()
    if address.lower().startswith(("http://", "https://", "data:image/")):
        return address
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

    The id stands under ``task_id``, ``taskId`` or ``id``, at the top or below ``data``, ``result`` or ``task``.
    """
    return list(_task_objects(read_json_text(payload), 0, is_top=True))


def _task_objects(value: Any, depth: int, *, is_top: bool = False) -> Iterator[dict[str, Any]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _task_objects(item, depth + 1)
        return
    if not isinstance(value, dict):
        return
    named = next((value[name] for name in _ID_KEYS if _is_id(value.get(name))), None)
    # A plain "id" at the top may be that of the request; inside of data it is the task's.
    own = value.get("id")
    if named is None and _is_id(own) and (not is_top or "status" in value or str(own).startswith("task")):
        named = own
    if named is not None:
        yield {**value, "id": str(named)}
        return
    for name in ("data", "result", "task", "tasks", "output"):
        yield from _task_objects(read_json_text(value.get(name)), depth + 1)


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
