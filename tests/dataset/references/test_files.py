"""Reference images in files and in a real S3 server, and the errors of those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from services.s3_proxy import S3Proxy, S3Rule

from airflow_provider_apimart.dataset.references.addresses import S3Object
from airflow_provider_apimart.dataset.references.resolver import open_reader
from airflow_provider_apimart.exceptions import InvalidRequestError, ReferenceUnavailableError
from airflow_provider_apimart.gateway.catalogue import MAX_REFERENCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.seaweedfs import SeaweedFS

    Define = Callable[..., str]
    Read = Callable[[S3Object | Path], bytes]

GIF = b"GIF89a"


@pytest.fixture
def read(aws_connection: str) -> Iterator[Read]:
    with open_reader(aws_connection) as read:
        yield read


@pytest.fixture
def define(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Define:
    """Define another connection to the S3 server, one that does not try again."""

    def define_it(name: str, **fields: Any) -> str:
        extra = {
            **s3_server.connection["extra"],
            **fields.pop("extra", {}),
            "config_kwargs": {"retries": {"total_max_attempts": 1}},
        }
        connection = {**s3_server.connection, **fields, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
        return name

    return define_it


class TestFiles:
    def test_a_file_is_read_from_where_the_worker_runs(
        self, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.gif").write_bytes(GIF)
        monkeypatch.chdir(tmp_path)

        assert read(tmp_path / "a.gif") == read(Path("a.gif")) == GIF

    @pytest.mark.parametrize("name", ["missing.png", "a.gif/b.png", "x" * 300])
    def test_one_that_is_not_there_is_the_datasets_mistake(
        self, read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / "a.gif").write_bytes(GIF)
        monkeypatch.chdir(tmp_path)

        with pytest.raises(
            InvalidRequestError, match=rf"could not be read: .*{tmp_path}/{name}.*Nothing was submitted"
        ):
            read(Path(name))

    def test_a_folder_is_none(self, read: Read, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="is not a regular file"):
            read(tmp_path)

    def test_a_disk_that_fails_may_work_again(self, read: Read) -> None:
        memory_at_address_0 = Path("/proc/self/mem")

        with pytest.raises(
            ReferenceUnavailableError, match=r"could not be read: Input/output error \(/proc/self/mem\)"
        ):
            read(memory_at_address_0)


class TestObjects:
    @pytest.mark.parametrize("key", ["a.gif", "2026/01 a#b?c=d%20/猫"])
    def test_an_object_is_read(self, read: Read, s3_server: SeaweedFS, bucket: str, key: str) -> None:
        s3_server.client().put_object(Bucket=bucket, Key=key, Body=GIF)

        assert read(S3Object(None, bucket, key)) == GIF

    def test_an_address_may_name_its_connection(
        self, s3_server: SeaweedFS, bucket: str, aws_connection: str, define: Define
    ) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="a.gif", Body=GIF)

        with open_reader(define("stranger", password="of nobody")) as read:
            assert read(S3Object(aws_connection, bucket, "a.gif")) == GIF
            with pytest.raises(InvalidRequestError, match="SignatureDoesNotMatch"):
                read(S3Object(None, bucket, "a.gif"))

    def test_of_one_that_is_too_large_nothing_is_read(self, read: Read, s3_server: SeaweedFS, bucket: str) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="a.gif", Body=GIF + bytes(MAX_REFERENCE_BYTES))

        with pytest.raises(InvalidRequestError, match="has 20971526 bytes"):
            read(S3Object(None, bucket, "a.gif"))

    @pytest.mark.parametrize(
        ("in_bucket", "reason"),
        [(None, "NoSuchKey"), ("no-such-bucket", "NoSuchBucket"), ("No Bucket!", "Invalid bucket name")],
    )
    def test_one_that_is_not_there_is_the_datasets_mistake(
        self, read: Read, bucket: str, in_bucket: str | None, reason: str
    ) -> None:
        with pytest.raises(
            InvalidRequestError, match=rf"could not be read: .*{reason}.*Nothing was submitted"
        ) as refusal:
            read(S3Object(None, in_bucket or bucket, "missing.png"))

        assert not refusal.value.retryable

    @pytest.mark.parametrize("action", ["refuse", "cut_before"])
    def test_a_store_that_fails_may_answer_the_next_time(
        self, s3_server: SeaweedFS, bucket: str, define: Define, action: Any
    ) -> None:
        s3_server.client().put_object(Bucket=bucket, Key="a.gif", Body=GIF)
        with S3Proxy(s3_server.endpoint) as proxy:
            proxy.add_rule(S3Rule("a.gif", "GET", action))
            conn_id = define("behind_proxy", extra={"endpoint_url": proxy.url})
            with open_reader(conn_id) as read:
                with pytest.raises(ReferenceUnavailableError, match=r"not be read: .*Nothing was submitted") as failure:
                    read(S3Object(None, bucket, "a.gif"))
                assert read(S3Object(None, bucket, "a.gif")) == GIF

        assert (failure.value.retryable, failure.value.charged) == (True, "no")
