"""The table for people, and the manifests: in the order that people expect, readable, and written once."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from dataset.ledger.ledger_entries import copied, entry, failed, ledger_of, store_of
from dataset.ledger.model_store import NOW, ModelServer

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.manifest import write_manifest
from airflow_provider_apimart.dataset.ledger.newest import NewestLines
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.dataset.ledger.snapshots import update_table
from airflow_provider_apimart.dataset.ledger.store import LedgerStore

if TYPE_CHECKING:
    from pathlib import Path

    from services.seaweedfs import SeaweedFS

TABLE = "prefix/ledger/ledger.jsonl.gz"


def table(server: ModelServer, name: str = TABLE) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(server.objects[name].body).splitlines()]


def buy(server: ModelServer, *rows: int, generation: int = 0, **client: Any) -> None:
    ledger = ledger_of(store_of(server, **client))
    intents = [entry(row, generation=generation, columns={"sku": f"s{row}"}) for row in rows]
    ledger.claim(lambda _: intents)
    ledger.record(*(copied(intent) for intent in intents))
    ledger.close(is_finished=True)


def test_the_table_has_the_newest_line_of_each_purchase_in_the_order_of_the_rows() -> None:
    server = ModelServer()
    buy(server, 3, 1)
    buy(server, 2, 11)
    buy(server, 3, generation=1)

    lines = table(server)
    assert [(it["row"], it["generation"], it["status"]) for it in lines] == [
        (1, 0, "copied"),
        (2, 0, "copied"),
        (3, 0, "copied"),
        (3, 1, "copied"),
        (11, 0, "copied"),
    ]
    assert server.objects[TABLE].metadata == {"apimart-log": "6"}


def test_people_open_it_with_their_tools(s3_server: SeaweedFS, bucket: str, tmp_path: Path) -> None:
    store = LedgerStore(s3_server.client(), bucket, "catalogue")
    ledger = ledger_of(store)
    ledger.claim(lambda _: [entry(1, columns={"sku": "a"}), entry(2)])
    ledger.record(copied(entry(1, columns={"sku": "a"})))
    ledger.close(is_finished=True)
    path = tmp_path / "ledger.jsonl.gz"
    path.write_bytes(store.get("ledger.jsonl.gz").body)

    with gzip.open(path, "rt", encoding="utf-8") as file:  # As pandas.read_json(..., lines=True) does.
        assert [json.loads(line)["status"] for line in file] == ["copied", "intended"]
    query = f"select id, cost, objects[1].uri, columns.sku from read_json('{path}') order by row"  # noqa: S608
    assert duckdb.sql(query).fetchall() == [
        ("sku-1", 0.25, "s3://bucket/sku-1.png", "a"),
        ("sku-2", None, None, None),
    ]


def test_a_table_that_another_worker_has_written_meanwhile_is_not_replaced_by_an_older_one() -> None:
    server = ModelServer()
    buy(server, 1)
    ledger = ledger_of(store_of(server))
    ledger.claim(lambda _: [entry(2)])
    ledger.flush()
    others = iter([lambda: buy(server, 3)])

    def fate(key: str) -> str:
        if key == TABLE:
            next(others, lambda: None)()
        return ""

    update_table(store_of(server, fate=fate), 3)

    assert [it["row"] for it in table(server)] == [1, 2, 3]


def test_a_store_that_never_finds_an_etag_true_gets_its_table_all_the_same() -> None:
    class OldServer(ModelServer):
        def put(self, key: str, body: bytes, metadata: Any, if_none_match: Any, if_match: Any) -> Any:
            return super().put(key, body, metadata, if_none_match, if_match and '"never"')

    server = OldServer()
    buy(server, 1)
    buy(server, 2)

    assert [it["row"] for it in table(server)] == [1, 2]


REFUSED: dict[str, Any] = {"status": EntryStatus.REFUSED, "charged": "no"}
ANOTHER = entry(1, buyer="bob", intended_at=NOW + 1)


@pytest.mark.parametrize(
    ("newest", "older"),
    [
        (entry(1), replace(ANOTHER, **REFUSED)),
        (replace(entry(1), **REFUSED), entry(1)),
        (replace(ANOTHER, **REFUSED, refusals=1), entry(1)),
        (copied(entry(1)), replace(ANOTHER, **REFUSED, refusals=1)),
        (replace(entry(1), attempt=1), copied(entry(1))),
    ],
)
def test_the_newest_line_of_a_purchase_is_the_same_in_any_order(newest: Entry, older: Entry) -> None:
    for order in permutations([newest, older]):
        with closing(NewestLines()) as lines:
            for each in order:
                lines.add(each.to_line())

            assert list(lines.lines()) == [newest.to_line()]


@pytest.mark.parametrize("row", [[], {}, 2**70])
def test_a_line_with_another_type_of_value_is_not_passed_over(row: Any) -> None:
    with closing(NewestLines()) as lines, pytest.raises(ValueError, match="not a ledger entry"):
        lines.add(json.dumps({**json.loads(entry(1).to_line()), "row": row}).encode())


def test_reading_goes_on_where_it_stopped() -> None:
    server, known = ModelServer(), set[str]()
    buy(server, 1)
    assert {it.row for it in read_entries(store_of(server), known=known)} == {1}
    buy(server, 2)

    assert {it.row for it in read_entries(store_of(server), known=known)} == {2}
    assert list(read_entries(store_of(server), known=known)) == []


@pytest.fixture
def server() -> ModelServer:
    server = ModelServer()
    buy(server, 1, 2, 3)
    return server


KEYS = [entry(row).key for row in (3, 2, 1, 9)]


def test_a_manifest_has_a_line_for_each_call_of_the_dataset_in_its_order(server: ModelServer) -> None:
    manifest = write_manifest(KEYS, ledger_of(store_of(server)), listed=[KEYS[0], KEYS[3]])

    name = manifest.address.removeprefix("s3://bucket/")
    assert [it["row"] for it in table(server, name)] == [3, 2, 1]
    assert [it.row for it in manifest.entries] == [3]
    assert manifest.pictures == {("dag/monday", "gpt-image-2"): 3}


def test_a_manifest_that_exists_is_found_again_and_nothing_is_written(server: ModelServer) -> None:
    first = write_manifest(KEYS, ledger_of(store_of(server)), listed=KEYS[:2])
    ledger = ledger_of(store_of(server))
    server.requests.clear()

    again = write_manifest(KEYS, ledger, listed=KEYS[:2])

    assert again == first
    assert [method for method, _ in server.requests] == ["HEAD", "GET"]


def test_a_manifest_keeps_the_picture_of_a_row_whose_newer_purchase_failed(server: ModelServer) -> None:
    before = write_manifest(KEYS, ledger_of(store_of(server)))
    ledger = ledger_of(store_of(server))
    ledger.claim(lambda _: [entry(1, generation=1)])
    ledger.record(failed(entry(1, generation=1)))

    after = write_manifest(KEYS, ledger, listed=KEYS)

    assert after.address == before.address
    assert {it.status for it in after.entries} == {"copied"}

    ledger.claim(lambda _: [entry(1, generation=2)])
    ledger.record(copied(entry(1, generation=2)))
    newest = write_manifest(KEYS, ledger, listed=KEYS)
    assert newest.address != before.address
    assert [it.generation for it in newest.entries] == [0, 0, 2]


def test_a_manifest_shows_rows_that_have_no_picture(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server))
    ledger.claim(lambda _: [entry(9)])
    ledger.record(failed(entry(9)))

    manifest = write_manifest(KEYS, ledger, listed=KEYS)

    assert [(it.row, it.status) for it in manifest.entries][-1] == (9, "failed")


def test_a_task_succeeds_although_the_disk_is_too_full_for_its_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ModelServer("honours")
    ledger = ledger_of(store_of(server))
    intent = entry(1)
    ledger.claim(lambda _: [intent])
    ledger.record(copied(intent))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "full"))

    ledger.close(is_finished=True)

    assert "every purchase is recorded" in caplog.text
    assert TABLE not in server.objects
    assert ledger_of(store_of(server), writer="bob").index.is_copied(intent.key)
