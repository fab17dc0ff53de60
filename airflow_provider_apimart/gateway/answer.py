"""One HTTP answer of a gateway, as a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "first_line"]

#: Characters: what a log line can show of somebody else's text.
_MAX_LINE: Final = 300


def first_line(text: str) -> str:
    """Return the first line that says anything, shortened."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


@dataclass(frozen=True)
class Answer:
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
