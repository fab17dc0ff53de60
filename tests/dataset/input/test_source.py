"""Datasets as lists and as files, on disk, in S3 and elsewhere."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.input import Input

    Read = Callable[..., Input]
    Written = Callable[[str, str | bytes], str]

JSON_LINES = '{"prompt": "a cat"}\n{"prompt": "a dog"}\n'
PROMPTS = ["a cat", "a dog"]


def prompts_of(rows: Input) -> list[str]:
    return [rows.row(place).request.prompt for place in range(len(rows))]


@pytest.fixture
def s3(s3_server: SeaweedFS, bucket: str, aws_connection: str) -> Iterator[S3Client]:  # noqa: ARG001
    """A client of the server that ``aws_default`` leads to; the bucket is emptied afterwards."""
    client = s3_server.client()
    yield client
    for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=item["Key"])


class TestLists:
    def test_texts_are_prompts_and_mappings_are_records(self, read: Read) -> None:
        rows = read(["a cat", {"prompt": "a dog", "n": 2}])

        assert [(rows.row(place).number, rows.row(place).request.prompt, rows.n(place)) for place in (0, 1)] == [
            (1, "a cat", 1),
            (2, "a dog", 2),
        ]

    def test_a_generator_is_taken_once(self, read: Read) -> None:
        generator = (prompt for prompt in PROMPTS)

        rows = read(generator)

        assert prompts_of(rows) == prompts_of(rows) == PROMPTS
        assert list(generator) == []

    def test_an_item_that_is_not_a_row_is_named(self, read: Read) -> None:
        with pytest.raises(InvalidRequestError, match="row 2: is None: must be a prompt, or an object"):
            read(["a cat", None])

    @pytest.mark.parametrize("prompts", [{"prompt": "a cat"}, b"a cat", 5, None, pa.table({"prompt": ["a cat"]})])
    def test_anything_else_is_refused(self, read: Read, prompts: Any) -> None:
        with pytest.raises(InvalidRequestError, match=r"must be a list of texts or mappings, or a file's address"):
            read(prompts)

    def test_an_empty_list_is_an_empty_input(self, read: Read) -> None:
        assert len(read([])) == 0


class TestFiles:
    @pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.ndjson", "PROMPTS.JSONL"])
    def test_the_suffix_says_what_a_file_is(self, written: Written, read: Read, name: str) -> None:
        assert prompts_of(read(written(name, JSON_LINES))) == PROMPTS

    @pytest.mark.parametrize("name", ["prompts.jsonl.gz", "prompts.ndjson.gz", "prompts.jsonl"])
    def test_gzip_is_recognised_by_its_content(self, written: Written, read: Read, name: str) -> None:
        assert prompts_of(read(written(name, gzip.compress(JSON_LINES.encode())))) == PROMPTS

    @pytest.mark.parametrize("name", ["prompts.csv.gz", "prompts.csv"])
    def test_a_compressed_csv_file_may_hold_utf_16(self, written: Written, read: Read, name: str) -> None:
        assert prompts_of(read(written(name, gzip.compress("prompt\n猫\n".encode("utf-16"))))) == ["猫"]

    @pytest.mark.parametrize(
        "damage",
        [lambda data: data[:-10], lambda data: b"no" + data, lambda data: data[:20] + b"?" * 40],
        ids=["cut off", "of another kind", "overwritten"],
    )
    def test_a_damaged_archive_is_refused(self, written: Written, read: Read, damage: Callable[[bytes], bytes]) -> None:
        path = written("prompts.jsonl.gz", damage(gzip.compress(JSON_LINES.encode() * 20)))

        with pytest.raises(InvalidRequestError, match=r"prompts\.jsonl\.gz: it is not a complete gzip file"):
            read(path)

    @pytest.mark.parametrize("prompts", ["a cat on a windowsill", "s3://bucket/prompts.json", "['a cat', 'a dog']", ""])
    def test_a_text_that_is_not_an_address_is_never_one_row_per_character(self, read: Read, prompts: str) -> None:
        with pytest.raises(InvalidRequestError, match=r"does not end in one of \.jsonl.* pass its \.output"):
            read(prompts)

    def test_a_path_may_be_an_object(self, written: Written, read: Read) -> None:
        path = written("prompts.jsonl", JSON_LINES)

        assert prompts_of(read(Path(path))) == prompts_of(read(ObjectStoragePath(path))) == PROMPTS

    def test_other_addresses_are_opened_by_airflow(self, written: Written, read: Read) -> None:
        address = f"file://{written('prompts.jsonl', JSON_LINES)}"

        assert prompts_of(read(address)) == prompts_of(read(ObjectStoragePath(address))) == PROMPTS

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_a_file_that_does_not_exist_may_exist_later(self, tmp_path: Path, read: Read, scheme: str) -> None:
        with pytest.raises(
            OSError, match=r"Could not read the dataset .*missing\.jsonl: .*[Nn]o such file.*Nothing was submitted"
        ):
            read(f"{scheme}{tmp_path}/missing.jsonl")

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_a_directory_is_named_with_a_file_in_it(self, tmp_path: Path, read: Read, scheme: str) -> None:
        folder = tmp_path / "export.csv"
        folder.mkdir()
        (folder / "part-0.csv").write_text("prompt\na cat\n")

        with pytest.raises(
            InvalidRequestError, match=r"it is a directory\. .* Name one file in it, such as part-0\.csv"
        ):
            read(f"{scheme}{folder}")

    @pytest.mark.parametrize(
        "address", ["gs://bucket/prompts.jsonl", "abfs://container/prompts.csv", "dropbox2://a/prompts.parquet"]
    )
    def test_an_address_without_a_backend_names_what_is_missing(self, read: Read, address: str) -> None:
        scheme = address.partition("://")[0]
        with pytest.raises(InvalidRequestError, match=rf"needs a backend for {scheme}://.* copy the file to S3"):
            read(address)

    @pytest.mark.parametrize(
        ("failure", "expected"),
        [
            (ImportError("no aiohttp for https://me:pass-word@example.com?token=a%2Fb-secret"), InvalidRequestError),
            (RuntimeError("cannot connect: https://me:pass-word@example.com?token=a/b-secret"), OSError),
            (ValueError("the gateway's password is pass-word"), OSError),
        ],
    )
    def test_the_secrets_of_an_address_are_in_no_error(
        self, read: Read, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: type[Exception]
    ) -> None:
        import upath

        def fail(*_: Any, **__: Any) -> None:
            raise failure

        monkeypatch.setattr(upath.UPath, "is_dir", fail)
        with pytest.raises(expected) as caught:
            read("https://me:pass-word@example.com/prompts.csv?token=a%2Fb-secret&part=7")

        assert "pass-word" not in str(caught.value)
        assert "b-secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize(
        "address",
        ["https://me:pass-word@example.com/prompts.txt?token=b-secret", "memory://me:pass-word@x/y.txt?token=b-secret"],
    )
    def test_the_secrets_of_an_address_are_not_in_the_error_about_its_suffix(self, read: Read, address: str) -> None:
        with pytest.raises(InvalidRequestError, match=r"/\S+\.txt\?token=\*\*\*: it does not end in") as caught:
            read(address)

        assert "pass-word" not in str(caught.value)
        assert "b-secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "address",
        [
            "https://example.com/prompts.csv?format=csv&part=7&empty=",
            "https://csv:csv@example.com/prompts.csv?sig=abc#rows",
            "https://[example.com/prompts.csv?format=csv",
        ],
        ids=["short values", "a short password", "an invalid host"],
    )
    def test_a_secret_that_is_part_of_the_name_hides_no_suffix(
        self, read: Read, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        import upath

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"cannot connect to {address}")

        monkeypatch.setattr(upath.UPath, "is_dir", fail)
        with pytest.raises(OSError, match=r"Could not read the dataset https://.*/prompts\.csv") as caught:
            read(address)

        assert "csv:csv@" not in str(caught.value)
        assert "sig=abc" not in str(caught.value)

    def test_a_web_address_without_a_backend_names_what_is_missing(
        self, read: Read, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import upath

        def refuse(*_: Any, **__: Any) -> None:
            raise ImportError("HTTPFileSystem requires aiohttp")

        monkeypatch.setattr(upath.UPath, "is_dir", refuse)
        with pytest.raises(InvalidRequestError, match=r"needs a backend for https://.*requires aiohttp"):
            read("https://example.com/prompts.csv?signature=a/b")


class TestFilesOfAnotherKind:
    def test_a_workbook_named_csv(self, tmp_path: Path, read: Read) -> None:
        path = tmp_path / "prompts.csv"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")

        with pytest.raises(InvalidRequestError, match=r"is an Excel workbook or a zip archive\. .*as CSV UTF-8"):
            read(path)

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("prompts.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel workbook"),
            ("prompts.csv", b"PAR1\0\0\0\0PAR1", "is a Parquet file"),
            ("prompts.jsonl", b"\x28\xb5\x2f\xfd....", "is compressed with Zstandard"),
            ("prompts.jsonl", b"Obj\x01....", "is an Avro file"),
            ("prompts.csv", b"\n<!DOCTYPE html><html><body>Sign in", "is an HTML or XML page"),
            ("prompts.parquet", b"PK\x03\x04....", "is an Excel workbook or a zip archive"),
            ("prompts.parquet", b"prompt\na cat\n", "is not a complete Parquet file"),
            ("prompts.csv.gz", gzip.compress(gzip.compress(b"prompt\n", mtime=0), mtime=0), "is compressed twice"),
            ("prompts.csv", "prompt\na cat\n".encode("utf-16-le"), "is UTF-16 without a byte order mark"),
            ("prompts.jsonl", b'[\n {"prompt": "a cat"}\n]\n', "holds a JSON array"),
            ("prompts.jsonl", b'[{"prompt": "a cat"}, "a dog"]', "holds a JSON array"),
            ("prompts.jsonl", b'{\n "prompt": "a cat"\n}\n', "holds a JSON object over several lines"),
        ],
    )
    def test_is_recognised_and_named(
        self, written: Written, read: Read, name: str, content: bytes, reason: str
    ) -> None:
        with pytest.raises(InvalidRequestError) as refusal:
            read(written(name, content), on_invalid="skip")

        assert f"{name}: it {reason}" in str(refusal.value)
        assert "Nothing was submitted or charged. " in str(refusal.value)


class TestS3:
    @pytest.mark.parametrize("key", ["prompts.jsonl", "2026/01 a#b?c=d/prompts.jsonl"])
    def test_an_object_is_read_without_s3fs(self, s3: S3Client, bucket: str, read: Read, key: str) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=JSON_LINES.encode())
        address = f"s3://{bucket}/{key}"

        assert prompts_of(read(address, aws_conn_id="aws_default")) == PROMPTS
        assert prompts_of(read(ObjectStoragePath(address), aws_conn_id="aws_default")) == PROMPTS

    def test_the_connection_is_the_one_in_the_address_or_else_the_given_one(
        self,
        s3: S3Client,
        bucket: str,
        aws_connection: str,
        s3_server: SeaweedFS,
        monkeypatch: pytest.MonkeyPatch,
        read: Read,
    ) -> None:
        s3.put_object(Bucket=bucket, Key="prompts.jsonl", Body=JSON_LINES.encode())
        other = {**s3_server.connection, "password": "of another account"}
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other))
        path = ObjectStoragePath(f"s3://{bucket}/prompts.jsonl", conn_id=aws_connection)

        assert prompts_of(read(f"s3://{aws_connection}@{bucket}/prompts.jsonl", aws_conn_id="other")) == PROMPTS
        assert prompts_of(read(path, aws_conn_id="other")) == PROMPTS
        with pytest.raises(OSError, match=r"Could not read the dataset .*403"):
            read(f"s3://{bucket}/prompts.jsonl", aws_conn_id="other")

    @pytest.mark.parametrize("key", ["missing.jsonl", "missing.parquet"])
    def test_an_object_that_does_not_exist_may_exist_later(
        self, bucket: str, aws_connection: str, read: Read, key: str
    ) -> None:
        with pytest.raises(OSError, match=rf"Could not read the dataset s3://{bucket}/{key}: .*404"):
            read(f"s3://{bucket}/{key}", aws_conn_id=aws_connection)

    def test_a_folder_that_spark_wrote_is_named(
        self, s3: S3Client, bucket: str, aws_connection: str, read: Read
    ) -> None:
        s3.put_object(Bucket=bucket, Key="export.csv/part-00000.csv", Body=b"prompt\na cat\n")

        with pytest.raises(InvalidRequestError, match=r"is a directory\. .*such as part-00000\.csv"):
            read(f"s3://{bucket}/export.csv", aws_conn_id=aws_connection)
