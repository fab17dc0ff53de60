"""Keys under which a gateway recognises a paid request that it has seen before."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["digest", "fingerprint", "idempotency_key"]


def digest(value: Any) -> str:
    """Return 64 hexadecimal digits that are the same for equal JSON values, whatever the order of their keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def fingerprint(*, connection_id: str, path: str, body: Mapping[str, Any]) -> str:
    """Return a digest of what is asked for and of whom: another account's picture is another picture."""
    return digest([connection_id, path, body])


def idempotency_key(*identity: str | int) -> str:
    """
    Return the key for a purchase, the same on every machine for the same identity.

    :param identity: whatever tells this purchase from all others, in a fixed order.
    """
    joined = "\0".join(str(part) for part in identity)
    return f"airflow-{hashlib.sha256(joined.encode()).hexdigest()[:48]}"
