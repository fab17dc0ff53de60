"""What one worker uploads, the next one finds, and what nobody can read costs no more than another upload."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from dataset.entries import NOW
from services.s3_proxy import S3Proxy, S3Rule

from airflow_provider_apimart.dataset.references.upload import LIFETIME, Upload, to_line
from airflow_provider_apimart.dataset.references.uploads import FOLDER, UploadJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

    Opened = Callable[..., UploadJournal]

GATEWAY = "https://api.apimart.ai"
HOUR = 3600


def upload(
    address: str = "s3://bucket/a.png", *, at: float = NOW, sha256: str = "aa", gateway: str = GATEWAY
) -> Upload:
    url = f"https://cdn.example/{at}"
    return Upload(address=address, gateway=gateway, url=url, sha256=sha256, bytes=1, expires_at=at + LIFETIME)


def names(objects: LedgerObjects) -> list[str]:
    return [found.name for found in objects.listing()]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(objects: LedgerObjects, warnings: list[str]) -> Opened:
    """Open the journal as another worker, who has read it."""

    def open_it(*, at: float = NOW, gateway: str = GATEWAY, within: LedgerObjects = objects) -> UploadJournal:
        journal = UploadJournal(within, gateway, warn=warnings.append, clock=lambda: at)
        journal.read()
        return journal

    return open_it


@pytest.fixture
def behind_proxy(objects: LedgerObjects, s3_server: SeaweedFS) -> Iterator[tuple[LedgerObjects, S3Proxy]]:
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
        yield replace(objects, client=client), proxy


def test_before_the_first_upload_nothing_is_known(opened: Opened, warnings: list[str]) -> None:
    journal = opened()

    assert journal.find("s3://bucket/a.png") is None
    assert journal.find_content("aa") is None
    assert warnings == []


def test_what_one_worker_uploads_another_finds_by_its_address_and_by_its_content(opened: Opened) -> None:
    opened().write([upload(), upload("/b.png", sha256="bb")])

    journal = opened()

    assert journal.find("/b.png") == upload("/b.png", sha256="bb")
    assert journal.find_content("aa") == upload()


def test_each_write_is_an_object_of_its_own_and_nothing_is_none(objects: LedgerObjects, opened: Opened) -> None:
    journal = opened()

    journal.write([upload()])
    journal.write([upload("/b.png")])
    journal.write([])

    assert len(names(objects)) == 2
    assert all(name.startswith("references/20250615T150640.000000Z-") for name in names(objects))


def test_what_is_only_remembered_is_not_written(objects: LedgerObjects, opened: Opened) -> None:
    journal = opened()

    journal.remember([upload()])

    assert journal.find("s3://bucket/a.png") == upload()
    assert names(objects) == []


@pytest.mark.parametrize(("hours", "is_found"), [(69, True), (71, False), (73, False)])
def test_what_has_expired_is_passed_over(opened: Opened, warnings: list[str], hours: int, *, is_found: bool) -> None:
    opened().write([upload()])

    journal = opened(at=NOW + hours * HOUR)

    assert (journal.find("s3://bucket/a.png") is not None) is is_found
    assert (journal.find_content("aa") is not None) is is_found
    assert warnings == []


def test_what_expires_while_a_worker_runs_is_not_used_any_more(objects: LedgerObjects) -> None:
    now = NOW
    journal = UploadJournal(objects, GATEWAY, warn=pytest.fail, clock=lambda: now)
    journal.remember([upload()])

    assert journal.find("s3://bucket/a.png") is not None
    now = NOW + 71 * HOUR
    assert journal.find("s3://bucket/a.png") is None


def test_objects_from_before_the_life_of_an_upload_are_not_even_read(
    objects: LedgerObjects, opened: Opened, warnings: list[str]
) -> None:
    objects.put(f"{FOLDER}20250612T150639.000000Z-a.jsonl", io.BytesIO(b"nobody reads this\n"))
    objects.put(f"{FOLDER}20250612T150641.000000Z-b.jsonl", io.BytesIO(b"somebody reads this\n"))

    opened()

    assert [warning.split(" is passed over")[0] for warning in warnings] == [
        f"Line 1 of {objects.address}{FOLDER}20250612T150641.000000Z-b.jsonl"
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
    assert opened(at=NOW + 70.5 * HOUR).find_content("aa") == upload(at=NOW + HOUR)


def test_a_line_that_cannot_be_read_is_passed_over_with_a_warning(
    objects: LedgerObjects, opened: Opened, warnings: list[str]
) -> None:
    line = to_line(upload())
    opened().write([upload()])
    (name,) = names(objects)
    objects.put(name, io.BytesIO(b"\n" + line[:50] + b"\n" + line + b"\n"))

    assert opened().find("s3://bucket/a.png") == upload()
    assert [warning.partition(" of ")[0] for warning in warnings] == ["Line 1", "Line 2"]


def test_other_objects_of_the_ledger_are_nobodys_business(
    objects: LedgerObjects, opened: Opened, warnings: list[str]
) -> None:
    objects.put("ledger.jsonl", io.BytesIO(b"no upload"))
    objects.put("references.bak/a.jsonl", io.BytesIO(b"no upload"))

    opened()

    assert warnings == []


def test_a_store_that_does_not_answer_is_no_reason_to_fail(
    opened: Opened, warnings: list[str], behind_proxy: tuple[LedgerObjects, S3Proxy]
) -> None:
    objects, proxy = behind_proxy
    opened().write([upload(), upload("/b.png")])

    for rule in (S3Rule("list-type", "GET", "refuse"), S3Rule("/references/", "GET", "refuse")):
        proxy.clear_rules()
        proxy.add_rule(rule)
        assert opened(within=objects).find("s3://bucket/a.png") is None
    proxy.add_rule(S3Rule("/references/", "PUT", "refuse"))
    opened(within=objects).write([upload("/c.png")])

    assert [warning.partition(":")[0].partition(" s3")[0] for warning in warnings] == [
        "What was uploaded before is not known, so that it is uploaded once more",
        "What",
        "1 upload(s) could not be noted, and will be made once more",
    ]
    assert opened().find("/c.png") is None
