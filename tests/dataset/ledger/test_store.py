"""The objects of a ledger, in a real S3 server and in a model of worse ones."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from dataset.ledger.ledger_entries import store_of
from dataset.ledger.model_store import NOW, ModelClient, ModelServer

from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import InvalidRequestError, RecordUnavailableError

if TYPE_CHECKING:
    from services.seaweedfs import SeaweedFS

KEY = "0123456789abcdef0123456789abcdef"
#: Encryption with a key of the customer, without which the store does not hand the object out.
CUSTOMER_KEY = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}


@pytest.fixture
def store(s3_server: SeaweedFS, bucket: str) -> LedgerStore:
    return LedgerStore(s3_server.client(), bucket, "catalogue")


def test_objects_are_written_read_listed_and_deleted(store: LedgerStore) -> None:
    assert store.put("log/2", b"two\nlines\n", metadata={"apimart-log": "7"})
    assert store.put("log/10", io.BytesIO(b""))

    found = store.get("log/2")
    assert (found.body, found.metadata) == (b"two\nlines\n", {"apimart-log": "7"})
    assert store.get("log/2", start=4).body == b"lines\n"
    assert store.get("log/2", start=1, end=3).body == b"wo"
    head = store.head("log/2")
    assert head is not None
    assert (head.body, head.etag, head.metadata) == (b"", found.etag, found.metadata)
    assert [it.name for it in store.list("log/")] == ["log/10", "log/2"]
    assert [(it.name, it.size, it.etag) for it in store.list("log/", after="log/10")] == [("log/2", 10, found.etag)]
    assert list(store.lines("log/2")) == [b"two", b"lines"]

    store.delete(["log/2", "log/10", "log/11"])
    assert store.list("") == []
    assert store.head("log/2") is None
    with pytest.raises(FileNotFoundError):
        store.get("log/2")
    with pytest.raises(FileNotFoundError):
        next(store.lines("log/2"))


def test_compressed_lines_are_streamed(store: LedgerStore) -> None:
    lines = [str(number).encode() * 40 for number in range(20_000)]
    store.put("ledger.jsonl.gz", gzip.compress(b"\n".join(lines) + b"\n"))

    assert list(store.lines("ledger.jsonl.gz")) == lines

    store.put("ledger.jsonl.gz", gzip.compress(b"\n".join(lines))[:-2000])
    with pytest.raises(RecordUnavailableError, match=r"could not be read: s3://.*/catalogue/ledger/ledger.jsonl.gz"):
        list(store.lines("ledger.jsonl.gz"))


def test_conditions_are_the_stores(store: LedgerStore) -> None:
    assert store.put("log/1", b"first", only_if_new=True)
    assert not store.put("log/1", b"second", only_if_new=True)
    first = store.get("log/1")
    assert first.body == b"first"

    assert store.put("log/1", b"third", only_if_etag=first.etag)
    assert not store.put("log/1", b"fourth", only_if_etag=first.etag)
    assert not store.put("log/2", b"fifth", only_if_etag=first.etag)
    assert store.get("log/1").body == b"third"


def test_the_time_is_the_stores_whatever_the_worker_believes(store: LedgerStore) -> None:
    wrong = LedgerStore(store.client, store.bucket, store.prefix, clock=lambda: 4_000_000_000.0)
    assert wrong.now() == 4_000_000_000.0

    wrong.put("log/1", b"")

    assert abs(wrong.now() - wrong.get("log/1").modified) < 5


@pytest.mark.parametrize("behind", [0.0, 7200.0])
def test_a_response_that_was_read_late_says_nothing_about_the_time(behind: float) -> None:
    moments = [1_790_000_000.0, 1_790_000_000.2, 1_790_000_001.0, 1_790_003_601.0]
    model, times = ModelServer(), iter(moments)
    model.now = moments[0] + behind
    late = LedgerStore(ModelClient(model), "bucket", "prefix", clock=lambda: next(times, moments[-1]))  # type: ignore[arg-type]
    late.put("log/1", b"")

    late.put("log/2", b"")

    assert late.now() == pytest.approx(moments[-1] + behind, abs=1.0)


def test_what_the_customer_encrypts_can_be_read_again(s3_server: SeaweedFS, bucket: str) -> None:
    store = LedgerStore(s3_server.client(), bucket, "catalogue", CUSTOMER_KEY)
    store.put("ledger.jsonl.gz", gzip.compress(b"a line\n"))

    assert list(store.lines("ledger.jsonl.gz")) == [b"a line"]
    assert store.head("ledger.jsonl.gz") is not None
    assert store.get("ledger.jsonl.gz", start=0, end=2).body == b"\x1f\x8b"
    with pytest.raises((ClientError, RecordUnavailableError)):
        LedgerStore(store.client, bucket, "catalogue").get("ledger.jsonl.gz")


@pytest.mark.parametrize("name", ["Key", "Bucket", "Body", "IfNoneMatch", "ContentLength", "ChecksumSHA256"])
def test_arguments_that_would_change_which_object_is_written_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        LedgerStore(None, "bucket", "prefix", {name: "x"})  # type: ignore[arg-type]


def test_a_store_that_takes_no_conditions_says_so() -> None:
    store = store_of(ModelServer("refuses"))

    with pytest.raises(NotImplementedError):
        store.put("log/1", b"", only_if_new=True)
    assert store.put("log/1", b"")


def test_a_bucket_that_does_not_exist_is_not_an_empty_ledger(s3_server: SeaweedFS) -> None:
    store = LedgerStore(s3_server.client(), "no-such-bucket", "")

    for read in (lambda: store.list("log/"), lambda: store.get("log/1"), lambda: store.put("log/1", b"")):
        with pytest.raises(RecordUnavailableError, match="Nothing was submitted after that"):
            read()


def test_lost_responses_are_reported_as_uncertain() -> None:
    server = ModelServer()
    store = store_of(server, fate=lambda _: "lost")

    with pytest.raises(RecordUnavailableError, match="could not be written"):
        store.put("log/1", b"x")
    assert server.objects["prefix/ledger/log/1"].body == b"x"
    assert store.now() == pytest.approx(NOW, abs=1)
