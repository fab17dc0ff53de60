"""Fixtures for datasets: files on disk and their addresses, and the objects of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

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
def objects(s3_server: SeaweedFS, bucket: str) -> LedgerObjects:
    """An empty ledger in a real S3 server."""
    return LedgerObjects(s3_server.client(), bucket, "catalogue")
