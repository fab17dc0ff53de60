"""Requests that are signed here, as a real S3 server takes them, and when they are left to boto3."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials
from services.s3_proxy import S3Proxy, S3Rule
from services.seaweedfs import REGION
from transfers.failures import each_failure
from transfers.http_server import Answer, HttpServer

from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.s3_signed import SignedRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.seaweedfs import SeaweedFS
    from transfers.conftest import Store

    SignedRequestsTo = Callable[..., SignedRequests]

BODY = b"the picture" * 100_000
SHA256 = hashlib.sha256(BODY).hexdigest()
SOMEBODY = Credentials("access-key", "s3cr3t")
KEYS = [
    "plain/key.png",
    "with spaces /in it",
    "plus+tilde~equals=",
    "\u00fcber/\u65e5\u672c/\U0001f600",
    "100%",
    "a%20b%2Fc",
    "question?mark#hash",
    "all&the;rest:of,it@$!*'()[]{}|^`\"<>",
    "dots./.in/..names",
]
#: What some stores take for another key. It is for them, but they must be asked for the same as by boto3.
DISPUTED_KEYS = ["/slash", "//two", "double//slash", "slash/", "back\\slash"]


@pytest.fixture
def connections() -> Iterator[HttpConnections]:
    with closing(HttpConnections(at_once=2)) as connections:
        yield connections


@pytest.fixture
def signed_requests_to(connections: HttpConnections) -> SignedRequestsTo:
    def make(address: str, credentials: Credentials, region: str = REGION) -> SignedRequests:
        return SignedRequests(connections, address=address, credentials=credentials, region=region)

    return make


@pytest.fixture
def address(s3_server: SeaweedFS, bucket: str) -> str:
    return f"{s3_server.endpoint}/{bucket}"


@pytest.fixture
def credentials(s3_server: SeaweedFS) -> Credentials:
    return Credentials(s3_server.access_key, s3_server.secret_key)


@pytest.fixture
def signed(signed_requests_to: SignedRequestsTo, address: str, credentials: Credentials) -> SignedRequests:
    return signed_requests_to(address, credentials)


@pytest.fixture
def server(connections: HttpConnections) -> Iterator[HttpServer]:
    """Takes anything for granted."""
    with HttpServer(lambda _: Answer()) as server:
        yield server
        connections.close()


def put(signed: SignedRequests, key: str = "a-key", **headers: str) -> tuple[int, Any] | None:
    return signed.put(key, io.BytesIO(BODY), {"Content-Length": str(len(BODY)), **headers}, sha256=SHA256)


def renewed_by(renew: Callable[[], dict[str, str | None]]) -> Credentials:
    """Return credentials that have expired."""
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    return RefreshableCredentials("expired", "expired", None, an_hour_ago, renew, "test")


class TestHead:
    def test_of_a_key_that_holds_nothing_says_so(self, signed: SignedRequests) -> None:
        answer = signed.head("nothing")

        assert answer is not None
        assert answer[0] == 404

    def test_of_an_object_describes_it(self, signed: SignedRequests, store: Store) -> None:
        metadata = {"sha256": "abc", "apimart-model": "a  name   with spaces"}
        store.client.put_object(
            Bucket=store.name, Key="a-key", Body=b"body", ContentType="image/png", Metadata=metadata
        )

        answer = signed.head("a-key")

        assert answer is not None
        status, headers = answer
        assert status == 200
        assert (headers["content-length"], headers["content-type"]) == ("4", "image/png")
        assert {name: headers[f"x-amz-meta-{name}"] for name in metadata} == metadata


class TestPut:
    @pytest.mark.parametrize("key", KEYS)
    def test_writes_under_exactly_the_key(self, signed: SignedRequests, store: Store, key: str) -> None:
        assert put(signed, key) is not None

        assert store.keys() == [key]
        assert store.body(key) == BODY
        assert signed.head(key) is not None

    @pytest.mark.parametrize("key", [*KEYS, *DISPUTED_KEYS])
    def test_goes_to_the_same_path_as_that_of_boto3(
        self, signed_requests_to: SignedRequestsTo, server: HttpServer, key: str
    ) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=server.url(""),
            region_name=REGION,
            aws_access_key_id=SOMEBODY.access_key,
            aws_secret_access_key=SOMEBODY.secret_key,
            config=Config(proxies={}),
        )

        put(signed_requests_to(server.url("/a-bucket"), SOMEBODY), key)
        with closing(client):
            client.put_object(Bucket="a-bucket", Key=key, Body=BODY)

        ours, theirs = (request.path for request in server.requests)
        assert ours == theirs

    @pytest.mark.parametrize("key", ["a/../b", "../b", "./b", "a/.", ".."])
    def test_leaves_a_key_that_a_url_does_not_keep_to_boto3(
        self, signed: SignedRequests, store: Store, key: str
    ) -> None:
        assert put(signed, key) is None
        assert signed.head(key) is None

        assert store.keys() == []
        assert put(signed, "another-key") is not None

    def test_writes_content_type_and_metadata(self, signed: SignedRequests, store: Store) -> None:
        metadata = {"x-amz-meta-apimart-model": "a  name   with spaces", "x-amz-meta-empty": ""}

        put(signed, **{"Content-Type": "image/png", **metadata})

        head = store.head("a-key")
        assert head["ContentType"] == "image/png"
        assert head["Metadata"]["apimart-model"] == "a  name   with spaces"

    def test_of_another_body_than_its_checksum_says_is_refused(self, signed: SignedRequests, store: Store) -> None:
        another = base64.b64encode(hashlib.sha256(b"another").digest()).decode()

        assert put(signed, **{"x-amz-checksum-sha256": another}) is None
        assert store.keys() == []

    def test_signs_the_digest_of_the_body_without_reading_it_twice(
        self, signed_requests_to: SignedRequestsTo, server: HttpServer
    ) -> None:
        class ReadOnce(io.BytesIO):
            def seek(self, *_: int) -> int:
                raise AssertionError

        signed_requests_to(server.url("/a-bucket"), SOMEBODY).put(
            "a-key", ReadOnce(BODY), {"Content-Length": str(len(BODY))}, sha256=SHA256
        )

        (request,) = server.requests
        assert request.headers["x-amz-content-sha256"] == request.sha256 == SHA256


class TestCredentials:
    def test_that_expire_are_renewed(
        self, signed_requests_to: SignedRequestsTo, s3_server: SeaweedFS, address: str, store: Store
    ) -> None:
        renewals = []

        def renew() -> dict[str, str | None]:
            in_an_hour = datetime.now(UTC) + timedelta(hours=1)
            renewals.append(in_an_hour)
            return {
                "access_key": s3_server.access_key,
                "secret_key": s3_server.secret_key,
                "token": None,
                "expiry_time": in_an_hour.isoformat(),
            }

        signed = signed_requests_to(address, renewed_by(renew))

        assert put(signed, "one") is not None
        assert put(signed, "two") is not None
        assert store.keys() == ["one", "two"]
        assert len(renewals) == 1

    @pytest.mark.parametrize("trouble", [RuntimeError("role"), OSError("network"), KeyError("answer")])
    def test_that_cannot_be_renewed_are_for_boto3_to_explain(
        self, signed_requests_to: SignedRequestsTo, address: str, trouble: Exception
    ) -> None:
        def renew() -> dict[str, str | None]:
            raise trouble

        assert put(signed_requests_to(address, renewed_by(renew))) is None

    def test_of_a_session_carry_its_token_which_is_signed(
        self, signed_requests_to: SignedRequestsTo, server: HttpServer
    ) -> None:
        session = Credentials("access-key", "s3cr3t", "a-token")

        put(signed_requests_to(server.url("/a-bucket"), session, region="eu-central-1"))

        (request,) = server.requests
        authorization = request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "a-token"
        assert "x-amz-security-token" in authorization.partition("SignedHeaders=")[2]
        assert "/eu-central-1/s3/aws4_request" in authorization


class TestAFailure:
    @each_failure
    def test_leaves_that_request_to_boto3_and_no_other(
        self,
        signed_requests_to: SignedRequestsTo,
        s3_server: SeaweedFS,
        bucket: str,
        credentials: Credentials,
        action: Any,
        status: int,
    ) -> None:
        rule = S3Rule("a-key", "PUT", action, status=status)
        with S3Proxy(s3_server.endpoint) as proxy:
            signed = signed_requests_to(f"{proxy.url}/{bucket}", credentials)
            proxy.add_rule(rule)

            assert put(signed) is None
            assert put(signed) is not None
            assert signed.head("a-key") is not None

        assert (rule.seen, rule.fired) == (2, 1)

    @pytest.mark.parametrize("status", [403, 503, 501])
    def test_that_is_repeated_leaves_all_requests_to_boto3_for_a_minute(
        self, connections: HttpConnections, server: HttpServer, status: int
    ) -> None:
        now = [0.0]
        server.answer = lambda _: Answer(status=status)
        signed = SignedRequests(
            connections, address=server.url("/b"), credentials=SOMEBODY, region=REGION, clock=lambda: now[0]
        )

        assert [put(signed) for _ in range(5)] == [None] * 5
        assert len(server.requests) == 3
        server.answer = lambda _: Answer()
        assert put(signed) is None
        now[0] = 61.0
        assert put(signed) is not None

    def test_between_successes_is_not_counted(self, connections: HttpConnections, server: HttpServer) -> None:
        statuses = iter([200, 503, 503, 200, 503, 503, 200])
        server.answer = lambda _: Answer(status=next(statuses))
        signed = SignedRequests(connections, address=server.url("/b"), credentials=SOMEBODY, region=REGION)

        assert [put(signed) is not None for _ in range(7)] == [True, False, False, True, False, False, True]

    def test_of_the_signature_is_one(
        self, signed_requests_to: SignedRequestsTo, s3_server: SeaweedFS, address: str, store: Store
    ) -> None:
        signed = signed_requests_to(address, Credentials(s3_server.access_key, "another secret"))

        assert put(signed) is None
        assert signed.head("a-key") is None
        assert store.keys() == []

    @pytest.mark.parametrize("value", ["two\nlines", "\u65e5\u672c"], ids=["control character", "not Latin"])
    def test_to_send_a_header_is_one(self, signed: SignedRequests, value: str) -> None:
        assert put(signed, **{"x-amz-meta-model": value}) is None

    def test_is_logged_without_secrets(
        self, signed_requests_to: SignedRequestsTo, server: HttpServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        server.answer = lambda request: Answer(status=200 if request.method == "HEAD" else 500)
        signed = signed_requests_to(server.url("/a-bucket"), SOMEBODY)

        signed.head("a-key")
        put(signed)
        signed_requests_to("http://127.0.0.1:1/a-bucket", SOMEBODY).head("a-key")

        assert "A signed PUT was answered with HTTP 500" in caplog.text
        assert "A signed HEAD failed: NewConnectionError" in caplog.text
        assert SOMEBODY.secret_key not in caplog.text
        # botocore itself logs what it signs, as it does for all that boto3 sends.
        logged = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("botocore."))
        for request in server.requests:
            signature = request.headers["authorization"].partition("Signature=")[2]
            assert len(signature) == 64
            assert signature not in logged
