"""The beginning of a text that somebody else wrote, as people and databases can have it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["excerpt"]

_LENGTH: Final = 200
#: What UTF-8 has no form for, or PostgreSQL.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def excerpt(text: str) -> str:
    """Return the first 200 characters, with a replacement character for those that cannot be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_LENGTH])
