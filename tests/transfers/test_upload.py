"""What is believed of a store that says that it has a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers._download import Download
from airflow_provider_apimart.transfers._image_format import recognise
from airflow_provider_apimart.transfers._upload import Bucket

PNG = b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82"


@dataclass
class Store:
    """Answers as a store may that is not quite S3."""

    size: int = len(PNG)
    checksum: str | None = None
    is_reachable: bool = True

    def put_object(self, **_: Any) -> dict[str, Any]:
        return {} if self.checksum is None else {"ChecksumSHA256": self.checksum}

    def head_object(self, **_: Any) -> dict[str, Any]:
        if not self.is_reachable:
            raise EndpointConnectionError(endpoint_url="http://store")
        return {"ContentLength": self.size}


def put(store: Store) -> None:
    image_format = recognise(PNG, PNG, len(PNG))
    download = Download(io.BytesIO(PNG), len(PNG), "00" * 32, 1, 1, image_format)
    Bucket(store, "a-bucket", {}).put("a-key", download, {})


def test_a_store_that_returns_no_checksum_is_believed_by_the_size() -> None:
    put(Store())


@pytest.mark.parametrize("store", [Store(size=3), Store(checksum="another")], ids=["size", "checksum"])
def test_a_store_that_has_something_else_is_not_believed(store: Store) -> None:
    with pytest.raises(TransferError, match=r"s3://a-bucket/a-key holds") as caught:
        put(store)

    assert caught.value.retryable


def test_a_store_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(TransferError, match="could not look at s3://a-bucket/a-key"):
        put(Store(is_reachable=False))
