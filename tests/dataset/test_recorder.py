"""Entries on their way into the ledger, with a real S3 server."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import entry

from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.recorder import Recorder
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects

FIRST, SECOND = entry(id="a"), entry(id="b")


@dataclass
class FlakyJournal:
    """Fails as often as it is told to."""

    failures: int = 0
    written: list[Entry] = field(default_factory=list)
    has_written: threading.Event = field(default_factory=threading.Event)

    def append(self, entries: Sequence[Entry]) -> None:
        if self.failures:
            self.failures -= 1
            raise RecordUnavailableError("the store does not answer")
        self.written += entries
        self.has_written.set()


def recorder_of(journal: Any, *, held: float) -> Recorder:
    return Recorder(journal, Ledger(), held=held)


def test_many_entries_go_into_one_object(objects: LedgerObjects) -> None:
    recorder = recorder_of(Journal(objects), held=60)

    recorder.note(FIRST)
    recorder.note(SECOND)
    assert len(recorder.ledger) == 2
    assert recorder.unwritten == (FIRST, SECOND)
    recorder.flush()

    assert recorder.unwritten == ()
    assert len(objects.listing()) == 1
    assert list(Journal(objects).read()) == [FIRST, SECOND]


def test_nothing_is_held_back_for_long_although_nobody_comes_by() -> None:
    journal = FlakyJournal()
    recorder = recorder_of(journal, held=0.01)

    recorder.note(FIRST)

    assert journal.has_written.wait(30)
    assert journal.written == [FIRST]


def test_no_more_is_held_back_than_fits_into_memory() -> None:
    journal = FlakyJournal()
    recorder = recorder_of(journal, held=60)

    for number in range(500):
        recorder.note(entry(id=f"row-{number}"))

    assert len(journal.written) == 500
    recorder.flush()


def test_what_could_not_be_written_is_written_by_the_next_try() -> None:
    journal = FlakyJournal(failures=1)
    recorder = recorder_of(journal, held=0)

    with pytest.raises(RecordUnavailableError):
        recorder.note(FIRST)
    assert recorder.unwritten == (FIRST,)
    recorder.note(SECOND)

    assert journal.written == [FIRST, SECOND]


def test_a_failure_that_nobody_hears_is_no_loss() -> None:
    journal = FlakyJournal(failures=1)
    recorder = recorder_of(journal, held=0.01)
    recorder.note(FIRST)
    while journal.failures:
        threading.Event().wait(0.01)

    recorder.flush()

    assert journal.written == [FIRST]
