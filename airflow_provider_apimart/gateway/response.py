"""One HTTP response of a gateway as a value, and what may be shown of third-party text."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import UnreadableAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_RETRY_AFTER", "Response", "excerpt", "first_line", "parse_retry_after", "quoted", "redact"]

#: Seconds. A longer pause than this is not taken from a response: finished pictures live for about a day.
MAX_RETRY_AFTER: Final = 3600.0
#: Characters of third-party text in one log line.
_MAX_LINE: Final = 300
_EXCERPT: Final = 200
#: What UTF-8 has no form for, and what PostgreSQL does not store.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
#: Whatever could begin a new line in a log, or move the cursor of a terminal.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: A shorter text is not a key, and occurs inside ordinary words: a simulator accepts any key.
_SHORTEST_SECRET: Final = 8
_KEY_LIKE: Final = re.compile(r"\b(?:(sk-)(?=[\w-]{16}|[A-Za-z]*\d)[\w-]{6,}|(Bearer\s+)[\w.-]{6,})", re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """
    Status, headers and body of one HTTP response, as received.

    :param headers: a mapping whose look-up ignores case, such as ``httpx.Headers``.
    :param text: the body. Nothing in it is rewritten: values such as URLs are used as they came.
    """

    status_code: int
    headers: Mapping[str, str]
    text: str

    @cached_property
    def payload(self) -> Any:
        """The body as JSON, or ``None`` where it is not JSON. A byte order mark is skipped."""
        try:
            return json.loads(self.text.lstrip("\ufeff"))
        except (ValueError, RecursionError):
            return None

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx, which does not yet mean that the body reports a success."""
        return 200 <= self.status_code < 300  # noqa: PLR2004 - HTTP's own range

    @property
    def request_id(self) -> str | None:
        """The gateway's id of the request, for its support."""
        for name in ("x-oneapi-request-id", "x-request-id"):
            if value := self.headers.get(name):
                return excerpt(value)
        return None

    @property
    def first_line(self) -> str:
        """The first line of the body that has text: enough to recognise the HTML page of a proxy."""
        return first_line(self.text) or "(empty)"

    @property
    def retry_after(self) -> float | None:
        """Seconds for which the gateway asks to pause, or ``None``."""
        asked = parse_retry_after(self.headers.get("retry-after"), date=self.headers.get("date"))
        if asked is not None or not isinstance(self.payload, dict):
            return asked
        error = self.payload.get("error")
        value = self.payload.get("retry_after", error.get("retry_after") if isinstance(error, dict) else None)
        return parse_retry_after(None if value is None else str(value))

    def unreadable(self, problem: str, api_key: str = "") -> UnreadableAnswerError:
        """Return the error for a response that is not understood; it quotes the response, without the key."""
        shown = redact(self.first_line, api_key) if self.payload is None else quoted(self.payload, api_key)
        return UnreadableAnswerError(f"{problem}: {shown}", status_code=self.status_code, request_id=self.request_id)


def parse_retry_after(value: str | None, *, date: str | None = None) -> float | None:
    """
    Return the seconds that a ``Retry-After`` header asks for, at most :data:`MAX_RETRY_AFTER`.

    :param value: seconds, or an HTTP date.
    :param date: the ``Date`` header of the same response. An HTTP date is measured against it, because the clocks of
        two machines differ; against this machine's clock where it is missing.
    :return: ``None`` where the header does not ask for a pause, or cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until = _timestamp(value)
        if until is None:
            return None
        now = None if date is None else _timestamp(date)
        seconds = until - (time.time() if now is None else now)
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds > 0 else None


def _timestamp(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        # Without a zone it is UTC, as HTTP wants it; Python would take this machine's.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def first_line(text: str) -> str:
    """Return the first line that has text, at most 300 characters, without control characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = _CONTROL.sub(" ", line)
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


def excerpt(text: str) -> str:
    """Return a short excerpt of third-party text, safe to store: at most 200 characters."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_EXCERPT])


def quoted(value: Any, *secrets: str) -> str:
    """
    Return a JSON value as one short line for an error message, so that a person can still use what the code cannot.

    :param secrets: see :func:`redact`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", first_line(redact(text, *secrets)))


def redact(text: str, *secrets: str) -> str:
    """
    Return a text that is to be shown, without the given secrets and whatever looks like an API key.

    Only for messages. Applied to data, it would break the URL of a picture named ``sk-ii-essence.png``.

    :param secrets: exact texts to remove; those shorter than 8 characters are ignored. An excerpt may have cut one off.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = _without(secret, text.replace(secret, "***"))
    return _KEY_LIKE.sub(lambda key: f"{key[1] or key[2]}***", text)


def _without(secret: str, text: str) -> str:
    """Return a text without the beginnings of a secret where an excerpt ends with them."""
    place = text.find(secret[:_SHORTEST_SECRET])
    while place >= 0:
        end = place + _SHORTEST_SECRET
        while end < len(text) and text[end] == secret[end - place : end - place + 1]:
            end += 1
        if end == len(text) or text.startswith(("...", "…", "'", '"'), end):
            text = f"{text[:place]}***{text[end:]}"
        place = text.find(secret[:_SHORTEST_SECRET], place + 1)
    return text
