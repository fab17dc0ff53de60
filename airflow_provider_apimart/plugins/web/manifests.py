"""What a dataset has become, as its manifest in S3 says. I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from tempfile import TemporaryFile
from threading import Condition
from typing import Any, Final

from cachetools import LRUCache, cached

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.plugins.web.stores import look, read_into

__all__ = ["MAX_BYTES", "Manifest", "read_manifest"]

#: The largest manifest that is read: some forty thousand rows, which take 4 KB of memory each.
MAX_BYTES: Final = 32 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    The rows of a dataset.

    :param lines: see :mod:`airflow_provider_apimart.dataset.line`.
    :param uris: of all pictures.
    :param size: bytes that it has in S3.
    """

    lines: list[dict[str, Any]]
    uris: frozenset[str]
    size: int


def read_manifest(uri: str, *, aws_conn_id: str | None) -> Manifest:
    """
    Return a manifest, which is read again only when it has changed.

    :param uri: ``s3://bucket/key``.
    :param aws_conn_id: connection of type ``aws``.
    :raises TransferError: when it cannot be had, is too large, or is none.
    """
    manifest: Manifest = _read(uri, look(uri, aws_conn_id=aws_conn_id).etag, aws_conn_id)
    return manifest


# Room for the largest: it would be read anew for each page otherwise.
@cached(LRUCache(MAX_BYTES, getsizeof=lambda manifest: manifest.size), condition=Condition())
def _read(uri: str, etag: str, aws_conn_id: str | None) -> Manifest:  # noqa: ARG001 - part of the cache's key
    with TemporaryFile() as file:
        size = read_into(file, uri, aws_conn_id=aws_conn_id, max_bytes=MAX_BYTES).size
        file.seek(0)
        try:
            lines = [json.loads(line) for line in file if line.strip()]
            uris = frozenset(held["uri"] for line in lines for held in line["objects"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise TransferError(
                f"{uri} is no manifest of this release ({type(error).__name__}: {error})", charged="no"
            ) from error
    return Manifest(lines, uris, size)
