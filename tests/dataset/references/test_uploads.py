"""Uploads are found by other workers, and a record that cannot be read costs no more than another upload."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from services.s3_proxy import S3Proxy, S3Rule

from airflow_provider_apimart.dataset.references.uploads import (
    UPLOAD_LIFETIME,
    UPLOADS_FOLDER,
    Upload,
    UploadJournal,
    encode_upload,
    read_upload,
)
from airflow_provider_apimart.gateway.reference_images import ReferenceImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore

    Opened = Callable[..., UploadJournal]

#: Unix seconds.
NOW = 1_750_000_000.0
GATEWAY = "https://api.apimart.ai"
HOUR = 3600


def upload(
    address: str = "s3://bucket/a.png", *, at: float = NOW, sha256: str = "aa", gateway: str = GATEWAY
) -> Upload:
    url = f"https://cdn.example/{at}"
    return Upload(address=address, gateway=gateway, url=url, sha256=sha256, bytes=1, expires_at=at + UPLOAD_LIFETIME)


def names(store: LedgerStore) -> list[str]:
    return [found.name for found in store.list("")]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(store: LedgerStore, warnings: list[str]) -> Opened:
    """Open the journal as another worker, who has read it."""

    def open_it(*, at: float = NOW, gateway: str = GATEWAY, within: LedgerStore = store) -> UploadJournal:
        journal = UploadJournal(within, gateway, warn=warnings.append, clock=lambda: at)
        journal.read()
        return journal

    return open_it


@pytest.fixture
def behind_proxy(store: LedgerStore, s3_server: SeaweedFS) -> Iterator[tuple[LedgerStore, S3Proxy]]:
    """The same ledger, reached through a proxy, by a client that does not try again."""
    with S3Proxy(s3_server.endpoint) as proxy:
        client = boto3.client(
            "s3",
            endpoint_url=proxy.url,
            region_name="us-east-1",
            aws_access_key_id=s3_server.access_key,
            aws_secret_access_key=s3_server.secret_key,
            config=Config(signature_version="s3v4", proxies={}, retries={"total_max_attempts": 1}),
        )
        yield replace(store, client=client), proxy


def test_before_the_first_upload_nothing_is_known(opened: Opened, warnings: list[str]) -> None:
    journal = opened()

    assert journal.find("s3://bucket/a.png") is None
    assert journal.find("aa") is None
    assert warnings == []


def test_what_one_worker_uploads_another_finds_by_its_address_and_by_its_content(opened: Opened) -> None:
    opened().write([upload(), upload("/b.png", sha256="bb")])

    journal = opened()

    assert journal.find("/b.png") == upload("/b.png", sha256="bb")
    assert journal.find("aa") == upload()


def test_each_write_is_an_object_of_its_own_and_nothing_is_none(store: LedgerStore, opened: Opened) -> None:
    journal = opened()

    journal.write([upload()])
    journal.write([upload("/b.png")])
    journal.write([])

    assert len(names(store)) == 2
    assert all(name.startswith("references/20250615T150640.000000Z-") for name in names(store))


def test_what_is_only_remembered_is_not_written(store: LedgerStore, opened: Opened) -> None:
    journal = opened()

    journal.remember(upload())

    assert journal.find("s3://bucket/a.png") == upload()
    assert names(store) == []


@pytest.mark.parametrize(("hours", "is_found"), [(69, True), (71, False), (73, False)])
def test_what_has_expired_is_passed_over(opened: Opened, warnings: list[str], hours: int, *, is_found: bool) -> None:
    opened().write([upload()])

    journal = opened(at=NOW + hours * HOUR)

    assert (journal.find("s3://bucket/a.png") is not None) is is_found
    assert (journal.find("aa") is not None) is is_found
    assert warnings == []


def test_what_expires_while_a_worker_runs_is_not_used_any_more(store: LedgerStore) -> None:
    now = NOW
    journal = UploadJournal(store, GATEWAY, warn=pytest.fail, clock=lambda: now)
    journal.remember(upload())

    assert journal.find("s3://bucket/a.png") is not None
    now = NOW + 71 * HOUR
    assert journal.find("s3://bucket/a.png") is None


def test_objects_from_before_the_life_of_an_upload_are_not_even_read(
    store: LedgerStore, opened: Opened, warnings: list[str]
) -> None:
    store.put(f"{UPLOADS_FOLDER}20250612T150639.000000Z-a.jsonl", b"nobody reads this\n")
    store.put(f"{UPLOADS_FOLDER}20250612T150641.000000Z-b.jsonl", b"somebody reads this\n")

    opened()

    assert [warning.split(": ")[0] for warning in warnings] == [
        f"Ignored line 1 of {store.address}{UPLOADS_FOLDER}20250612T150641.000000Z-b.jsonl"
    ]


def test_the_uploads_of_another_gateway_are_of_no_use(opened: Opened) -> None:
    opened().write([upload(gateway="https://api.example.com")])

    assert opened().find("s3://bucket/a.png") is None
    assert opened(gateway="https://api.example.com").find("s3://bucket/a.png") is not None


def test_of_two_uploads_the_first_is_used_until_it_expires_so_that_a_request_stays_the_same(opened: Opened) -> None:
    opened(at=NOW).write([upload(at=NOW)])
    opened(at=NOW + HOUR).write([upload(at=NOW + HOUR)])

    assert opened(at=NOW + 2 * HOUR).find("s3://bucket/a.png") == upload(at=NOW)
    assert opened(at=NOW + 70.5 * HOUR).find("s3://bucket/a.png") == upload(at=NOW + HOUR)
    assert opened(at=NOW + 70.5 * HOUR).find("aa") == upload(at=NOW + HOUR)


def test_a_line_that_cannot_be_read_is_passed_over_with_a_warning(
    store: LedgerStore, opened: Opened, warnings: list[str]
) -> None:
    line = encode_upload(upload())
    opened().write([upload()])
    (name,) = names(store)
    store.put(name, b"\n" + line[:50] + b"\n" + line + b"\n")

    assert opened().find("s3://bucket/a.png") == upload()
    assert [warning.partition(" of ")[0] for warning in warnings] == ["Ignored line 1", "Ignored line 2"]


def test_other_objects_of_the_ledger_are_nobodys_business(
    store: LedgerStore, opened: Opened, warnings: list[str]
) -> None:
    store.put("ledger.jsonl", b"no upload")
    store.put("references.bak/a.jsonl", b"no upload")

    opened()

    assert warnings == []


def test_a_store_that_does_not_answer_is_no_reason_to_fail(
    opened: Opened, warnings: list[str], behind_proxy: tuple[LedgerStore, S3Proxy]
) -> None:
    store, proxy = behind_proxy
    opened().write([upload(), upload("/b.png")])

    for rule in (S3Rule("list-type", "GET", "refuse"), S3Rule("/references/", "GET", "refuse")):
        proxy.clear_rules()
        proxy.add_rule(rule)
        assert opened(within=store).find("s3://bucket/a.png") is None
    proxy.add_rule(S3Rule("/references/", "PUT", "refuse"))
    opened(within=store).write([upload("/c.png")])

    assert [warning.partition(":")[0].partition(" s3")[0] for warning in warnings] == [
        "Could not list earlier uploads of reference images, so they may be uploaded again",
        "Could not read",
        "Could not record uploads of reference images (1), so they may be repeated",
    ]
    assert opened().find("/c.png") is None


UPLOAD = Upload(
    address="s3://bucket/猫.png",
    gateway="https://api.apimart.ai",
    url="https://cdn.example/1.png",
    sha256="ab" * 32,
    bytes=4499,
    expires_at=1_750_000_000.0,
    image=ReferenceImage("image/png", (40, 30), has_alpha=True),
)

uploads = st.builds(
    Upload,
    address=st.text(),
    gateway=st.text(),
    url=st.text(),
    sha256=st.text(),
    bytes=st.integers(0),
    expires_at=st.integers(0, 4_000_000_000).map(float),
    image=st.none() | st.builds(ReferenceImage, st.text(), st.none() | st.just((40, 30)), has_alpha=st.booleans()),
)


def changed(**values: Any) -> bytes:
    return json.dumps({**json.loads(encode_upload(UPLOAD)), **values}).encode()


def test_a_line_tells_all_that_is_known() -> None:
    assert json.loads(encode_upload(UPLOAD)) == {
        "address": "s3://bucket/猫.png",
        "gateway": "https://api.apimart.ai",
        "url": "https://cdn.example/1.png",
        "sha256": "ab" * 32,
        "bytes": 4499,
        "expires_at": "2025-06-15T15:06:40Z",
        "image": {"content_type": "image/png", "size": [40, 30], "has_alpha": True},
        "schema_version": 1,
    }


@given(uploads)
def test_an_upload_survives_being_written_and_read_again(upload: Upload) -> None:
    line = encode_upload(upload)

    assert read_upload(line) == upload
    assert b"\n" not in line


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"{", b"[]", b"5", b"null", b"\xff", b"{}", encode_upload(UPLOAD)[:-5], b"[" * 100_000),
        *(
            changed(schema_version=2),
            changed(url=None),
            changed(address=["a"]),
            changed(bytes="4499"),
            changed(bytes=True),
        ),
        *(changed(image={"size": [1]}), changed(image=[]), changed(image=5)),
        *(changed(expires_at="soon"), changed(expires_at="2025-06-15T15:06:40"), changed(expires_at=1_750_000_000)),
    ],
    ids=range(20),
)
def test_anything_else_is_told_apart(line: bytes) -> None:
    with pytest.raises(ValueError, match="not an upload"):
        read_upload(line)


def test_a_record_of_0_1_has_no_properties_of_the_image() -> None:
    line = {name: value for name, value in json.loads(encode_upload(UPLOAD)).items() if name != "image"}

    assert read_upload(json.dumps(line).encode()) == replace(UPLOAD, image=None)
