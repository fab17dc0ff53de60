from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from plugins.ledgers import INTENDED, NOW, RUN, LedgerWriter, entry, line_of_0_1

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import RecordUnavailableError, TransferError
from airflow_provider_apimart.plugins.web.live_ledger import LiveLedger, live_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger.store import LedgerObject


@dataclass
class WatchedStore(LedgerStore):
    """
    A ledger in S3.

    :param reads: names of the objects that were read.
    """

    reads: list[str] = field(default_factory=list)

    def get(self, name: str, **part: Any) -> LedgerObject:
        self.reads.append(name)
        return super().get(name, **part)

    def lines(self, name: str) -> Iterator[bytes]:
        self.reads.append(name)
        return super().lines(name)


@pytest.fixture
def store(s3_server: SeaweedFS, bucket: str) -> Iterator[WatchedStore]:
    store = WatchedStore(s3_server.client(), bucket, "live")
    yield store
    store.delete([found.name for found in store.list("")])


@pytest.fixture
def writer(store: WatchedStore) -> LedgerWriter:
    """Writes as the task of the dataset does."""
    return LedgerWriter(LedgerStore(store.client, store.bucket, store.prefix))


@pytest.fixture
def ledger(store: WatchedStore) -> LiveLedger:
    return LiveLedger(store, RUN)


def rows(ledger: LiveLedger) -> dict[str, EntryStatus]:
    return {found.id: found.status for found in ledger.entries()}


def test_an_empty_ledger_has_no_entries(ledger: LiveLedger) -> None:
    assert rows(ledger) == {}


def test_each_row_of_the_run_has_its_newest_state(ledger: LiveLedger, writer: LedgerWriter) -> None:
    writer.append(entry(id="a", status=EntryStatus.ACCEPTED), entry(id="b"))
    writer.append(entry(run_id="posters/before", id="c", updated_at=NOW + 9))
    writer.append(entry(id="a", status=EntryStatus.COPIED))
    assert rows(ledger) == {"a": EntryStatus.COPIED, "b": EntryStatus.COPIED}


@pytest.mark.parametrize(
    "run", ["posters/manual__2026-11-30T00:00:00+00:00", 'posters/a "run"', "posters/\u732b\u00e9"]
)
def test_a_run_of_any_name_finds_its_rows(store: WatchedStore, writer: LedgerWriter, run: str) -> None:
    writer.append(entry(id="a", run_id=run), entry(id="b", run_id="posters/other", prompt=f"of {run}"))
    assert rows(LiveLedger(store, run)) == {"a": EntryStatus.COPIED}


def test_a_second_look_reads_only_what_is_new(ledger: LiveLedger, writer: LedgerWriter, store: WatchedStore) -> None:
    writer.append(entry(id="a", status=EntryStatus.ACCEPTED))
    assert rows(ledger) == rows(ledger) == {"a": EntryStatus.ACCEPTED}
    assert len(store.reads) == 1
    writer.append(entry(id="a"), entry(id="b"))
    assert rows(ledger) == {"a": EntryStatus.COPIED, "b": EntryStatus.COPIED}
    assert len(store.reads) == 2


def test_a_table_is_read_when_it_has_something_new(
    ledger: LiveLedger, writer: LedgerWriter, store: WatchedStore
) -> None:
    writer.append(entry(id="a", status=EntryStatus.ACCEPTED))
    rows(ledger)
    writer.append(entry(id="a"))
    writer.finish()
    store.delete(["log/00000002.jsonl.gz"])
    store.reads.clear()
    assert rows(ledger) == rows(ledger) == {"a": EntryStatus.COPIED}
    assert store.reads == ["ledger.jsonl.gz"]
    writer.append(entry(id="b"))
    assert rows(ledger) == {"a": EntryStatus.COPIED, "b": EntryStatus.COPIED}
    assert store.reads == ["ledger.jsonl.gz", "log/00000003.jsonl.gz"]


def test_a_table_whose_lines_are_all_known_is_not_read(
    ledger: LiveLedger, writer: LedgerWriter, store: WatchedStore
) -> None:
    writer.append(entry(id="a"))
    rows(ledger)
    writer.finish()
    store.reads.clear()
    assert rows(ledger) == {"a": EntryStatus.COPIED}
    assert store.reads == []


def test_merged_objects_may_be_gone(ledger: LiveLedger, writer: LedgerWriter, store: WatchedStore) -> None:
    writer.append(entry(id="a"))
    writer.append(entry(id="b"))
    writer.finish()
    store.delete([found.name for found in store.list("log/")])
    writer.append(entry(id="c"))
    assert rows(ledger).keys() == {"a", "b", "c"}


