"""Asking servers what they have counted."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from benchmarks.certificates import Certificates

__all__ = ["counted_by"]


def counted_by(url: str, certificates: Certificates) -> dict[str, int]:
    """Return what a server says at ``/``."""
    context = ssl.create_default_context(cafile=certificates.bundle)
    counted: dict[str, int] = httpx.get(f"{url}/", verify=context, trust_env=False).raise_for_status().json()
    return counted
