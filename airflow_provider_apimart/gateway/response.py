"""
One HTTP answer of a gateway, as a value.

The beginning of a text that somebody else wrote, as people and databases can have it.

Keeps keys out of everything that is shown or stored.

The header by which a gateway asks for a pause.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Response", "excerpt", "first_line", "parse_retry_after", "redact"]

#: Characters: what a log line can show of somebody else's text.
_MAX_LINE: Final = 300


def first_line(text: str) -> str:
    """Return the first line that says anything, shortened."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


@dataclass(frozen=True)
class Response:
    """
    Status, headers and body of one HTTP answer.

    :param headers: any mapping whose look-up ignores case, as that of httpx does.
    """

    status_code: int
    headers: Mapping[str, str]
    text: str

    @cached_property
    def payload(self) -> Any:
        """The body read as JSON, or ``None`` where it is something else."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the request, for its support."""
        for name in ("x-oneapi-request-id", "x-request-id"):
            if value := self.headers.get(name):
                return value
        return None

    @property
    def first_line(self) -> str:
        """The first line of the body that says anything: enough to recognise a stray HTML page."""
        return first_line(self.text) or "(empty)"


_LENGTH: Final = 200
#: What UTF-8 has no form for, or PostgreSQL.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def excerpt(text: str) -> str:
    """Return the first 200 characters, with a replacement character for those that cannot be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_LENGTH])


#: Shorter texts are nobody's key, and stand in the middle of ordinary words: a simulator takes any key.
_SHORTEST_SECRET: Final = 8

_KEY_LIKE = re.compile(r"\b(sk-|Bearer\s+)[\w.-]{6,}", re.IGNORECASE)


def redact(text: str, *secrets: str) -> str:
    """
    Return the text without the given secrets, and without whatever looks like an API key.

    :param secrets: exact texts to take out; those shorter than 8 characters are passed over.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return _KEY_LIKE.sub(r"\1***", text)


def parse_retry_after(value: str | None, *, now: Callable[[], float] = time.time) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks for, or ``None`` where it says nothing usable.

    :param value: seconds, or an HTTP date.
    :param now: the clock that a date is measured against, in Unix seconds.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
