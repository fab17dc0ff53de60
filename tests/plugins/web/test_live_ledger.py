from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from dataset.entries import NOW, UNANSWERED, entry

from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.plugins.web.live_ledger import LiveLedger, live_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.seaweedfs import SeaweedFS

RUN = "posters/run"
OURS = {"run_id": RUN}


@dataclass(frozen=True)
class WatchedObjects(LedgerObjects):
    """
    The objects of a ledger in S3.

    :param reads: names of those that were read.
    """

    reads: list[str] = field(default_factory=list)

    def lines(self, name: str) -> Iterator[bytes]:
        self.reads.append(name)
        return super().lines(name)


@pytest.fixture
def objects(s3_server: SeaweedFS, bucket: str) -> Iterator[WatchedObjects]:
    objects = WatchedObjects(s3_server.client(), bucket, "live")
    yield objects
    for found in objects.listing():
        objects.delete(found.name)


@pytest.fixture
def journal(objects: WatchedObjects) -> Journal:
    """What the task of the dataset writes."""
    return Journal(objects)


@pytest.fixture
def ledger(objects: WatchedObjects) -> LiveLedger:
    return LiveLedger(objects, RUN)


def rows(ledger: LiveLedger) -> dict[str, Status]:
    return {found.id: found.status for found in ledger.entries()}


def test_each_row_of_the_run_has_its_newest_state(ledger: LiveLedger, journal: Journal) -> None:
    journal.append([entry(**OURS, id="a", status=Status.ACCEPTED), entry(**OURS, id="b")])
    journal.append([entry(run_id="posters/before", id="c", updated_at=NOW + 9)])
    journal.append([entry(**OURS, id="a", status=Status.COPIED)])
    assert rows(ledger) == {"a": Status.COPIED, "b": Status.COPIED}


def test_a_second_look_reads_only_what_is_new(ledger: LiveLedger, journal: Journal, objects: WatchedObjects) -> None:
    journal.append([entry(**OURS, id="a", status=Status.ACCEPTED)])
    assert rows(ledger) == {"a": Status.ACCEPTED}
    assert len(objects.reads) == 1
    assert rows(ledger) == {"a": Status.ACCEPTED}
    assert len(objects.reads) == 1
    journal.append([entry(**OURS, id="a"), entry(**OURS, id="b")])
    assert rows(ledger) == {"a": Status.COPIED, "b": Status.COPIED}
    assert len(objects.reads) == 2


def test_only_pictures_that_the_run_has_bought_are_listed(ledger: LiveLedger, journal: Journal) -> None:
    journal.append([entry(**OURS, id="a", objects=({"uri": "s3://bucket/a.png"}, {"uri": "s3://bucket/b.png"}))])
    journal.append([entry(run_id="theirs/run", id="c", objects=({"uri": "s3://bucket/c.png"},))])
    assert [ledger.lists(f"s3://bucket/{name}.png") for name in "abcd"] == [True, True, False, False]
    journal.append([entry(**OURS, id="d", objects=({"uri": "s3://bucket/d.png"},))])
    assert ledger.lists("s3://bucket/d.png")


def test_a_picture_that_is_known_already_is_not_looked_for_in_s3(ledger: LiveLedger, journal: Journal) -> None:
    journal.append([entry(**OURS, id="a", objects=({"uri": "s3://bucket/a.png"},))])
    assert ledger.lists("s3://bucket/a.png")
    ledger.max_bytes = 0
    assert ledger.lists("s3://bucket/a.png")
    with pytest.raises(TransferError):
        ledger.lists("s3://bucket/b.png")


def test_what_was_merged_is_read_once(ledger: LiveLedger, journal: Journal, objects: WatchedObjects) -> None:
    for status in (Status.ACCEPTED, Status.COPIED):
        journal.append([entry(**OURS, id="a", status=status)])
        rows(ledger)
    compact(objects)
    objects.reads.clear()
    assert rows(ledger) == rows(ledger) == {"a": Status.COPIED}
    assert len(objects.reads) == 1


def test_what_was_taken_back_is_forgotten(ledger: LiveLedger, journal: Journal, objects: WatchedObjects) -> None:
    journal.append([entry(**OURS, id="a")])
    name = journal.intend([entry(**OURS, **UNANSWERED, id="b")])
    assert rows(ledger) == {"a": Status.COPIED, "b": Status.INTENDED}
    objects.delete(name)
    assert rows(ledger) == {"a": Status.COPIED}


def test_one_that_is_too_large_is_not_read(journal: Journal, objects: WatchedObjects) -> None:
    journal.append([entry(**OURS)])
    compact(objects)
    [segment] = {found.size for found in objects.listing()}
    objects.reads.clear()
    with pytest.raises(TransferError, match=rf"/live/ledger/ is larger than {segment - 1} bytes, and is not shown"):
        LiveLedger(objects, RUN, max_bytes=segment - 1).entries()
    assert objects.reads == []
    assert LiveLedger(objects, RUN, max_bytes=segment).entries(), "what is there twice counts once"


def test_threads_that_look_at_the_same_time_read_it_once(
    ledger: LiveLedger, journal: Journal, objects: WatchedObjects
) -> None:
    journal.append([entry(**OURS, id="a")])
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rows, [ledger] * 8)) == [{"a": Status.COPIED}] * 8
    assert len(objects.reads) == 1


def test_all_who_look_at_a_run_share_one(aws_connection: str, bucket: str) -> None:
    ledger = live_ledger(bucket, "live", aws_connection, RUN)
    assert live_ledger(bucket, "live", aws_connection, RUN) is ledger
    assert live_ledger(bucket, "live", aws_connection, "posters/before") is not ledger
