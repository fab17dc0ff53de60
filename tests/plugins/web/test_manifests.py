from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.manifests import MAX_BYTES, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.seaweedfs import SeaweedFS

    Put = Callable[[bytes], str]


@pytest.fixture(params=["manifest.jsonl.gz", "manifest.jsonl"], ids=["compressed", "as 0.1 wrote it"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def put(s3_server: SeaweedFS, bucket: str, name: str) -> Put:
    """Write a manifest, and return its address."""

    def put(body: bytes) -> str:
        content = gzip.compress(body) if name.endswith(".gz") else body
        s3_server.client().put_object(Bucket=bucket, Key=name, Body=content)
        return f"s3://{bucket}/{name}"

    return put


def line(row_id: str, *uris: str, **more: Any) -> bytes:
    return json.dumps({"id": row_id, "objects": [{"uri": uri} for uri in uris], **more}).encode() + b"\n"


def test_a_manifest_lists_rows_and_pictures(put: Put, aws_connection: str) -> None:
    uri = put(
        line("a", "s3://bucket/a-0.png", "s3://bucket/a-1.png") + b"\n" + line("b") + line("c", "s3://bucket/c.png")
    )

    manifest = read_manifest(uri, aws_conn_id=aws_connection)

    assert [row["id"] for row in manifest.lines] == ["a", "b", "c"]
    assert manifest.uris == {"s3://bucket/a-0.png", "s3://bucket/a-1.png", "s3://bucket/c.png"}


def test_a_manifest_is_read_again_when_it_has_changed(put: Put, aws_connection: str) -> None:
    uri = put(line("a"))
    first = read_manifest(uri, aws_conn_id=aws_connection)
    assert read_manifest(uri, aws_conn_id=aws_connection) is first

    put(line("b"))

    assert [row["id"] for row in read_manifest(uri, aws_conn_id=aws_connection).lines] == ["b"]


def test_the_largest_manifest_is_kept_too(put: Put, aws_connection: str) -> None:
    uri = put(line("a", padding="x" * (MAX_BYTES - 100)))

    assert read_manifest(uri, aws_conn_id=aws_connection) is read_manifest(uri, aws_conn_id=aws_connection)


def test_a_larger_one_is_not_read(put: Put, aws_connection: str) -> None:
    with pytest.raises(TransferError, match=r"(is larger|has more) than 33554432 bytes, and is not shown"):
        read_manifest(put(bytes(MAX_BYTES + 1)), aws_conn_id=aws_connection)


@pytest.mark.parametrize(
    "body", [b"no manifest", b"7", b"[]", b"{}", b'{"objects": null}', b'{"objects": [{}]}', b"[" * 5000, b"\xff"]
)
def test_another_file_is_an_error(put: Put, aws_connection: str, body: bytes) -> None:
    with pytest.raises(TransferError, match="is not a manifest that this release can read"):
        read_manifest(put(body), aws_conn_id=aws_connection)


@pytest.mark.parametrize("name", ["manifest.jsonl.gz"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not gzip",
        gzip.compress(line("a"), mtime=0)[:-5],
        gzip.compress(line("a") * 99, mtime=0)[:50] + b"x" * 50,
    ],
)
def test_so_is_one_that_cannot_be_decompressed(
    s3_server: SeaweedFS, bucket: str, aws_connection: str, name: str, body: bytes
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key=name, Body=body)
    uri = f"s3://{bucket}/{name}"
    if body:
        with pytest.raises(TransferError, match="is not a manifest that this release can read"):
            read_manifest(uri, aws_conn_id=aws_connection)
    else:
        assert read_manifest(uri, aws_conn_id=aws_connection).lines == []
