"""The objects of a ledger in a real S3 server, and what is told when it cannot be reached."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from services.s3_proxy import S3Proxy, S3Rule

from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects


@pytest.fixture
def proxy(s3_server: SeaweedFS) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(objects: LedgerObjects, s3_server: SeaweedFS, proxy: S3Proxy) -> LedgerObjects:
    """The same ledger, reached through a proxy, by a client that does not try again."""
    client = boto3.client(
        "s3",
        endpoint_url=proxy.url,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        config=Config(signature_version="s3v4", proxies={}, retries={"total_max_attempts": 1}),
    )
    return replace(objects, client=client)


def names(objects: LedgerObjects) -> list[str]:
    return [found.name for found in objects.listing()]


def test_what_is_written_is_listed_in_the_order_of_its_names_and_read_by_lines(objects: LedgerObjects) -> None:
    second = objects.put("journal/b.jsonl", io.BytesIO("図\n".encode()))
    first = objects.put("journal/a.jsonl", io.BytesIO(b"1\n2\n\n3"))

    assert objects.listing() == [first, second]
    assert first.size == 6
    assert list(objects.lines("journal/a.jsonl")) == [b"1", b"2", b"", b"3"]
    assert list(objects.lines("journal/b.jsonl")) == ["図".encode()]


def test_what_is_written_again_has_another_mark(objects: LedgerObjects) -> None:
    before = objects.put("ledger.jsonl", io.BytesIO(b"1"))
    after = objects.put("ledger.jsonl", io.BytesIO(b"2"))

    assert before != after
    assert objects.listing() == [after]


def test_a_ledger_begins_below_its_prefix_and_sees_no_other(objects: LedgerObjects) -> None:
    elsewhere = [replace(objects, prefix=prefix) for prefix in ("", "catalogue/ledger", "catalogue2")]

    for place in elsewhere:
        place.put("ledger.jsonl", io.BytesIO(b"elsewhere"))

    assert names(objects) == ["ledger/ledger.jsonl"]  # A ledger within a ledger is nobody's name for one.
    assert names(elsewhere[0]) == ["ledger.jsonl"]
    assert objects.address == f"s3://{objects.bucket}/catalogue/ledger/"
    assert elsewhere[0].address == f"s3://{objects.bucket}/ledger/"


def test_more_objects_than_fit_into_one_answer_are_all_listed(objects: LedgerObjects) -> None:
    paginator = objects.client.get_paginator("list_objects_v2")
    for number in range(3):
        objects.put(f"journal/{number}.jsonl", io.BytesIO(b""))

    pages = list(paginator.paginate(Bucket=objects.bucket, Prefix="catalogue/", PaginationConfig={"PageSize": 1}))

    assert len(pages) >= 3
    assert len(names(objects)) == 3


def test_what_is_deleted_is_gone_and_may_be_deleted_again(objects: LedgerObjects) -> None:
    objects.put("journal/a.jsonl", io.BytesIO(b"1"))

    objects.delete("journal/a.jsonl")
    objects.delete("journal/a.jsonl")

    assert objects.listing() == []


def test_an_object_that_is_not_there_is_told_from_one_that_cannot_be_read(
    objects: LedgerObjects, behind_proxy: LedgerObjects, proxy: S3Proxy
) -> None:
    objects.put("ledger.jsonl", io.BytesIO(b"1"))
    proxy.add_rule(S3Rule("ledger.jsonl", "GET", "refuse"))

    with pytest.raises(FileNotFoundError, match=r"journal/a\.jsonl"):
        list(objects.lines("journal/a.jsonl"))
    with pytest.raises(RecordUnavailableError, match=r"could not be read: s3://.*/catalogue/ledger/ledger\.jsonl"):
        list(behind_proxy.lines("ledger.jsonl"))


def test_no_ledger_is_told_from_one_that_cannot_be_listed(
    objects: LedgerObjects, behind_proxy: LedgerObjects, proxy: S3Proxy
) -> None:
    proxy.add_rule(S3Rule("list-type", "GET", "refuse"))

    assert objects.listing() == []
    with pytest.raises(RecordUnavailableError, match="could not be listed"):
        behind_proxy.listing()
    with pytest.raises(RecordUnavailableError, match="NoSuchBucket"):
        replace(objects, bucket="no-such-bucket").listing()
    with pytest.raises(RecordUnavailableError, match="NoSuchBucket"):
        list(replace(objects, bucket="no-such-bucket").lines("ledger.jsonl"))


def test_a_write_whose_answer_is_lost_is_not_taken_for_one(
    objects: LedgerObjects, behind_proxy: LedgerObjects, proxy: S3Proxy
) -> None:
    proxy.add_rule(S3Rule("a.jsonl", "PUT", "cut_after"))

    with pytest.raises(RecordUnavailableError, match="could not be written"):
        behind_proxy.put("journal/a.jsonl", io.BytesIO(b"1"))

    assert names(objects) == ["journal/a.jsonl"]


def test_a_write_that_breaks_off_leaves_nothing(
    objects: LedgerObjects, behind_proxy: LedgerObjects, proxy: S3Proxy
) -> None:
    proxy.add_rule(S3Rule("a.jsonl", "PUT", "cut_midway"))

    with pytest.raises(RecordUnavailableError):
        behind_proxy.put("journal/a.jsonl", io.BytesIO(b"1" * 100_000))

    assert names(objects) == []


def test_a_store_that_refuses_to_delete_says_so(behind_proxy: LedgerObjects, proxy: S3Proxy) -> None:
    proxy.add_rule(S3Rule("a.jsonl", "DELETE", "refuse"))

    with pytest.raises(RecordUnavailableError, match="could not be deleted"):
        behind_proxy.delete("journal/a.jsonl")


def test_further_arguments_go_with_every_write(objects: LedgerObjects) -> None:
    tagged = replace(objects, extra_args={"Metadata": {"team": "catalogue"}})

    tagged.put("ledger.jsonl", io.BytesIO(b"1"))

    head = objects.client.head_object(Bucket=objects.bucket, Key="catalogue/ledger/ledger.jsonl")
    assert head["Metadata"] == {"team": "catalogue"}
