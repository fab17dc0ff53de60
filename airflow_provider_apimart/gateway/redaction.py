"""Keeps keys out of everything that is shown or stored."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["redact"]

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
