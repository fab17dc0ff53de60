"""Clients of HTTP and S3 that take a millisecond to make instead of a hundred: tests make some thousands of each."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import trustme
from botocore.loaders import JSONFileLoader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_service_models_once", "trust_one_authority"]


def read_service_models_once() -> None:
    """Let all sessions of boto3 in this process share what they have read of its files, which they do not change."""
    read = JSONFileLoader.load_file

    @cache
    def read_once(path: str) -> Any:
        return read(JSONFileLoader(), path)

    JSONFileLoader.load_file = lambda _self, path: read_once(path)


def trust_one_authority(file: Path) -> None:
    """
    Let this process, and those that it starts, read one certificate for each client instead of a hundred and fifty.

    :param file: is made. Its authority has signed nothing, and no test needs one of the system's.
    """
    trustme.CA().cert_pem.write_to_path(str(file))
    os.environ["SSL_CERT_FILE"] = str(file)
