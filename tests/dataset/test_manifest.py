"""What a task has made of its dataset, as a file in a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset.entries import entry

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

    manifest = write_manifest([CHAIR.key, LAMP.key], ledger, objects, writer="0123456789abcdef", first=1)

    name = manifest.address.removeprefix(objects.address)
    assert name == "manifests/0123456789abcdef.jsonl"
    assert [read_line(line) for line in objects.lines(name)] == [CHAIR, LAMP]
    assert manifest.entries == [CHAIR]


def test_it_is_no_part_of_the_ledger(objects: LedgerObjects) -> None:
    Journal(objects).append([LAMP])
    ledger = Ledger()
    ledger.add([LAMP])
    write_manifest([LAMP.key], ledger, objects, writer="a", first=0)

    assert list(Journal(objects).read()) == [LAMP]
