"""Fixtures for datasets: files on disk, and the store of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.dataset.ledger.store import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.seaweedfs import SeaweedFS


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Write a file, a text in UTF-8, and return its path."""

    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def store(s3_server: SeaweedFS, bucket: str) -> LedgerStore:
    """An empty ledger in a real S3 server."""
    return LedgerStore(s3_server.client(), bucket, "catalogue")
