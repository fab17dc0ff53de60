"""One reference image that was uploaded, as a value and as a line of JSON. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["LIFETIME", "Upload", "read_line", "to_line"]

#: Seconds for which the URL of an upload lives, by the vendor's page on uploads.
LIFETIME: Final = 72 * 60 * 60
#: Seconds before its end when a URL is not given to a gateway any more, which fetches a reference image not when it
#: accepts a request, but when it works on it.
_MARGIN: Final = 2 * 60 * 60
_VERSION: Final = 1
_TYPES: Final = {"address": str, "gateway": str, "url": str, "sha256": str, "bytes": int, "expires_at": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """
    One reference image at a gateway.

    :param address: what the dataset calls it.
    :param gateway: base URL of the gateway that it was uploaded to.
    :param url: by which the gateway finds it.
    :param sha256: of its content, in hexadecimal digits.
    :param bytes: its size.
    :param expires_at: Unix seconds.
    """

    address: str
    gateway: str
    url: str
    sha256: str
    bytes: int
    expires_at: float

    def is_usable(self, now: float) -> bool:
        """
        Whether a request that goes out now may name the URL.

        :param now: Unix seconds.
        """
        return now < self.expires_at - _MARGIN


def to_line(upload: Upload) -> bytes:
    """Return the upload as a line, without its end; the time in ISO 8601 (UTC)."""
    expires_at = datetime.fromtimestamp(upload.expires_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({**asdict(upload), "expires_at": expires_at, "schema_version": _VERSION}).encode()


def read_line(line: bytes) -> Upload:
    """
    Read what :func:`to_line` gave.

    :raises ValueError: for anything else.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        if values["schema_version"] != _VERSION:
            raise ValueError(f"schema_version is {values['schema_version']!r}")  # noqa: TRY301 - one message for all
        if wrong := [name for name, kind in _TYPES.items() if type(values[name]) is not kind]:
            raise TypeError(f"{wrong[0]} is {values[wrong[0]]!r:.80}")  # noqa: TRY301 - likewise
        expires_at = datetime.fromisoformat(values["expires_at"])
        if expires_at.tzinfo is None:
            raise ValueError("expires_at names no time zone")  # noqa: TRY301 - likewise
        return Upload(**{**{name: values[name] for name in _TYPES}, "expires_at": expires_at.timestamp()})
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"no line about an upload ({type(error).__name__}: {error})") from error