def test_only_pictures_that_the_run_has_bought_are_listed(ledger: LiveLedger, writer: LedgerWriter) -> None:
    writer.append(entry(id="a", objects=({"uri": "s3://bucket/a.png"}, {"uri": "s3://bucket/b.png"})))
    writer.append(entry(run_id="theirs/run", id="c", objects=({"uri": "s3://bucket/c.png"},)))
    assert [ledger.lists(f"s3://bucket/{name}.png") for name in "abcd"] == [True, True, False, False]
    writer.append(entry(id="d", objects=({"uri": "s3://bucket/d.png"},)))
    assert ledger.lists("s3://bucket/d.png")


def test_a_picture_that_is_known_already_is_not_looked_up_in_s3(ledger: LiveLedger, writer: LedgerWriter) -> None:
    writer.append(entry(id="a", objects=({"uri": "s3://bucket/a.png"},)))
    assert ledger.lists("s3://bucket/a.png")
    ledger.max_read = 0
    assert ledger.lists("s3://bucket/a.png")
    with pytest.raises(TransferError):
        ledger.lists("s3://bucket/b.png")


@pytest.mark.parametrize(("limit", "other_run"), [("max_read", True), ("max_read", False), ("max_kept", False)])
def test_a_ledger_that_is_too_large_is_not_shown(
    writer: LedgerWriter, store: WatchedStore, limit: str, *, other_run: bool
) -> None:
    shown = entry(**({"run_id": "posters/before"} if other_run else {}))
    writer.append(shown)
    size = len(shown.to_line())
    too_small: dict[str, Any] = {limit: size - 1}
    fitting: dict[str, Any] = {limit: size}
    ledger = LiveLedger(store, RUN, **too_small)
    for _ in range(2):
        with pytest.raises(TransferError, match="/live/ledger/ is too large to be shown"):
            ledger.entries()
    assert len(LiveLedger(store, RUN, **fitting).entries()) == (not other_run)


def test_of_many_lines_about_a_row_the_newest_counts_against_the_limit(
    writer: LedgerWriter, store: WatchedStore
) -> None:
    for status in (EntryStatus.INTENDED, EntryStatus.ACCEPTED, EntryStatus.COPIED):
        writer.append(entry(status=status))
    ledger = LiveLedger(store, RUN, max_kept=len(entry(status=EntryStatus.ACCEPTED).to_line()))
    assert rows(ledger) == {"sku-1": EntryStatus.COPIED}


def test_threads_that_look_at_the_same_time_read_it_once(
    ledger: LiveLedger, writer: LedgerWriter, store: WatchedStore
) -> None:
    writer.append(entry(id="a"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(rows, [ledger] * 8)) == [{"a": EntryStatus.COPIED}] * 8
    assert len(store.reads) == 1


def test_all_who_look_at_a_run_share_one(aws_connection: str, bucket: str) -> None:
    ledger = live_ledger(bucket, "live", aws_connection, RUN)
    assert live_ledger(bucket, "live", aws_connection, RUN) is ledger
    assert live_ledger(bucket, "live", aws_connection, "posters/before") is not ledger


class TestALedgerOf01:
    @pytest.fixture(autouse=True)
    def _written(self, store: WatchedStore) -> None:
        store.put("ledger.jsonl", line_of_0_1(id="a") + b"\n" + line_of_0_1(id="b", run_id="posters/before") + b"\n")
        store.put("journal/20250615T150640.000000Z-a-000001-notes.jsonl", line_of_0_1(id="c", **INTENDED) + b"\n")

    def test_is_shown(self, ledger: LiveLedger) -> None:
        assert rows(ledger) == rows(ledger) == {"a": EntryStatus.COPIED, "c": EntryStatus.INTENDED}

    def test_is_shown_further_when_it_is_continued(self, ledger: LiveLedger, store: WatchedStore) -> None:
        assert rows(ledger).keys() == {"a", "c"}
        LedgerWriter(store).append(entry(id="c"))
        assert rows(ledger) == {"a": EntryStatus.COPIED, "c": EntryStatus.COPIED}

    def test_is_not_read_where_it_is_too_large(self, store: WatchedStore) -> None:
        with pytest.raises(TransferError, match="is too large to be shown"):
            LiveLedger(store, RUN, max_read=500).entries()
        assert store.reads == []


@pytest.mark.parametrize("name", ["ledger.jsonl.gz", "log/00000001.jsonl.gz", "ledger.jsonl"])
def test_a_ledger_that_cannot_be_read_is_an_error(ledger: LiveLedger, store: WatchedStore, name: str) -> None:
    store.put(name, b"not a ledger\n")
    with pytest.raises(RecordUnavailableError):
        ledger.entries()
