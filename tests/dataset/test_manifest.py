"""What a task has made of its dataset, as a file in a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset.entries import CHARGED, entry

from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.line import read_line
from airflow_provider_apimart.dataset.manifest import write_manifest

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

LAMP, CHAIR, GONE = entry(id="lamp", row=2), entry(id="chair", row=1), entry(id="gone", row=1)


def test_it_has_a_line_for_each_row_of_the_dataset_in_its_order_and_no_other(objects: LedgerObjects) -> None:
    journal, ledger = Journal(objects), Ledger()
    written = [entry(id="lamp", row=2, status=Status.ACCEPTED), LAMP, GONE, CHAIR]
    journal.append(written[:1])
    journal.append(written[1:])
    ledger.add(written)

    manifest = write_manifest([CHAIR.key, LAMP.key], ledger, objects, writer="0123456789abcdef", listed={CHAIR.key})

    name = manifest.address.removeprefix(objects.address)
    assert name == "manifests/0123456789abcdef.jsonl"
    assert [read_line(line) for line in objects.lines(name)] == [CHAIR, LAMP]
    assert manifest.entries == [CHAIR]


def test_it_is_no_part_of_the_ledger(objects: LedgerObjects) -> None:
    Journal(objects).append([LAMP])
    ledger = Ledger()
    ledger.add([LAMP])
    write_manifest([LAMP.key], ledger, objects, writer="a", listed=())

    assert list(Journal(objects).read()) == [LAMP]


def test_it_counts_the_pictures_by_run_and_model_once_however_often_their_lines_are_read(
    objects: LedgerObjects,
) -> None:
    held = {"uri": "s3://bucket/a.png"}
    two = entry(id="two", objects=(held, held))
    one = entry(id="one", objects=(held,), run_id="tuesday")
    official = entry(id="official", objects=(held,), model="gpt-image-2-official")
    none = entry(id="none", **CHARGED)
    of_no_row = entry(id="of no row", objects=(held,))
    journal, ledger = Journal(objects), Ledger()
    for _ in range(2):
        journal.append([entry(id="two", objects=(), status=Status.ACCEPTED), two, one, official, none, of_no_row])
    ledger.add([two, one, official, none, of_no_row])

    keys = [each.key for each in (two, one, official, none)]
    manifest = write_manifest(keys, ledger, objects, writer="a", listed=())

    assert manifest.pictures == {
        ("monday", "gpt-image-2"): 2,
        ("tuesday", "gpt-image-2"): 1,
        ("monday", "gpt-image-2-official"): 1,
    }
