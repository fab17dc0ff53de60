from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dataset.entries import FREE, NOW, UNANSWERED, entry
from plugins.page import read

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from plugins.database import Database
    from services.seaweedfs import SeaweedFS

TASK = "/apimart/gallery?dag_id=posters&run_id=run&task_id=dataset&map_index=-1"


@pytest.fixture
def ledger(s3_server: SeaweedFS, bucket: str) -> Iterator[Journal]:
    """The ledger of a dataset that is being worked on."""
    client = s3_server.client()
    yield Journal(LedgerObjects(client, bucket, "posters", {}))
    for found in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
        client.delete_object(Bucket=bucket, Key=found["Key"])


@pytest.fixture(autouse=True)
def _dataset(database: Database, bucket: str, aws_connection: str) -> None:
    rendered = {"s3_bucket": bucket, "s3_prefix": "posters", "aws_conn_id": aws_connection}
    database.add_run("posters")
    database.add_task("posters", "dataset", operator="ApimartImageDatasetOperator", state="deferred", rendered=rendered)


async def test_what_a_dataset_has_bought_so_far_is_shown_newest_first(
    admin: httpx.AsyncClient, ledger: Journal
) -> None:
    run = {"run_id": "posters/run"}
    stored = {"uri": "s3://bucket/posters/images/a.png", "width": 8, "height": 8, "bytes": 1}
    copied = entry(**run, id="sku-1", prompt="a cat", objects=(stored,), task_ids=("task_1",), updated_at=NOW + 3)
    ledger.append([entry(**run, id="sku-1", prompt="a cat", status=Status.ACCEPTED, updated_at=NOW)])
    ledger.append([copied, entry(**run, **FREE, id="sku-2", prompt="a dog", updated_at=NOW + 2)])
    ledger.append([entry(**run, **UNANSWERED, id="sku-3", prompt="a cow", updated_at=NOW + 1)])
    ledger.append([entry(run_id="posters/before", id="sku-4", prompt="a hen", updated_at=NOW + 9)])

    page = read(await admin.get(TASK))
    assert page.prompts[1:] == ["a cat", "a dog", "a cow"]
    assert page.prompts[0] == "dataset", "the task itself, which is at work"
    assert "no capacity" in page.text
    shown = [found["class"] for found in page.all("span") if "status" in found.get("class", "")]
    assert shown == ["status running", "status stored", "status failed", "status running"]


async def test_one_of_them_is_shown_in_full(admin: httpx.AsyncClient, ledger: Journal) -> None:
    stored = {"uri": "s3://bucket/posters/images/a.png", "width": 8, "height": 8, "bytes": 1}
    ledger.append([entry(run_id="posters/run", prompt="a cat", objects=(stored,), task_ids=("task_1",))])
    address = TASK.replace("gallery", "picture") + "&uri=s3://bucket/posters/images/a.png"
    assert "a cat" in read(await admin.get(address)).texts


async def test_a_ledger_that_cannot_be_read_leaves_the_rest_of_the_page_alone(
    admin: httpx.AsyncClient, s3_server: SeaweedFS, bucket: str, ledger: Journal
) -> None:
    ledger.append([entry(run_id="posters/run")])
    s3_server.client().put_object(Bucket=bucket, Key="posters/ledger/ledger.jsonl", Body=b"no ledger\n")
    assert read(await admin.get(TASK)).prompts == ["dataset"]
