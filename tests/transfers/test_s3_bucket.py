"""How a picture gets into a bucket, by which way, and what is believed of a store that says that it has it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError
from services.s3_proxy import S3Proxy, S3Rule
from transfers.failures import each_failure
from transfers.http_server import Answer, HttpServer
from transfers.picture_files import png

from airflow_provider_apimart.exceptions import ConfigurationError, InvalidRequestError, TransferError
from airflow_provider_apimart.gateway.images import recognise
from airflow_provider_apimart.transfers.download import Download
from airflow_provider_apimart.transfers.s3_bucket import S3Bucket, open_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.seaweedfs import SeaweedFS
    from transfers.conftest import Certificates, Store
    from transfers.http_server import Request

    Connect = Callable[..., str]

PICTURE = png(size=3_000_000)
CHECKSUM = base64.b64encode(hashlib.sha256(PICTURE).digest()).decode()
PNG = recognise(io.BytesIO(PICTURE))
#: An access point, which has an address of its own.
ARN = "arn:aws:s3:eu-central-1:123456789012:accesspoint/pictures"


def a_download() -> Download:
    return Download(io.BytesIO(PICTURE), len(PICTURE), hashlib.sha256(PICTURE).hexdigest(), 4, 3, PNG)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Return the id of an Airflow connection."""

    def make(endpoint: str | None = None, **extra: Any) -> str:
        where = {} if endpoint is None else {"endpoint_url": endpoint}
        connection = {
            "conn_type": "aws",
            "login": "access-key",
            "password": "s3cr3t",
            "extra": {"region_name": "us-east-1", **where, **extra},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_MADE_UP", json.dumps(connection))
        return "aws_made_up"

    return make


def opened(aws_conn_id: str, name: str = "a-bucket", **extra_args: Any) -> Any:
    return open_bucket(name, aws_conn_id=aws_conn_id, extra_args=extra_args, at_once=2)


class TestAStore:
    """One that answers as it likes, asked by the one way and by the other."""

    @pytest.fixture
    def server(self) -> Iterator[HttpServer]:
        with HttpServer(lambda _: Answer()) as server:
            yield server

    @pytest.fixture(params=[{}, {"CacheControl": "no-store"}], ids=["signed here", "boto3"])
    def bucket(self, request: pytest.FixtureRequest, server: HttpServer, connect: Connect) -> Iterator[S3Bucket]:
        with opened(connect(server.url("")), **request.param) as bucket:
            yield bucket

    def test_that_repeats_the_checksum_is_believed(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda _: Answer.holding(b"", x_amz_checksum_sha256=CHECKSUM)

        bucket.put("a-key", a_download(), {"a-fact": "of its making"})

        (request,) = server.requests
        assert (request.method, request.path) == ("PUT", "/a-bucket/a-key")
        assert request.sha256 == hashlib.sha256(PICTURE).hexdigest()
        assert request.headers["content-type"] == "image/png"
        assert request.headers["x-amz-checksum-sha256"] == CHECKSUM
        assert request.headers["x-amz-meta-a-fact"] == "of its making"

    def test_that_repeats_none_is_believed_by_the_size(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda request: Answer(length=len(PICTURE) if request.method == "HEAD" else 0)

        bucket.put("a-key", a_download(), {})

        assert [request.method for request in server.requests] == ["PUT", "HEAD"]

    def test_that_holds_another_size_is_not_believed(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda request: Answer(length=7 if request.method == "HEAD" else 0)

        with pytest.raises(TransferError, match="a-key holds 7 bytes after 3000000 bytes were written") as caught:
            bucket.put("a-key", a_download(), {})

        assert caught.value.retryable

    def test_that_repeats_another_checksum_is_not_believed(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda request: Answer(
            length=len(PICTURE) if request.method == "HEAD" else 0, headers={"x-amz-checksum-sha256": "another"}
        )

        with pytest.raises(TransferError, match="a-key holds") as caught:
            bucket.put("a-key", a_download(), {})

        assert caught.value.retryable

    def test_that_holds_nothing_is_not_believed(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda request: Answer(status=404 if request.method == "HEAD" else 200)

        with pytest.raises(TransferError, match="a-key holds nothing"):
            bucket.put("a-key", a_download(), {})

    def test_is_asked_once_what_it_holds(self, server: HttpServer, bucket: S3Bucket) -> None:
        server.answer = lambda _: Answer(
            length=9, headers={"X-Amz-Meta-sha256": "abc", "x-amz-meta-apimart-index": "0", "Content-Type": "image/gif"}
        )

        existing = bucket.look_up("a-key")

        assert existing is not None
        assert (existing.size, existing.content_type) == (9, "image/gif")
        assert existing.metadata == {"sha256": "abc", "apimart-index": "0"}
        assert len(server.requests) == 1


class TestAFailure:
    """Of what was signed here, after which boto3 does the same in its own way."""

    @pytest.fixture
    def proxy(self, s3_server: SeaweedFS) -> Iterator[S3Proxy]:
        with S3Proxy(s3_server.endpoint) as proxy:
            yield proxy

    @pytest.fixture
    def opened_bucket(
        self, s3_server: SeaweedFS, bucket: str, proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[S3Bucket]:
        connection = s3_server.connection
        connection["extra"]["endpoint_url"] = proxy.url
        monkeypatch.setenv("AIRFLOW_CONN_AWS_BY_PROXY", json.dumps(connection))
        with opened("aws_by_proxy", bucket) as opened_bucket:
            yield opened_bucket

    @each_failure
    def test_loses_nothing_and_doubles_nothing(
        self, opened_bucket: S3Bucket, proxy: S3Proxy, store: Store, action: Any, status: int
    ) -> None:
        failing = S3Rule("first-key", "PUT", action, status=status)
        proxy.add_rule(failing)

        for key in ("first-key", "second-key"):
            opened_bucket.put(key, a_download(), {"a-fact": "of its making"})

        assert (failing.seen, failing.fired) == (2, 1)
        assert store.keys() == ["first-key", "second-key"]
        assert store.body("first-key") == store.body("second-key") == PICTURE
        assert (
            store.head("first-key")["Metadata"] == store.head("second-key")["Metadata"] == {"a-fact": "of its making"}
        )

    def test_to_look_is_looked_after_again(self, opened_bucket: S3Bucket, proxy: S3Proxy, store: Store) -> None:
        store.put("a-key", b"body")
        proxy.add_rule(S3Rule("a-key", "HEAD", "refuse", status=503))

        existing = opened_bucket.look_up("a-key")

        assert existing is not None
        assert existing.size == 4

    def test_that_lasts_is_explained_by_boto3_without_a_secret(
        self, aws_connection: str, s3_server: SeaweedFS, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)

        with (
            opened(aws_connection, "no-such-bucket") as bucket,
            pytest.raises(TransferError, match=r"could not write s3://no-such-bucket/a-key: .*NoSuchBucket") as caught,
        ):
            bucket.put("a-key", a_download(), {})

        assert "A signed PUT was answered with HTTP 404" in caplog.text
        assert "Signature" not in str(caught.value)
        assert s3_server.secret_key not in str(caught.value) + caplog.text


class TestTheWay:
    """Into a bucket: signed here where that is all there is to it, else boto3's."""

    @pytest.mark.parametrize(
        ("extra_args", "header", "value"),
        [
            ({"ServerSideEncryption": "AES256"}, "x-amz-server-side-encryption", "AES256"),
            ({"StorageClass": "STANDARD_IA"}, "x-amz-storage-class", "STANDARD_IA"),
            ({"ACL": "bucket-owner-full-control"}, "x-amz-acl", "bucket-owner-full-control"),
            ({"Metadata": {"campaign": "spring"}}, "x-amz-meta-campaign", "spring"),
            ({"ContentType": "image/apng"}, "content-type", "image/apng"),
        ],
    )
    def test_is_boto3s_with_any_further_argument(
        self, connect: Connect, extra_args: dict[str, Any], header: str, value: str
    ) -> None:
        with (
            HttpServer(lambda _: Answer.holding(b"", x_amz_checksum_sha256=CHECKSUM)) as server,
            opened(connect(server.url("")), **extra_args) as bucket,
        ):
            bucket.put("a-key", a_download(), {"a-fact": "of its making"})

        (request,) = server.requests
        assert request.headers["user-agent"].startswith("Boto3")
        assert request.headers[header] == value
        assert request.headers["x-amz-meta-a-fact"] == "of its making"

    @pytest.mark.parametrize(
        ("extra", "name"),
        [
            pytest.param({"config_kwargs": {"signature_version": "unsigned"}}, "a-bucket", id="unsigned"),
            pytest.param({"config_kwargs": {"signature_version": "s3"}}, "a-bucket", id="another signature"),
            pytest.param({"config_kwargs": {"proxies": {"https": "http://127.0.0.1:1"}}}, "a-bucket", id="proxies"),
            pytest.param({"config_kwargs": {"proxies": {}}}, "a-bucket", id="no proxies"),
            pytest.param({"config_kwargs": {"client_cert": "client.pem"}}, "a-bucket", id="client certificate"),
            pytest.param({}, ARN, id="access point"),
            pytest.param({}, "a-bucket--use1-az4--x-s3", id="directory bucket"),
            pytest.param({}, "not a name", id="not a name"),
        ],
    )
    def test_is_boto3s_where_a_connection_asks_for_more(self, connect: Connect, extra: Any, name: str) -> None:
        with opened(connect(**extra), name) as bucket:
            assert bucket.signed is None

    @pytest.mark.parametrize("aws_conn_id", [None, "aws_made_up", "no_such_connection"])
    def test_needs_credentials(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch, aws_conn_id: str | None
    ) -> None:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        connect()
        monkeypatch.setenv("AIRFLOW_CONN_AWS_MADE_UP", json.dumps({"conn_type": "aws"}))

        with pytest.raises(ConfigurationError) as caught, opened(aws_conn_id):
            pass

        assert repr(aws_conn_id) in str(caught.value)
        assert "no picture was lost" in str(caught.value)
        assert (caught.value.charged, caught.value.retryable) == ("no", True)

    def test_leaves_a_wrong_name_to_each_picture(self, connect: Connect) -> None:
        with opened(connect(), "not a name") as bucket, pytest.raises(TransferError, match="Invalid bucket name"):
            bucket.put("a-key", a_download(), {})

    @pytest.mark.parametrize(
        ("extra", "name", "address"),
        [
            ({"region_name": "eu-central-1"}, "a-bucket", "https://a-bucket.s3.eu-central-1.amazonaws.com"),
            ({"region_name": "us-east-1"}, "a-bucket", "https://a-bucket.s3.amazonaws.com"),
            ({"region_name": "cn-north-1"}, "a-bucket", "https://a-bucket.s3.cn-north-1.amazonaws.com.cn"),
            ({"region_name": "eu-central-1"}, "with.dots", "https://s3.eu-central-1.amazonaws.com/with.dots"),
            (
                {"region_name": "eu-central-1", "config_kwargs": {"s3": {"addressing_style": "path"}}},
                "a-bucket",
                "https://s3.eu-central-1.amazonaws.com/a-bucket",
            ),
            (
                {"region_name": "eu-central-1", "config_kwargs": {"s3": {"use_accelerate_endpoint": True}}},
                "a-bucket",
                "https://a-bucket.s3-accelerate.amazonaws.com",
            ),
            (
                {"region_name": "eu-central-1", "config_kwargs": {"use_dualstack_endpoint": True}},
                "a-bucket",
                "https://a-bucket.s3.dualstack.eu-central-1.amazonaws.com",
            ),
            (
                {"region_name": "us-east-1", "endpoint_url": "https://store.example:9000/s3/"},
                "a-bucket",
                "https://store.example:9000/s3/a-bucket",
            ),
            (
                {
                    "region_name": "us-east-1",
                    "endpoint_url": "https://store.example",
                    "config_kwargs": {"s3": {"addressing_style": "virtual"}},
                },
                "a-bucket",
                "https://a-bucket.store.example",
            ),
        ],
    )
    def test_leads_to_where_boto3_would_go(self, connect: Connect, extra: Any, name: str, address: str) -> None:
        with opened(connect(**extra), name) as bucket:
            assert bucket.signed is not None
            assert bucket.signed._address == address
            assert bucket.signed._region == extra["region_name"]

    def test_asks_nobody_before_there_is_a_picture(self, connect: Connect) -> None:
        with HttpServer(lambda _: Answer()) as server, opened(connect(server.url(""))) as bucket:
            assert bucket.signed is not None
            assert server.requests == []
            assert bucket.client.head_object(Bucket="a-bucket", Key="a-key")["ContentLength"] == 0
            assert len(server.requests) == 1


class TestTls:
    @pytest.fixture
    def server(self, certificates: Certificates) -> Iterator[HttpServer]:
        def answer(_: Request) -> Answer:
            return Answer.holding(b"", x_amz_checksum_sha256=CHECKSUM)

        with HttpServer(answer, certificate=certificates.server) as server:
            yield server

    def test_accepts_the_authorities_of_the_connection(
        self, server: HttpServer, connect: Connect, certificates: Certificates
    ) -> None:
        with opened(connect(server.url(""), verify=str(certificates.authority))) as bucket:
            bucket.put("a-key", a_download(), {})

        assert [request.headers["user-agent"].startswith("python-urllib3") for request in server.requests] == [True]

    def test_accepts_the_authorities_that_the_environment_names(
        self, server: HttpServer, connect: Connect, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificates.authority))

        with opened(connect(server.url(""))) as bucket:
            bucket.put("a-key", a_download(), {})

        assert [request.headers["user-agent"].startswith("python-urllib3") for request in server.requests] == [True]

    def test_refuses_another_authority(self, server: HttpServer, connect: Connect, certificates: Certificates) -> None:
        connection = connect(
            server.url(""), verify=str(certificates.another_authority), config_kwargs={"retries": {"max_attempts": 0}}
        )

        with opened(connection) as bucket, pytest.raises(TransferError, match="certificate verify failed"):
            bucket.put("a-key", a_download(), {})

        assert server.requests == []

    def test_names_a_file_of_authorities_that_is_missing(self, connect: Connect) -> None:
        with pytest.raises(ConfigurationError, match=r"/missing\.pem"), opened(connect(verify="/missing.pem")):
            pass


class TestACustomersKey:
    """One that the store does not keep, and needs again to describe the object."""

    @pytest.mark.parametrize(
        "extra_args",
        [
            {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
            {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32, "CacheControl": "no-store"},
            {
                "SSECustomerAlgorithm": "AES256",
                "SSECustomerKey": base64.b64encode(b"k" * 32).decode(),
                "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(b"k" * 32, usedforsecurity=False).digest()).decode(),
            },
        ],
    )
    def test_goes_along_with_each_request(
        self, certificates: Certificates, connect: Connect, extra_args: dict[str, Any]
    ) -> None:
        def answer(request: Request) -> Answer:
            return Answer(status=404 if request.method == "HEAD" else 200, headers={"x-amz-checksum-sha256": CHECKSUM})

        with HttpServer(answer, certificate=certificates.server) as server:
            connection = connect(server.url(""), verify=str(certificates.authority))
            with opened(connection, **extra_args) as bucket, suppress(TransferError):
                bucket.put("a-key", a_download(), {}, if_absent=True)

        assert [request.method for request in server.requests][:2] == ["HEAD", "PUT"]
        for request in server.requests:
            assert request.headers["x-amz-server-side-encryption-customer-algorithm"] == "AES256"
            assert "x-amz-server-side-encryption-customer-key-md5" in request.headers


class TestAConditionalWrite:
    @pytest.mark.parametrize("extra_args", [{}, {"CacheControl": "no-store"}], ids=["signed here", "boto3"])
    def test_leaves_what_is_there(
        self, aws_connection: str, bucket: str, store: Store, extra_args: dict[str, Any]
    ) -> None:
        store.put("a-key", b"somebody's only copy")

        with opened(aws_connection, bucket, **extra_args) as opened_bucket:
            assert opened_bucket.put("another-key", a_download(), {}, if_absent=True)
            assert not opened_bucket.put("a-key", a_download(), {}, if_absent=True)
            assert opened_bucket.put("third-key", a_download(), {})

        assert store.body("a-key") == b"somebody's only copy"
        assert store.body("another-key") == store.body("third-key") == PICTURE

    @pytest.mark.parametrize("extra_args", [{}, {"CacheControl": "no-store"}], ids=["signed here", "boto3"])
    def test_by_many_at_once_is_won_by_one(
        self, aws_connection: str, bucket: str, store: Store, extra_args: dict[str, Any]
    ) -> None:
        with opened(aws_connection, bucket, **extra_args) as opened_bucket, ThreadPoolExecutor(8) as threads:
            written = list(
                threads.map(
                    lambda number: opened_bucket.put("a-key", a_download(), {"number": str(number)}, if_absent=True),
                    range(8),
                )
            )

        assert written.count(True) == 1
        assert store.head("a-key")["Metadata"] == {"number": str(written.index(True))}


def test_boto3_has_a_connection_for_each_thread(connect: Connect) -> None:
    for extra, expected in [({}, 32), ({"config_kwargs": {"max_pool_connections": 50}}, 50)]:
        with open_bucket("a-bucket", aws_conn_id=connect(**extra), extra_args={}, at_once=32) as bucket:
            assert bucket.client.meta.config.max_pool_connections == expected


def test_arguments_that_change_what_is_written_are_refused_before_anything_is(connect: Connect) -> None:
    with pytest.raises(InvalidRequestError, match="'Body' cannot be given here"), opened(connect(), Body=b""):
        pass


@dataclass
class UnreachableStore:
    """A client of a store that takes everything, and then cannot be reached."""

    def put_object(self, **_: Any) -> dict[str, Any]:
        return {}

    def head_object(self, **_: Any) -> dict[str, Any]:
        raise EndpointConnectionError(endpoint_url="http://store")


def test_a_store_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(TransferError, match="could not look up s3://a-bucket/a-key"):
        S3Bucket(UnreachableStore(), "a-bucket", {}).put("a-key", a_download(), {})
