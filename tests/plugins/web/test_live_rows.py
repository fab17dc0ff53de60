from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from plugins.ledgers import FREE, INTENDED, NOW, LedgerWriter, entry, line_of_0_1
from plugins.page import read

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.row import shard_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from plugins.database import Database
    from services.seaweedfs import SeaweedFS

TASK = "/apimart/gallery?dag_id=posters&run_id=run&task_id=dataset&map_index=-1"


@pytest.fixture
def ledger(s3_server: SeaweedFS, bucket: str) -> Iterator[LedgerWriter]:
    """The ledger of a dataset that is being worked on."""
    client = s3_server.client()
    yield LedgerWriter(LedgerStore(client, bucket, "posters"))
    for found in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        client.delete_object(Bucket=bucket, Key=found["Key"])


@pytest.fixture(autouse=True)
def _dataset(database: Database, bucket: str, aws_connection: str) -> None:
    add_dataset(database, s3_bucket=bucket, s3_prefix="posters", aws_conn_id=aws_connection)


def add_dataset(database: Database, **rendered: object) -> None:
    """Make the task of a dataset that is being worked on."""
    database.add_run("posters")
    database.add_task("posters", "dataset", operator="ApimartImageDatasetOperator", state="deferred", rendered=rendered)


async def test_what_a_dataset_has_bought_so_far_is_shown_newest_first(
    admin: httpx.AsyncClient, ledger: LedgerWriter
) -> None:
    stored = {"uri": "s3://bucket/posters/images/a.png", "width": 8, "height": 8, "bytes": 1}
    copied = entry(id="sku-1", prompt="a cat", objects=(stored,), task_ids=("task_1",), updated_at=NOW + 3)
    ledger.append(entry(id="sku-1", prompt="a cat", status=EntryStatus.ACCEPTED, updated_at=NOW))
    ledger.append(copied, entry(**FREE, id="sku-2", prompt="a dog", updated_at=NOW + 2))
    ledger.append(entry(**INTENDED, id="sku-3", prompt="a cow", updated_at=NOW + 1))
    ledger.append(entry(run_id="posters/before", id="sku-4", prompt="a hen", updated_at=NOW + 9))

    page = read(await admin.get(TASK))
    assert page.prompts[1:] == ["a cat", "a dog", "a cow"]
    assert page.prompts[0] == "dataset", "the task itself, which is at work"
    assert "no capacity" in page.text
    shown = [found["class"] for found in page.all("span") if "status" in found.get("class", "")]
    assert shown == ["status running", "status stored", "status failed", "status running"]


async def test_one_of_them_is_shown_in_full(admin: httpx.AsyncClient, ledger: LedgerWriter) -> None:
    stored = {"uri": "s3://bucket/posters/images/a.png", "width": 8, "height": 8, "bytes": 1}
    ledger.append(entry(prompt="a cat", objects=(stored,), task_ids=("task_1",)))
    address = TASK.replace("gallery", "picture") + "&uri=s3://bucket/posters/images/a.png"
    assert "a cat" in read(await admin.get(address)).texts


async def test_a_ledger_that_cannot_be_read_leaves_the_rest_of_the_page_alone(
    admin: httpx.AsyncClient, s3_server: SeaweedFS, bucket: str, ledger: LedgerWriter
) -> None:
    ledger.append(entry())
    s3_server.client().put_object(Bucket=bucket, Key="posters/ledger/log/00000002.jsonl.gz", Body=b"no log")
    page = read(await admin.get(TASK))
    assert page.prompts == ["dataset"]
    assert "dataset has bought so far are not shown: its ledger could not be read." in page.text


@pytest.mark.parametrize("held", [{}, {"uri": 1}, {"uri": "s3://bucket/a.png", "width": "wide"}])
async def test_so_does_one_with_a_row_of_another_shape(
    admin: httpx.AsyncClient, ledger: LedgerWriter, held: dict[str, object]
) -> None:
    ledger.append(entry(id="sku-1", objects=(held,), task_ids=("task_1",)))
    page = read(await admin.get(TASK))
    assert page.prompts == ["dataset"]
    assert "row sku-1 of its ledger cannot be understood" in page.text


