"""Datasets as lists and as files, on disk and in S3."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_apimart.dataset.reading import read_records
from airflow_provider_apimart.dataset.row import Record, Unreadable
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client
    from services.seaweedfs import SeaweedFS

    Written = Callable[[str, str | bytes], str]

JSON_LINES = '{"prompt": "a cat"}\n{"prompt": "a dog"}\n'
RECORDS = [Record(1, {"prompt": "a cat"}), Record(2, {"prompt": "a dog"})]


@pytest.fixture
def s3(s3_server: SeaweedFS, bucket: str, aws_connection: str) -> Iterator[S3Client]:  # noqa: ARG001
    """A client of the server that ``aws_default`` leads to; the bucket is emptied afterwards."""
    client = s3_server.client()
    yield client
    for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=item["Key"])


class TestLists:
    def test_texts_are_prompts_and_mappings_are_records(self) -> None:
        found = list(read_records(["a cat", {"prompt": "a dog", "n": 2}]))

        assert found == [Record(1, {"prompt": "a cat"}), Record(2, {"prompt": "a dog", "n": 2})]

    def test_anything_that_yields_items_will_do(self) -> None:
        assert list(read_records(prompt for prompt in ("a cat", "a dog"))) == RECORDS

    def test_an_item_that_is_neither_text_nor_mapping_does_not_end_the_reading(self) -> None:
        first, second = read_records([None, "a dog"])

        assert isinstance(first, Unreadable)
        assert (first.number, second) == (1, RECORDS[1])

    @pytest.mark.parametrize("prompts", [{"prompt": "a cat"}, b"a cat", 5, None, pa.table({"prompt": ["a cat"]})])
    def test_anything_else_is_refused(self, prompts: Any) -> None:
        with pytest.raises(InvalidRequestError, match=r"must be a list of texts or mappings .*, or a file's address\."):
            list(read_records(prompts))


class TestFiles:
    @pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.ndjson", "PROMPTS.JSONL"])
    def test_the_suffix_says_what_a_file_is(self, written: Written, name: str) -> None:
        assert list(read_records(written(name, JSON_LINES))) == RECORDS

    @pytest.mark.parametrize("name", ["prompts.jsonl.gz", "prompts.ndjson.gz"])
    def test_a_file_may_be_compressed(self, written: Written, name: str) -> None:
        assert list(read_records(written(name, gzip.compress(JSON_LINES.encode())))) == RECORDS

    def test_a_compressed_csv_file_may_hold_utf_16(self, written: Written) -> None:
        path = written("prompts.csv.gz", gzip.compress("prompt\n猫\n".encode("utf-16")))

        assert list(read_records(path)) == [Record(2, {"prompt": "猫"})]

    @pytest.mark.parametrize(
        "damage",
        [lambda data: data[:-10], lambda data: b"no" + data, lambda data: data[:20] + b"?" * 40],
        ids=["cut off", "of another kind", "overwritten"],
    )
    def test_a_damaged_archive_is_refused(self, written: Written, damage: Callable[[bytes], bytes]) -> None:
        path = written("prompts.jsonl.gz", damage(gzip.compress(JSON_LINES.encode() * 20)))

        with pytest.raises(InvalidRequestError, match=r"prompts='.*prompts\.jsonl\.gz' is no complete gzip file"):
            list(read_records(path))

    @pytest.mark.parametrize("prompts", ["a cat on a windowsill", "s3://bucket/prompts.json", "['a cat', 'a dog']", ""])
    def test_a_text_that_is_no_address_is_never_one_row_per_character(self, prompts: str) -> None:
        with pytest.raises(InvalidRequestError, match=r"does not end in one of \.jsonl.* pass its \.output"):
            list(read_records(prompts))

    def test_a_path_may_be_an_object(self, written: Written) -> None:
        path = written("prompts.jsonl", JSON_LINES)

        assert list(read_records(Path(path))) == list(read_records(ObjectStoragePath(path))) == RECORDS

    def test_other_addresses_are_opened_by_airflow(self, written: Written) -> None:
        address = f"file://{written('prompts.jsonl', JSON_LINES)}"

        assert list(read_records(address)) == list(read_records(ObjectStoragePath(address))) == RECORDS

    def test_a_file_that_is_not_there_may_be_there_later(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"missing\.jsonl"):
            list(read_records(str(tmp_path / "missing.jsonl")))

    def test_an_address_without_a_backend_is_not_read(self) -> None:
        with pytest.raises(ValueError, match="No filesystem registered for scheme gs"):
            list(read_records("gs://bucket/prompts.jsonl"))


class TestS3:
    @pytest.mark.parametrize("key", ["prompts.jsonl", "2026/01 a#b?c=d/prompts.jsonl"])
    def test_an_object_is_read_without_s3fs(self, s3: S3Client, bucket: str, key: str) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=JSON_LINES.encode())

        assert list(read_records(f"s3://{bucket}/{key}")) == RECORDS
        assert list(read_records(ObjectStoragePath(f"s3://{bucket}/{key}"))) == RECORDS

    def test_the_connection_is_the_one_in_the_address_or_else_the_given_one(
        self,
        s3: S3Client,
        bucket: str,
        aws_connection: str,
        s3_server: SeaweedFS,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        s3.put_object(Bucket=bucket, Key="prompts.jsonl", Body=JSON_LINES.encode())
        other = {**s3_server.connection, "password": "of another account"}
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other))

        in_address = read_records(f"s3://{aws_connection}@{bucket}/prompts.jsonl", aws_conn_id="other")

        of_path = read_records(
            ObjectStoragePath(f"s3://{bucket}/prompts.jsonl", conn_id=aws_connection), aws_conn_id="other"
        )

        assert list(in_address) == list(of_path) == RECORDS
        with pytest.raises(OSError, match=r"could not read the dataset .*403"):
            list(read_records(f"s3://{bucket}/prompts.jsonl", aws_conn_id="other"))

    @pytest.mark.parametrize("key", ["missing.jsonl", "missing.parquet"])
    def test_an_object_that_is_not_there_may_be_there_later(self, bucket: str, aws_connection: str, key: str) -> None:
        with pytest.raises(OSError, match=rf"could not read the dataset s3://{bucket}/{key}: .*404"):
            list(read_records(f"s3://{bucket}/{key}", aws_conn_id=aws_connection))
