"""An export is a folder that other programs open: the newest pictures, each with what is known of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pytest
from dataset.ledger.ledger_entries import copied, entry, failed

from airflow_provider_apimart.dataset.__main__ import main
from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.export import export_pictures
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.manifest import write_manifest
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from airflow_provider_apimart.dataset.ledger.store import LedgerStore


def stored(store: LedgerStore, intent: Entry, *contents: bytes) -> Entry:
    """Put pictures into the bucket, and return the entry that tells of them."""
    objects = []
    for index, content in enumerate(contents):
        key = f"catalogue/images/{intent.idempotency_key}-{index}.png"
        store.client.put_object(Bucket=store.bucket, Key=key, Body=content)
        found = {"uri": f"s3://{store.bucket}/{key}", "bytes": len(content), "width": 2, "height": 1}
        objects.append({**found, "sha256": hashlib.sha256(content).hexdigest(), "content_type": "image/png"})
    return copied(intent, objects=tuple(objects))


def ledger_with(store: LedgerStore, entries: Sequence[Entry]) -> Ledger:
    """Return a ledger of a task that has ended."""
    ledger = Ledger.open(store, writer="alice", try_number=1, warn=print)
    ledger.record(*entries)
    ledger.close(is_finished=True)
    return ledger


def lines_in(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_picture_has_a_line_and_a_file_in_the_layout_of_imagefolder(store: LedgerStore, tmp_path: Path) -> None:
    first = entry(1, size="1:1", prompt="Ein Vogel, grün", columns={"sku": "A-17", "cost": 99})
    ledger_with(store, [stored(store, first, b"one"), stored(store, entry(2, n=2), b"two", b"three"), failed(entry(3))])

    exported = export_pictures(store, tmp_path / "data")

    lines = lines_in(tmp_path / "data")
    assert (exported.pictures, list(exported.problems)) == (3, [])
    assert lines[0] == {
        "file_name": "images/sku-1-0-0-0-0.png",
        "id": "sku-1",
        "prompt": "Ein Vogel, grün",
        "model": "gpt-image-2",
        "size": "1:1",
        "resolution": None,
        "quality": None,
        "cost": 0.25,
        "width": 2,
        "height": 1,
        "uri": f"s3://{store.bucket}/catalogue/images/sku-1-0-0-0-0.png",
        "sku": "A-17",
    }
    assert [(line["id"], line["cost"], line["sku"]) for line in lines[1:]] == [("sku-2", 0.125, None)] * 2
    assert [(tmp_path / "data" / line["file_name"]).read_bytes() for line in lines] == [b"one", b"two", b"three"]


def test_of_a_row_that_was_bought_again_the_newest_pictures_count(store: LedgerStore, tmp_path: Path) -> None:
    again = entry(1, generation=1)
    lost = replace(entry(1, generation=2), status=EntryStatus.WRITTEN_OFF, charged="yes", cost=0.25)
    ledger_with(store, [stored(store, entry(1), b"old"), stored(store, again, b"new"), lost])

    export_pictures(store, tmp_path)

    assert [(tmp_path / line["file_name"]).read_bytes() for line in lines_in(tmp_path)] == [b"new"]


def test_a_manifest_gives_the_rows_of_one_task_in_their_order(
    store: LedgerStore, tmp_path: Path, aws_connection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [stored(store, entry(row), str(row).encode()) for row in (1, 2, 3)]
    manifest = write_manifest([entries[2].key, entries[0].key], ledger_with(store, entries))

    status = main([manifest.address, "export", str(tmp_path / "data"), "--aws-conn-id", aws_connection])

    assert status == 0
    assert [line["id"] for line in lines_in(tmp_path / "data")] == ["sku-3", "sku-1"]
    assert capsys.readouterr().out.endswith(f"Exported 2 pictures: {tmp_path / 'data' / 'metadata.jsonl'}\n")


def test_the_prompt_is_whole_where_it_was_passed_through(store: LedgerStore, tmp_path: Path) -> None:
    prompt = "a cat " * 100
    ledger_with(store, [stored(store, entry(1, prompt=prompt[:200], columns={"prompt": prompt}), b"one")])

    export_pictures(store, tmp_path, with_images=False)

    assert lines_in(tmp_path)[0]["prompt"] == prompt
    assert not (tmp_path / "images").exists()


def test_a_picture_that_is_gone_or_another_one_has_no_line(
    store: LedgerStore, tmp_path: Path, aws_connection: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [stored(store, entry(row), str(row).encode()) for row in (1, 2, 3)]
    ledger_with(store, entries)
    keys = [held["uri"].partition(f"{store.bucket}/")[2] for each in entries for held in each.objects]
    store.client.delete_object(Bucket=store.bucket, Key=keys[0])
    store.client.put_object(Bucket=store.bucket, Key=keys[1], Body=b"another")

    address = store.address.removesuffix("/ledger/")
    status = main([address, "export", str(tmp_path), "--aws-conn-id", aws_connection])

    assert status == 1
    assert [line["id"] for line in lines_in(tmp_path)] == ["sku-3"]
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["sku-3-0-0-0-0.png"]
    problems = [line for line in capsys.readouterr().err.splitlines() if "sku-" in line]
    assert len(problems) == 2
    assert "sku-1" in problems[0]
    assert "sku-2" in problems[1]


def test_a_picture_that_is_there_already_is_not_copied_again(store: LedgerStore, tmp_path: Path) -> None:
    bought = stored(store, entry(1), b"one")
    ledger_with(store, [bought])
    export_pictures(store, tmp_path)
    store.client.delete_object(Bucket=store.bucket, Key=bought.objects[0]["uri"].partition(f"{store.bucket}/")[2])

    assert export_pictures(store, tmp_path).pictures == 1


def test_parquet_has_the_same_columns_and_mixed_values_as_json(store: LedgerStore, tmp_path: Path) -> None:
    first, second = entry(1, columns={"sku": 17, "size_cm": 3}), entry(2, columns={"sku": "A-17", "size_cm": 4})
    ledger_with(store, [stored(store, first, b"one"), stored(store, second, b"two")])

    exported = export_pictures(store, tmp_path, file_format="parquet")

    rows = pyarrow.parquet.read_table(exported.metadata).to_pylist()
    assert exported.metadata == tmp_path / "metadata.parquet"
    assert [(row["file_name"], row["sku"], row["size_cm"]) for row in rows] == [
        ("images/sku-1-0-0-0-0.png", "17", 3),
        ("images/sku-2-0-0-0-0.png", "A-17", 4),
    ]


@pytest.mark.parametrize("file_format", ["imagefolder", "parquet"])
def test_a_ledger_without_pictures_gives_an_empty_table(store: LedgerStore, tmp_path: Path, file_format: Any) -> None:
    exported = export_pictures(store, tmp_path, file_format=file_format)

    assert exported.pictures == 0
    assert exported.metadata.is_file()


def test_a_format_that_does_not_exist_writes_nothing(store: LedgerStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="Nothing was written"):
        export_pictures(store, tmp_path / "data", file_format="csv")  # type: ignore[arg-type]
    assert not (tmp_path / "data").exists()
