from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.stores import client_of, look, place_of, read_into

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from services.seaweedfs import SeaweedFS

#: A name that is part of the address in a URL, of a path, and of a query.
KEY = "pictures/a b/?c=d#e%2F-ä.png"


@pytest.fixture
def put(s3_server: SeaweedFS, bucket: str) -> Any:
    def put(key: str, body: bytes, **metadata: str) -> str:
        s3_server.client().put_object(Bucket=bucket, Key=key, Body=body, Metadata=metadata)
        return f"s3://{bucket}/{key}"

    return put


def test_an_object_is_described_without_its_content(put: Any, aws_connection: str) -> None:
    found = look(put(KEY, b"content", width="4"), aws_conn_id=aws_connection)

    assert found.size == 7
    assert found.metadata == {"width": "4"}
    assert found.etag


def test_an_object_is_read_into_a_file_whatever_its_key(put: Any, aws_connection: str) -> None:
    uri, file = put(KEY, b"content", width="4"), io.BytesIO()

    found = read_into(file, uri, aws_conn_id=aws_connection, max_bytes=7)

    assert file.getvalue() == b"content"
    assert found == look(uri, aws_conn_id=aws_connection)


def test_an_object_that_is_too_large_is_not_read(put: Any, aws_connection: str) -> None:
    uri, file = put(KEY, b"content"), io.BytesIO()

    with pytest.raises(TransferError, match="is larger than 6 bytes"):
        read_into(file, uri, aws_conn_id=aws_connection, max_bytes=6)

    assert file.getvalue() == b""


def test_an_object_that_is_not_there_is_told_from_one_that_cannot_be_had(bucket: str, aws_connection: str) -> None:
    with pytest.raises(TransferError, match="could not be read") as missing:
        look(f"s3://{bucket}/nothing.png", aws_conn_id=aws_connection)
    with pytest.raises(TransferError, match="could not be read"):
        read_into(io.BytesIO(), f"s3://{bucket}/nothing.png", aws_conn_id=aws_connection, max_bytes=1)

    assert missing.value.status_code == 404


def test_credentials_that_neither_airflow_nor_its_machine_has_are_missed_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(TransferError, match=r"could not be read \(NoCredentialsError\)"):
        look("s3://bucket/1.png", aws_conn_id="aws_forgotten")


def test_a_store_that_does_not_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_NOBODY", json.dumps({**nobody, "login": "key", "password": "word"}))

    with pytest.raises(TransferError, match=r"could not be read \(EndpointConnectionError\)"):
        look("s3://bucket/1.png", aws_conn_id="aws_nobody")

    config = client_of("aws_nobody").meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 20)
    assert config.retries["total_max_attempts"] == 2


def test_what_the_connection_says_of_the_client_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"region_name": "eu-central-1", "config_kwargs": {"s3": {"addressing_style": "path"}}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_BY_PATH", json.dumps({"conn_type": "aws", "extra": settings}))

    client = client_of("aws_by_path")

    assert client.meta.region_name == "eu-central-1"
    assert client.meta.config.s3 == {"addressing_style": "path"}
    assert client.meta.config.read_timeout == 20


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/a.png", ("bucket", "a.png")),
        ("s3://bucket//a/?b#c.png", ("bucket", "/a/?b#c.png")),
        (
            "s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/pictures/a/b.png",
            ("arn:aws:s3:eu-central-1:123456789012:accesspoint/pictures", "a/b.png"),
        ),
        (
            "s3://arn:aws:s3-outposts:eu-central-1:123456789012:outpost/op-1/accesspoint/pictures/a.png",
            ("arn:aws:s3-outposts:eu-central-1:123456789012:outpost/op-1/accesspoint/pictures", "a.png"),
        ),
    ],
)
def test_an_address_is_a_bucket_and_a_key(uri: str, place: tuple[str, str]) -> None:
    assert place_of(uri) == place


@pytest.mark.parametrize("uri", ["", "s3://", "s3://bucket", "s3://bucket/", "s3:///a.png", "https://bucket/a.png"])
def test_what_is_no_address_of_an_object_is_read_nowhere(uri: str, aws_connection: str) -> None:
    with pytest.raises(TransferError, match="could not be read"):
        look(uri, aws_conn_id=aws_connection)


def test_a_connection_that_makes_no_client_is_told_so_without_its_details(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "aws", "extra": {"endpoint_url": "no url at all", "region_name": "us-east-1"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_WRONG", json.dumps(connection))

    with pytest.raises(TransferError, match=r"^s3://bucket/1.png could not be read \(ValueError\)$"):
        look("s3://bucket/1.png", aws_conn_id="aws_wrong")


def test_threads_that_ask_at_the_same_time_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_SHARED", json.dumps({"conn_type": "aws"}))

    with ThreadPoolExecutor(8) as pool:
        clients: list[S3Client] = list(pool.map(client_of, ["aws_shared"] * 8))

    assert len({id(client) for client in clients}) == 1