async def test_so_does_a_connection_that_cannot_be_used(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    connection = {"conn_type": "aws", "extra": {"profile_name": "absent"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_UNUSABLE", json.dumps(connection))
    database.clear()
    add_dataset(database, s3_bucket="posters", s3_prefix="posters", aws_conn_id="aws_unusable")
    page = read(await admin.get(TASK))
    assert page.prompts == ["dataset"]
    assert "could not be read (ProfileNotFound)" in page.text


@pytest.mark.parametrize("rendered", [{}, {"s3_bucket": "", "s3_prefix": ""}, {"s3_bucket": 1, "s3_prefix": None}])
async def test_without_an_address_there_is_no_ledger(
    admin: httpx.AsyncClient, database: Database, rendered: dict[str, object]
) -> None:
    database.clear()
    add_dataset(database, **rendered)
    page = read(await admin.get(TASK))
    assert page.prompts == ["dataset"]
    assert not page.all("p", **{"class": "notice"})


async def test_of_very_many_rows_the_newest_are_shown_and_all_are_searched(
    admin: httpx.AsyncClient, ledger: LedgerWriter
) -> None:
    ledger.append(*(entry(id=f"sku-{n}", prompt=f"a cat, {n}.", updated_at=NOW + n, **FREE) for n in range(300)))
    page = read(await admin.get(TASK))
    assert page.prompts[1:] == [f"a cat, {n}." for n in range(299, 59, -1)]
    assert "The newest 240 of 300 are shown." in page.text
    page = read(await admin.get(f"{TASK}&text=CAT, 7."))
    assert "a cat, 7." in page.prompts
    assert not page.all("p", **{"class": "notice"})
    page = read(await admin.get(f"{TASK}&text=cat"))
    assert "The newest 240 that match are shown." in page.text


async def test_one_that_is_not_among_the_newest_is_shown_in_full_too(
    admin: httpx.AsyncClient, ledger: LedgerWriter
) -> None:
    stored = {"uri": "s3://bucket/posters/images/a.png", "width": 8, "height": 8, "bytes": 1}
    ledger.append(*(entry(**FREE, id=f"sku-{n}", updated_at=NOW + n) for n in range(300)))
    ledger.append(entry(id="oldest", prompt="a hen", objects=(stored,), task_ids=("t",), updated_at=NOW - 1))
    address = TASK.replace("gallery", "picture") + "&uri=s3://bucket/posters/images/a.png"
    assert "a hen" in read(await admin.get(address)).texts


async def test_a_task_instance_shows_the_rows_that_it_has_bought_itself(
    admin: httpx.AsyncClient, ledger: LedgerWriter
) -> None:
    ledger.append(entry(id="a", prompt="a cat", **FREE), entry(id="b", prompt="a dog", buyer="its sibling", **FREE))
    assert read(await admin.get(TASK)).prompts[1:] == ["a cat"]


async def test_a_shard_shows_its_own_rows_of_a_ledger_of_0_1(
    admin: httpx.AsyncClient, s3_server: SeaweedFS, database: Database, bucket: str, aws_connection: str
) -> None:
    entries = [entry(id=f"sku-{n}", prompt=f"a cat, {n}.", **FREE) for n in range(20)]
    lines = b"".join(line_of_0_1(id=f"sku-{n}", prompt=f"a cat, {n}.", **FREE) + b"\n" for n in range(20))
    s3_server.client().put_object(Bucket=bucket, Key="old/ledger/ledger.jsonl", Body=lines)
    where = {"s3_bucket": bucket, "s3_prefix": "old", "aws_conn_id": aws_connection}
    database.clear()
    add_dataset(database, **where, shard=[1, 2])
    shown = read(await admin.get(TASK)).prompts[1:]
    s3_server.client().delete_object(Bucket=bucket, Key="old/ledger/ledger.jsonl")
    assert set(shown) == {row.prompt for row in entries if shard_of(row, 2) == 1}
    assert 0 < len(shown) < 20
