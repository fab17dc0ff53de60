"""Whose turn it is, with a real S3 server."""

from __future__ import annotations

import io
import itertools
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import UNANSWERED, entry

from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.queue import FOLDER, Queue
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.ledger_objects import LedgerObject, LedgerObjects

INTENT = entry(**UNANSWERED)


@dataclass
class Clock:
    """
    A worker's own time, which passes while it sleeps.

    :param on_pause: what happens meanwhile.
    """

    elapsed: float = 0.0
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[], object] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.elapsed += 10
        self.on_pause()


def queue_of(objects: LedgerObjects, owner: str, *, at: float = 1_750_000_000.0, clock: Clock | None = None) -> Queue:
    own = clock or Clock()
    return Queue(Journal(objects), owner, clock=lambda: at, elapsed=lambda: own.elapsed, sleep=own.sleep)


def tickets(objects: LedgerObjects) -> list[str]:
    return [found.name.split("-")[1] for found in objects.listing() if found.name.startswith(FOLDER)]


def test_who_is_alone_has_the_turn_at_once(objects: LedgerObjects) -> None:
    clock = Clock()

    with queue_of(objects, "one", clock=clock).place() as place:
        assert list(place.turn()) == []
        assert place.confirm([INTENT])
        assert tickets(objects) == ["one"]

    assert clock.pauses == []
    assert tickets(objects) == []
    assert list(Journal(objects).read()) == [INTENT]


def test_who_comes_later_waits_and_then_reads_what_was_bought(objects: LedgerObjects) -> None:
    first = queue_of(objects, "one").place()
    place = first.__enter__()
    list(place.turn())

    def finish() -> None:
        assert place.confirm([INTENT])
        first.__exit__(None, None, None)

    clock = Clock(on_pause=finish)
    with queue_of(objects, "other", at=1_750_000_001.0, clock=clock).place() as later:
        assert list(later.turn()) == [INTENT]
        assert later.confirm([entry(id="another", **UNANSWERED)])

    assert len(clock.pauses) == 1


def test_of_two_that_believe_to_be_first_only_one_confirms(objects: LedgerObjects) -> None:
    """The ticket of the first has an earlier time, and comes into sight after the other has looked."""
    with queue_of(objects, "slow", at=1_750_000_001.0).place() as slow:
        list(slow.turn())
        with queue_of(objects, "quick").place() as quick:
            list(quick.turn())

            assert not slow.confirm([entry(id="slow", **UNANSWERED)])
            assert quick.confirm([entry(id="quick", **UNANSWERED)])

        assert not slow.confirm([entry(id="slow", **UNANSWERED)])
        assert [one.id for one in slow.turn()] == ["quick"]
        assert slow.confirm([entry(id="slow", **UNANSWERED)])

    assert {one.id for one in Journal(objects).read()} == {"quick", "slow"}


@pytest.mark.parametrize(("age", "is_removed"), [(50, False), (70, True)])
def test_a_ticket_that_nobody_renews_is_removed_after_a_minute(
    objects: LedgerObjects, age: float, is_removed: bool
) -> None:
    left_behind = f"{FOLDER}20250615T150000.000000Z-dead-1.json"
    objects.put(left_behind, io.BytesIO(b"{}"))
    clock = Clock(on_pause=lambda: objects.delete(left_behind))
    queue = queue_of(objects, "alive", clock=clock)
    queue.journal.objects = Aged(objects, left_behind, age)  # type: ignore[assignment]

    with queue.place() as place:
        list(place.turn())

    assert len(clock.pauses) == (0 if is_removed else 1)
    assert tickets(objects) == []


def test_a_ticket_that_is_renewed_is_waited_for(objects: LedgerObjects) -> None:
    with queue_of(objects, "alive").place() as held:
        clock = Clock(on_pause=held.renew)

        with (
            pytest.raises(RecordUnavailableError, match="for 10 minutes all turns were theirs"),
            queue_of(objects, "other", at=1_750_000_001.0, clock=clock).place() as place,
        ):
            list(place.turn())

        assert tickets(objects) == ["alive"]


def test_a_later_try_does_not_wait_for_an_earlier_one_which_can_confirm_nothing_any_more(
    objects: LedgerObjects,
) -> None:
    with queue_of(objects, "task").place() as undead:
        list(undead.turn())
        clock = Clock()

        with queue_of(objects, "task", at=1_750_000_001.0, clock=clock).place() as place:
            list(place.turn())
            assert not undead.confirm([INTENT])
            assert place.confirm([INTENT])

        assert clock.pauses == []


def test_what_an_earlier_try_has_left_behind_is_removed_and_nothing_else(objects: LedgerObjects) -> None:
    for owner in ("task", "other"):
        objects.put(f"{FOLDER}20250615T150000.000000Z-{owner}-1.json", io.BytesIO(b"{}"))

    queue_of(objects, "task").remove_earlier()

    assert tickets(objects) == ["other"]


def test_intents_whose_answer_was_lost_are_taken_back(objects: LedgerObjects) -> None:
    queue = queue_of(objects, "one")
    with queue.place() as place:
        list(place.turn())
        queue.journal.objects = LosingAnswers(objects)  # type: ignore[assignment]

        with pytest.raises(RecordUnavailableError):
            place.confirm([INTENT])

    assert list(Journal(objects).read()) == []


def test_a_worker_whose_ticket_was_removed_puts_it_back_and_reads_anew(objects: LedgerObjects) -> None:
    with queue_of(objects, "one").place() as place:
        list(place.turn())
        objects.delete(place.ticket)
        Journal(objects).intend([entry(id="another", **UNANSWERED)])

        assert not place.confirm([INTENT])
        assert [one.id for one in place.turn()] == ["another"]
        assert place.confirm([INTENT])


def test_many_workers_all_have_their_turns_and_each_reads_what_those_before_it_have_written(
    objects: LedgerObjects,
) -> None:
    read: dict[str, set[str]] = {}

    def work(name: str) -> None:
        known: set[str] = set()
        with Queue(Journal(objects), name).place() as place:
            for turn in itertools.count():
                known |= {one.id for one in place.turn()}
                if place.confirm([entry(id=f"{name}, turn {turn}", **UNANSWERED)]):
                    read[f"{name}, turn {turn}"] = known
                    return

    workers = [threading.Thread(target=work, args=(f"worker{number}",)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    # What was read of those who took it back afterwards does not count.
    assert sorted(len(known & read.keys()) for known in read.values()) == list(range(8))


def test_a_store_that_does_not_answer_confirms_nothing(objects: LedgerObjects) -> None:
    queue = queue_of(objects, "one")
    with queue.place() as place:
        list(place.turn())
        real: Any = queue.journal.objects
        queue.journal.objects = Unlistable(real)  # type: ignore[assignment]

        assert not place.confirm([INTENT])

    assert list(Journal(objects).read()) == []


@dataclass
class Aged:
    """
    A ledger, one object of which is older than all others.

    :param age: seconds by which it is.
    """

    objects: LedgerObjects
    name: str
    age: float

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)

    def listing(self) -> list[LedgerObject]:
        return [replace(it, modified=-self.age if it.name == self.name else 0.0) for it in self.objects.listing()]


class LosingAnswers:
    """Writes, and says that it could not."""

    def __init__(self, objects: LedgerObjects) -> None:
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def put(self, name: str, content: Any) -> Any:
        self._objects.put(name, content)
        raise RecordUnavailableError("the answer was lost")


class Unlistable:
    def __init__(self, objects: LedgerObjects) -> None:
        self._objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def listing(self) -> Any:
        raise RecordUnavailableError("the store does not answer")
