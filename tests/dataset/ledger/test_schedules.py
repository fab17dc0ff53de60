"""
No schedule of workers buys a picture twice, or loses what was bought: random ones, on a model of an S3 server.

Workers are siblings, successors and other runs; they are killed, stopped for hours while others merge and delete, and
their writes are lost, repeated, or arrive later. What each does outside is one step, and a schedule says whose is next.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest
from dataset.ledger.ledger_entries import copied, entry
from dataset.ledger.model_store import ModelClient, ModelServer
from dataset.turns import Worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, rank_of
from airflow_provider_apimart.dataset.ledger.ledger import Ledger
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import RecordUnavailableError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.store import LedgerObject

T = TypeVar("T")
Conditions = Literal["honours", "ignores", "refuses"]
#: Task instance, generation, group, whether it finishes, and by how much its clock is wrong.
Kind = tuple[str, int, int, bool, float]
#: Worker, steps, fate, pause, and whether late writes arrive.
Turn = tuple[int, int, str, float, bool]
LOG = logging.getLogger("schedules")
LOG.disabled = True
ROWS = 4
#: Seconds for which a sender waits for a response.
PATIENCE = 400.0
#: Seconds after which stores refuse a request that was signed before.
SIGNATURE_LIFETIME = 900.0


@dataclass
class World:
    """
    The store, and a gateway that does not recognise idempotency keys.

    :param submitted: each purchase, by its idempotency key.
    :param known: purchases whose acceptance a worker has handed to its ledger and flushed.
    """

    server: ModelServer
    submitted: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    late: list = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Let more time pass than somebody sleeps, so that what a dead worker has left is soon old."""
        self.server.now += 20 * seconds

    def submit(self, worker: Worker, store: LedgerStore, intent: Entry) -> Entry | None:
        def effect() -> Entry | None:
            # The sender's guarantee: it begins nothing after the time that it gave to the others.
            if store.now() >= intent.answer_by:
                return None
            self.submitted.append(intent.idempotency_key)
            task_id = f"task-{len(self.submitted)}"
            return replace(intent, status=EntryStatus.ACCEPTED, task_ids=(task_id,), accepted_at=self.server.now)

        return worker.step(effect)


@dataclass
class Job:
    """
    What one worker does.

    :param writer: of its entries; two jobs with the same are an older and a later try.
    :param generation: up to which it buys rows again.
    :param group: most calls that it claims at once.
    """

    world: World
    writer: str
    try_number: int
    generation: int
    group: int
    finishes: bool
    skew: float

    def __call__(self, worker: Worker) -> None:
        server = self.world.server
        client = ModelClient(server, step=worker.step, late=self.world.late, fate=lambda _: worker.take_fate())
        store = LedgerStore(client, "bucket", "prefix", clock=lambda: server.now + self.skew)  # type: ignore[arg-type]
        ledger = self.opened(store)
        finishes = self.finishes
        try:
            for _ in range(3):
                self.buy(worker, ledger)
        except SupersededError:
            finishes = False
        retrying(lambda: ledger.close(is_finished=finishes))
        self.world.known |= {it.idempotency_key for it in self.accepted}

    def opened(self, store: LedgerStore) -> Ledger:
        self.accepted: list[Entry] = []
        return retrying(
            lambda: Ledger.open(
                store,
                writer=self.writer,
                try_number=self.try_number,
                warn=LOG.warning,
                held=math.inf,
                sleep=self.world.sleep,
            )
        )

    def buy(self, worker: Worker, ledger: Ledger) -> None:
        try:
            claimed = ledger.claim(lambda index: self.decide(index, ledger.store.now()))
        except SupersededError:
            raise
        except RecordUnavailableError as error:
            if not error.retryable:
                raise
            return
        for place, intent in enumerate(claimed):
            outcome = self.world.submit(worker, ledger.store, intent)
            if outcome is None:
                refused = replace(intent, status=EntryStatus.REFUSED, charged="no", cost=0.0, reserved=None)
                ledger.record(refused)
                continue
            ledger.record(outcome)
            self.accepted.append(outcome)
            if place % 2 == 0:
                ledger.record(copied(outcome, *outcome.task_ids))

    def decide(self, index: Index, now: float) -> list[Entry]:
        intents = []
        for row in range(ROWS):
            wanted = self.wanted(index, entry(row).key, row)
            if wanted is not None and len(intents) < self.group:
                stamps = {"intended_at": now, "answer_by": now + PATIENCE, "updated_at": now}
                intents.append(
                    replace(wanted, writer=self.writer, buyer=self.writer, try_number=self.try_number, **stamps)
                )
        return intents

    def wanted(self, index: Index, key: bytes, row: int) -> Entry | None:
        state = index.find(key)
        if state is None:
            return entry(row)
        if state.status is EntryStatus.REFUSED:
            return entry(row, generation=state.generation, refusals=state.refusals + 1)
        if state.status is EntryStatus.COPIED and state.generation < self.generation:
            return entry(row, generation=state.generation + 1)
        return None


