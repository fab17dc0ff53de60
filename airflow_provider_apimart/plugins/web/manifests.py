"""The manifest of a dataset: what became of each of its rows, as an object in S3."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from gzip import GzipFile
from tempfile import TemporaryFile
from threading import Condition
from typing import Any, Final

from cachetools import LRUCache, cached

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE
from airflow_provider_apimart.plugins.web.stores import look, read_into

__all__ = ["MAX_BYTES", "Manifest", "read_manifest"]

#: The largest manifest that is read, decompressed: some forty thousand rows, which take 4 KB of memory each.
MAX_BYTES: Final = 32 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    The rows of a dataset.

    :param lines: see :meth:`airflow_provider_apimart.dataset.ledger.entry.Entry.to_line`; those of release 0.1 differ.
    :param uris: of all pictures.
    :param size: bytes of all lines.
    """

    lines: list[dict[str, Any]]
    uris: frozenset[str]
    size: int


def read_manifest(uri: str, *, aws_conn_id: str | None) -> Manifest:
    """
    Return a manifest, which is read again only when it has changed.

    :param uri: ``s3://bucket/key``; what ends with ``.gz`` is decompressed.
    :param aws_conn_id: connection of type ``aws``.
    :raises TransferError: when it cannot be read, is too large, or is not a manifest.
    """
    manifest: Manifest = _read(uri, look(uri, aws_conn_id=aws_conn_id).etag, aws_conn_id)
    return manifest


# Room for the largest, which would be read again for each page otherwise.
@cached(LRUCache(MAX_BYTES, getsizeof=lambda manifest: manifest.size), condition=Condition())
def _read(uri: str, etag: str, aws_conn_id: str | None) -> Manifest:  # noqa: ARG001 - part of the cache's key
    lines: list[dict[str, Any]] = []
    size = 0
    with TemporaryFile() as file:
        read_into(file, uri, aws_conn_id=aws_conn_id, max_bytes=MAX_BYTES)
        file.seek(0)
        content = GzipFile(fileobj=file) if uri.endswith(".gz") else file
        try:
            while line := content.readline(MAX_BYTES + 1):
                size += len(line)
                if size > MAX_BYTES:
                    raise TransferError(f"{uri} has more than {MAX_BYTES} bytes, and is not shown", charged="no")
                if line.strip():
                    lines.append(json.loads(line))
            uris = frozenset(held["uri"] for line in lines for held in line["objects"])
        except (EOFError, KeyError, OSError, TypeError, ValueError, RecursionError, zlib.error) as error:
            raise TransferError(
                f"{uri} is not a manifest that this release can read ({type(error).__name__}: {error})", charged="no"
            ) from error
    return Manifest(lines, uris, size)
