"""Many segments become one and a table, in a real S3 server, and nothing is lost on the way."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import FREE, NOW, UNANSWERED, entry

from airflow_provider_apimart.dataset.compaction import compact
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import FOLDER, TABLE, Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.line import read_line, to_line
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects


def written(objects: LedgerObjects, *them: Entry) -> str:
    """Write a segment, and return its name."""
    before = set(segments(objects))
    Journal(objects).append(them)
    (name,) = set(segments(objects)) - before
    return name


def segments(objects: LedgerObjects) -> list[str]:
    return [found.name for found in objects.listing() if found.name.startswith(FOLDER)]


class Interrupted:
    """
    The objects of a ledger, with something that happens just before they are used in a certain way.

    :param skip: uses before it happens for the first time.
    :param times: how often it happens.
    """

    def __init__(
        self, objects: LedgerObjects, use: str, meanwhile: Callable[[], object], *, skip: int = 0, times: int = 1
    ) -> None:
        self.happened = 0
        self._objects, self._use, self._meanwhile = objects, use, meanwhile
        self._uses, self._skip, self._times = 0, skip, times

    def __getattr__(self, name: str) -> Any:
        if name == self._use:
            self._uses += 1
            if self._uses > self._skip and self.happened < self._times:
                self.happened += 1
                self._meanwhile()
        return getattr(self._objects, name)


def ledger_of(objects: LedgerObjects) -> Ledger:
    ledger = Ledger()
    ledger.add(Journal(objects).read())
    return ledger


def table(objects: LedgerObjects) -> list[Entry]:
    return [read_line(line) for line in objects.lines(TABLE)]


def test_many_segments_become_one_with_the_newest_line_of_each_row(objects: LedgerObjects) -> None:
    written(objects, entry(id="a", **UNANSWERED), entry(id="b", row=2, **UNANSWERED))
    written(objects, entry(id="a", status=Status.ACCEPTED), entry(id="b", row=2, **FREE))
    written(objects, entry(id="a"), entry(id="b", row=2, attempt=1))
    before = ledger_of(objects)

    compact(objects)

    assert len(segments(objects)) == 1
    assert ledger_of(objects) == before
    assert table(objects) == [entry(id="a"), entry(id="b", row=2, attempt=1)]


def test_what_was_bought_anew_keeps_the_line_of_what_it_replaced(objects: LedgerObjects) -> None:
    written(objects, entry(cost=0.5), entry(generation=1, **UNANSWERED))
    written(objects, entry(generation=1, status=Status.ACCEPTED), entry(generation=1, cost=0.25))

    compact(objects)

    assert table(objects) == [entry(cost=0.5), entry(generation=1, cost=0.25)]
    assert len(segments(objects)) == 1


def test_the_table_has_the_order_of_the_dataset_and_is_plain_json(objects: LedgerObjects) -> None:
    written(objects, entry(id="c", row=30), entry(id="a", row=4), entry(id="b", row=11, cost=0.5))

    compact(objects)

    lines = [json.loads(line) for line in objects.lines(TABLE)]
    assert [line["row"] for line in lines] == [4, 11, 30]
    assert lines[1]["cost"] == 0.5


def test_what_is_merged_already_is_left_alone(objects: LedgerObjects) -> None:
    written(objects, entry())
    compact(objects)
    before = objects.listing()

    compact(objects)

    assert objects.listing() == before


def test_a_ledger_that_does_not_exist_stays_so(objects: LedgerObjects) -> None:
    compact(objects)

    assert objects.listing() == []


def test_a_table_that_was_moved_here_goes_into_the_next_one(objects: LedgerObjects) -> None:
    objects.put(TABLE, io.BytesIO(to_line(entry(id="moved"))))
    compact(objects)
    assert table(objects) == [entry(id="moved")]
    written(objects, entry(id="new", row=2))

    compact(objects)

    assert table(objects) == [entry(id="moved"), entry(id="new", row=2)]


def test_an_intent_that_nothing_newer_is_known_of_stays_where_its_worker_may_take_it_back(
    objects: LedgerObjects,
) -> None:
    answered = written(objects, entry(id="a", **UNANSWERED))
    open_intent = written(objects, entry(id="b", **UNANSWERED))
    again = written(objects, entry(id="c", attempt=1, **UNANSWERED))
    written(objects, entry(id="a", status=Status.ACCEPTED), entry(id="c", **FREE))
    before = ledger_of(objects)

    compact(objects)

    assert {open_intent, again} < set(segments(objects))
    assert answered not in segments(objects)
    assert ledger_of(objects) == before
    assert {one.id for one in table(objects)} == {"a", "c"}

    objects.delete(again)

    state = ledger_of(objects).find(entry(id="c").key)
    assert state is not None
    assert (state.status, state.attempt) == (Status.FAILED, 0)


def test_where_there_are_intents_only_nothing_is_merged(objects: LedgerObjects) -> None:
    name = written(objects, entry(**UNANSWERED))

    compact(objects)

    assert [found.name for found in objects.listing()] == [name]


def test_the_merged_segment_comes_after_all_others_even_by_a_slow_clock(objects: LedgerObjects) -> None:
    last = written(objects, entry())

    compact(objects, clock=lambda: NOW - 86_400)

    (merged,) = segments(objects)
    assert merged > last


def test_two_workers_who_merge_at_once_lose_nothing_and_leave_a_whole_table(objects: LedgerObjects) -> None:
    for name in "abc":
        written(objects, entry(id=name))

    def another() -> None:
        written(objects, entry(id="d"))
        compact(objects)

    compact(Interrupted(objects, "delete", another))

    assert [one.id for one in sorted(table(objects), key=lambda one: one.id)] == ["a", "b", "c", "d"]
    assert len(ledger_of(objects)) == 4
    assert len(segments(objects)) == 1


def test_an_older_table_that_was_written_later_is_written_again(objects: LedgerObjects) -> None:
    written(objects, entry(id="a"))

    def another() -> None:
        written(objects, entry(id="b"))
        compact(objects)

    compact(Interrupted(objects, "put", another, skip=1))

    assert {one.id for one in table(objects)} == {"a", "b"}


def test_a_segment_that_another_worker_has_merged_meanwhile_is_found_in_its_place(objects: LedgerObjects) -> None:
    for name in "abc":
        written(objects, entry(id=name))

    compact(Interrupted(objects, "lines", lambda: compact(objects)))

    assert {one.id for one in table(objects)} == {"a", "b", "c"}
    assert len(segments(objects)) == 1


@pytest.mark.parametrize(
    ("at", "skip"),
    [
        pytest.param("put", 0, id="before anything is written"),
        pytest.param("put", 1, id="before the table is written"),
        pytest.param("delete", 0, id="before anything is deleted"),
    ],
)
def test_a_merge_that_breaks_off_loses_nothing(objects: LedgerObjects, at: str, skip: int) -> None:
    for name in "abc":
        written(objects, entry(id=name))
    before = ledger_of(objects)

    def die() -> None:
        raise RecordUnavailableError("the store is gone")

    with pytest.raises(RecordUnavailableError, match="the store is gone"):
        compact(Interrupted(objects, at, die, skip=skip))

    assert ledger_of(objects) == before
    compact(objects)
    assert ledger_of(objects) == before
    assert len(segments(objects)) == 1
    assert len(table(objects)) == 3


def test_a_line_that_cannot_be_read_stops_the_merge_before_anything_is_written(objects: LedgerObjects) -> None:
    objects.put(f"{FOLDER}a.jsonl", io.BytesIO(b"no line"))
    before = objects.listing()

    with pytest.raises(RecordUnavailableError, match="line 1 of"):
        compact(objects)

    assert objects.listing() == before


def test_workers_who_go_on_writing_keep_nobody_merging_for_ever(objects: LedgerObjects) -> None:
    written(objects, entry(id="first"))
    busy = Interrupted(objects, "delete", lambda: written(objects, entry(id=f"{busy.happened}")), times=100)

    compact(busy)

    assert 1 < busy.happened < 10
    assert len(ledger_of(objects)) == 1 + busy.happened


def test_an_intent_is_no_answer_to_an_earlier_one_which_may_have_been_sent(objects: LedgerObjects) -> None:
    sent = Journal(objects)
    sent.intend([entry(**UNANSWERED)])
    taken_back = Journal(objects).intend([entry(**{**UNANSWERED, "updated_at": NOW + 1})])
    Journal(objects).append([entry(id="another row")])

    compact(objects)
    objects.delete(taken_back)

    assert entry(**UNANSWERED) in list(Journal(objects).read())
