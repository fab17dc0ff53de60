"""Clients of HTTP and S3 that take a millisecond to make instead of a hundred: tests make some thousands of each."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

import trustme
from botocore.loaders import JSONFileLoader, Loader

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_service_models_once", "trust_one_authority"]


def read_service_models_once() -> None:
    """Let all sessions of boto3 in this process share what they have read of its files, which they do not change."""
    read, list_all = JSONFileLoader.load_file, Loader.list_available_services

    @cache
    def read_once(path: str) -> Any:
        return read(JSONFileLoader(), path)

    @cache
    def list_once(type_name: str, *paths: str) -> list[str]:
        return list_all(Loader(extra_search_paths=paths, include_default_search_paths=False), type_name)

    JSONFileLoader.load_file = lambda _self, path: read_once(path)
    Loader.list_available_services = lambda self, type_name: list_once(type_name, *self.search_paths)


def trust_one_authority(file: Path) -> None:
    """
    Let this process and its children read one certificate for each client instead of a hundred and fifty.

    :param file: is made. Its authority has signed nothing, and no test needs one of the system's.
    """
    trustme.CA().cert_pem.write_to_path(str(file))
    os.environ["SSL_CERT_FILE"] = str(file)