def retrying(effect: Callable[[], T]) -> T:
    while True:
        try:
            return effect()
        except RecordUnavailableError as error:
            if not error.retryable:
                raise


class FatedWorker(Worker):
    def take_fate(self) -> str:
        return next((fate for fate in ("lost", "repeated", "late") if self.suffers(fate)), "")


jobs = st.lists(
    st.tuples(
        st.sampled_from(["alice", "bob", "carol"]),
        st.integers(0, 2),
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from([0.0, -7200.0, 86400.0]),
    ),
    min_size=2,
    max_size=4,
)
fates = st.sampled_from(["", "", "", "", "lost", "repeated", "late", "die before", "die after"])
pauses = st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, 60.0, 500.0, 4000.0, 100_000.0])
#: Which worker, how many steps, its fate, seconds that pass before, and whether late writes arrive before.
schedules = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 12), fates, pauses, st.booleans()), min_size=5, max_size=60
)


@pytest.mark.parametrize("conditions", ["honours", "ignores", "refuses"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds=jobs, schedule=schedules, tail=st.integers(0, 6))
def test_no_schedule_buys_twice_or_loses_anything(
    conditions: Conditions, kinds: list[Kind], schedule: list[Turn], tail: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "_longest_tail", property(lambda _: tail))
        run(conditions, kinds, schedule)


def run(conditions: Conditions, kinds: list[Kind], schedule: list[Turn]) -> None:
    world = World(ModelServer(conditions))
    tries: dict[str, int] = {}
    workers = []
    for writer, generation, group, finishes, skew in kinds:
        tries[writer] = tries.get(writer, 0) + 1
        workers.append(FatedWorker(Job(world, writer, tries[writer], generation, group, finishes, skew)))
    for worker in workers:
        worker.start()
    for number, steps, fate, pause, delivers in schedule:
        world.server.now += pause
        if delivers:
            deliver(world)
        worker = workers[number % len(workers)]
        for place in range(steps):
            world.server.now += 0.1
            worker.advance("" if place else fate)
    for worker in workers:
        worker.take_fate()
        worker.suffers("die before")
        worker.suffers("die after")
        worker.finish()
    deliver(world)
    check(world)


def deliver(world: World) -> None:
    while world.late:
        sent_at, write = world.late.pop()
        try:
            if world.server.now < sent_at + SIGNATURE_LIFETIME:
                write()
        except Exception:  # noqa: BLE001, S110 - its condition does not hold any more
            pass


def check(world: World) -> None:
    duplicates = {key for key in world.submitted if world.submitted.count(key) > 1}
    assert not duplicates, world.server.requests
    store = LedgerStore(ModelClient(world.server), "bucket", "prefix", clock=lambda: world.server.now)
    ledger = Ledger.open(store, writer="reader", try_number=1, warn=LOG.warning, held=math.inf)
    index = ledger.index
    states = {it.idempotency_key: it.status for it in index.open_entries()}
    entries = sorted(read_entries(store), key=rank_of)
    newest = {it.idempotency_key: it.status for it in entries}
    for key in world.submitted:
        row, generation = (int(number) for number in key.split("-")[1:4:2])
        state = index.find(entry(row).key)
        is_denied = state is None or (state.generation, state.status) == (generation, EntryStatus.REFUSED)
        assert not is_denied, f"{key} was submitted, and the ledger denies it"
    for key in world.known:
        assert newest[key] in {EntryStatus.ACCEPTED, EntryStatus.COPIED}
        assert states.get(key, EntryStatus.ACCEPTED) is EntryStatus.ACCEPTED
    if world.server.conditions != "honours":
        return  # A checkpoint may know the intents of a worker that was killed before it could take them back.
    rebuilt = Ledger.open(
        WithoutCheckpoints(store), writer="reader", try_number=1, warn=LOG.warning, held=math.inf
    ).index
    for row in range(ROWS):
        assert index.find(entry(row).key) == rebuilt.find(entry(row).key)
    assert sorted(index.open_entries(), key=str) == sorted(rebuilt.open_entries(), key=str)
    assert money(index) == money(rebuilt)


def money(index: Index) -> list[tuple[object, ...]]:
    return sorted((it.buyer, it.calls, it.pictures, it.spent, it.untold, it.unknown) for it in index.accounts())


class WithoutCheckpoints(LedgerStore):
    def __init__(self, store: LedgerStore) -> None:
        super().__init__(store.client, store.bucket, store.prefix, clock=store.clock)

    def list(self, folder: str, *, after: str = "") -> list[LedgerObject]:
        return [] if folder == "checkpoints/" else super().list(folder, after=after)
