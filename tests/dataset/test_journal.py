"""The journal in a real S3 server: what one worker writes, the next one reads, whatever came in between."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from dataset.entries import NOW, UNANSWERED, entry

from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import FOLDER, TABLE, Journal, segment_name
from airflow_provider_apimart.dataset.line import to_line
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects


def ids(journal: Journal) -> list[str]:
    return sorted(one.id for one in journal.read())


def segments(objects: LedgerObjects) -> list[str]:
    return [found.name for found in objects.listing() if found.name.startswith(FOLDER)]


def lines(*them: Entry) -> io.BytesIO:
    return io.BytesIO(b"".join(to_line(one) + b"\n" for one in them))


def test_a_ledger_that_does_not_exist_is_empty(objects: LedgerObjects) -> None:
    assert ids(Journal(objects)) == []


def test_what_one_worker_writes_another_reads(objects: LedgerObjects) -> None:
    written = [entry(id="a", prompt="図: a cat"), entry(id="b", status=Status.ACCEPTED, task_ids=("task_1",))]

    Journal(objects).append(written)

    assert sorted(Journal(objects).read(), key=lambda one: one.id) == written


def test_each_write_is_an_object_of_its_own_and_nothing_is_none(objects: LedgerObjects) -> None:
    journal = Journal(objects, clock=lambda: NOW)

    journal.append([entry(id="a")])
    journal.append([entry(id="b")])
    journal.append([])

    first, second = segments(objects)
    assert first < second
    assert first.startswith("journal/20250615T150640.000000Z-")


def test_only_what_is_new_is_read_again_and_never_ones_own(objects: LedgerObjects) -> None:
    mine, other = Journal(objects), Journal(objects)
    other.append([entry(id="a")])

    assert ids(mine) == ["a"]
    assert ids(mine) == []

    mine.append([entry(id="mine")])
    other.append([entry(id="b")])

    assert ids(mine) == ["b"]


def test_many_segments_and_large_ones_are_all_read(objects: LedgerObjects) -> None:
    for number in range(5):
        Journal(objects).append([entry(id=f"{number}")])
    large = [entry(id=f"large-{number}", prompt="x" * 200) for number in range(2_000)]
    Journal(objects).append(large)

    found = ids(Journal(objects, at_once=2))

    assert max(each.size for each in objects.listing()) > 1024 * 1024
    assert found == sorted([*(f"{number}" for number in range(5)), *(one.id for one in large)])


def test_a_table_without_a_journal_counts(objects: LedgerObjects) -> None:
    objects.put(TABLE, lines(entry(id="moved")))
    journal = Journal(objects)

    assert ids(journal) == ["moved"]
    assert ids(journal) == []

    objects.put(TABLE, lines(entry(id="moved"), entry(id="more")))

    assert ids(journal) == ["more", "moved"]


def test_a_table_that_is_a_copy_of_a_segment_is_not_read_beside_it(objects: LedgerObjects) -> None:
    for name in (f"{FOLDER}a.jsonl", TABLE):
        objects.put(name, lines(entry(id="a")))

    assert ids(Journal(objects)) == ["a"]


def test_other_objects_beside_the_ledger_are_nobodys_business(objects: LedgerObjects) -> None:
    objects.put("export.csv", io.BytesIO(b"no line"))
    objects.put("ledger.jsonl.bak", io.BytesIO(b"no line"))

    assert ids(Journal(objects)) == []


def test_a_line_that_cannot_be_read_is_named_and_never_passed_over(objects: LedgerObjects) -> None:
    good = to_line(entry(id="a"))
    objects.put(f"{FOLDER}a.jsonl", io.BytesIO(good + b"\n\n" + good[:100]))

    with pytest.raises(RecordUnavailableError) as raised:
        ids(Journal(objects))

    assert f"line 3 of s3://{objects.bucket}/catalogue/ledger/journal/a.jsonl" in str(raised.value)
    assert "Nothing was sent" in str(raised.value)
    assert not raised.value.retryable


def test_intents_of_others_are_news_until_they_are_read_and_what_follows_from_them_is_not(
    objects: LedgerObjects,
) -> None:
    one, other = Journal(objects), Journal(objects)
    one.append([entry(id="a note")])
    assert not other.has_news(objects.listing())
    assert not one.has_news(objects.listing())

    name = one.intend([entry(id="an intent", **UNANSWERED)])

    assert other.has_news(objects.listing())
    assert not one.has_news(objects.listing())
    assert ids(other) == ["a note", "an intent"]
    assert not other.has_news(objects.listing())
    objects.delete(name)
    assert ids(Journal(objects)) == ["a note"]


def test_what_was_merged_may_hold_intents_of_others(objects: LedgerObjects) -> None:
    one = Journal(objects)
    one.append([entry(id="a")])
    one.append([entry(id="b")])

    compact(objects)

    assert Journal(objects).has_news(objects.listing())


def test_a_listing_that_is_there_is_used(objects: LedgerObjects) -> None:
    Journal(objects).append([entry(id="a")])
    listed = objects.listing()
    Journal(objects).append([entry(id="b")])

    assert list(Journal(objects).read([])) == []
    assert {one.id for one in Journal(objects).read(listed)} == {"a", "b"}


def test_segments_are_named_in_the_order_of_time() -> None:
    moments = [0.0, 0.5, 9.0, 10.0, NOW, NOW + 0.001, 4e9]

    named = [segment_name(moment, "z") for moment in moments]

    assert named == sorted(named)
