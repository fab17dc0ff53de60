"""One worker's access to a ledger, and several workers at once, on a model of an S3 server and on a real one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dataset.ledger.ledger_entries import accepted, copied, entry, ledger_of, store_of
from dataset.ledger.model_store import ModelServer, Stored

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.ledger.log import log_number
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.exceptions import RecordUnavailableError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.index import Index
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger

HOUR = 3600


@pytest.fixture(params=["honours", "ignores", "refuses"])
def server(request: pytest.FixtureRequest) -> ModelServer:
    return ModelServer(request.param)


def lacking(*rows: int, **changes: Any) -> Callable[[Index], list[Entry]]:
    return lambda index: [entry(row, **changes) for row in rows if index.find(entry(row).key) is None]


def statuses(ledger: Ledger) -> dict[str, str]:
    return {held.id: str(held.status) for held in ledger.index.open_entries()}


def log_names(server: ModelServer) -> list[str]:
    return [name.removeprefix("prefix/ledger/log/")[:8] for name in sorted(server.objects) if "/log/" in name]


def test_what_one_session_claims_and_records_the_next_one_knows(server: ModelServer) -> None:
    first = ledger_of(store_of(server))
    assert first.claim(lacking(1, 2)) == [entry(1), entry(2)]
    first.record(copied(entry(1)))
    assert first.unwritten == (copied(entry(1)),)
    first.close(is_finished=False)

    second = ledger_of(store_of(server))

    assert first.unwritten == ()
    assert second.index.is_copied(entry(1).key)
    assert second.index.open_entries() == (entry(2),)
    assert second.index == first.index


def test_a_claim_is_decided_again_when_another_worker_was_first(server: ModelServer) -> None:
    alice, bob = (ledger_of(store_of(server), writer=name) for name in ("alice", "bob"))

    assert len(bob.claim(lacking(1, buyer="bob"))) == 1
    assert alice.claim(lacking(1, 2)) == [entry(2)]
    assert {it.buyer for it in alice.index.open_entries()} == {"alice", "bob"}


def test_a_claim_of_nothing_writes_nothing(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server))
    server.requests.clear()

    assert ledger.claim(lambda _: []) == []
    ledger.flush()
    ledger.close(is_finished=True)

    assert [method for method, _ in server.requests if method in {"PUT", "DELETE"}] == []


def test_one_request_carries_the_outcomes_of_a_group_and_the_intents_of_the_next() -> None:
    server = ModelServer()
    ledger = ledger_of(store_of(server))
    ledger.claim(lacking(*range(16)))
    server.requests.clear()

    for group in range(1, 5):
        ledger.record(*(copied(entry(row)) for row in range(16 * (group - 1), 16 * group)))
        ledger.claim(lacking(*range(16 * group, 16 * (group + 1))))

    assert Counter(method for method, _ in server.requests) == {"PUT": 4}


def test_a_later_try_supersedes_an_earlier_one_which_buys_no_more_and_loses_nothing(server: ModelServer) -> None:
    zombie = ledger_of(store_of(server))
    zombie.claim(lacking(1))
    later = ledger_of(store_of(server), try_number=2)
    later.claim(lacking(2))
    zombie.record(accepted(entry(1)))

    for row in (3, 4):
        with pytest.raises(SupersededError, match="A later try of this task instance has taken over") as failure:
            zombie.claim(lacking(row))
        assert failure.value.retryable

    later.refresh()
    assert statuses(later) == {"sku-1": "accepted", "sku-2": "intended"}
    assert later.claim(lacking(3)) == [entry(3)]


def test_a_later_session_of_the_same_try_supersedes_an_earlier_one(server: ModelServer) -> None:
    earlier = ledger_of(store_of(server))
    earlier.claim(lacking(1))
    later = ledger_of(store_of(server))
    later.claim(lacking(2))

    with pytest.raises(SupersededError):
        earlier.claim(lacking(3))
    assert later.claim(lacking(3)) == [entry(3)]


def test_other_task_instances_do_not_supersede_each_other(server: ModelServer) -> None:
    alice, bob = ledger_of(store_of(server)), ledger_of(store_of(server), writer="bob", try_number=2)

    for row in range(4):
        assert (alice, bob)[row % 2].claim(lacking(row))


@pytest.mark.parametrize("fate", ["lost", "repeated"])
def test_an_ambiguous_response_to_an_own_write_counts_as_success(fate: str) -> None:
    fates = iter(["", "", fate])
    server = ModelServer()
    ledger = ledger_of(store_of(server, fate=lambda _: next(fates, "")))

    assert ledger.claim(lacking(1)) == [entry(1)]
    assert ledger.claim(lacking(2)) == [entry(2)]
    assert log_names(server) == ["00000001", "00000002"]


def test_what_was_perhaps_written_is_not_submitted_and_taken_back(server: ModelServer) -> None:
    broken = ["", ""]
    ledger = ledger_of(store_of(server, fate=lambda _: broken[-1]))
    ledger.claim(lacking(1))
    broken.append("late")
    with pytest.raises(RecordUnavailableError, match="could not be written"):
        ledger.claim(lacking(2))
    broken.append("")

    for _, write in ledger.store.client.late:  # type: ignore[attr-defined]
        try:
            write()
        except Exception:  # noqa: BLE001, S112 - its condition does not hold any more
            continue
    ledger.flush()

    state = ledger_of(store_of(server), writer="bob").index.find(entry(2).key)
    # On a store that ignores conditions, it is the ticket that was not written.
    assert (state is None) == (server.conditions != "honours")
    assert state is None or (state.status, state.charged, state.retryable) == ("refused", "no", True)


def test_a_worker_that_was_stopped_while_the_log_was_merged_and_deleted_starts_again(server: ModelServer) -> None:
    zombie = ledger_of(store_of(server), writer="zombie")
    zombie.claim(lacking(1))
    zombie.record(accepted(entry(1)))
    for day in range(2, 4):
        server.now += 25 * HOUR
        other = ledger_of(store_of(server))
        other.claim(lacking(day))
        other.record(copied(entry(day)))
        other.close(is_finished=True)
    server.now += 25 * HOUR
    ledger_of(store_of(server)).close(is_finished=True)
    assert log_names(server) == ["00000004", "00000005"]

    assert zombie.claim(lacking(1, 2, 3, 4)) == [entry(4)]
    assert statuses(ledger_of(store_of(server))) == {"sku-1": "accepted", "sku-4": "intended"}


@pytest.mark.parametrize("conditions", ["ignores", "refuses"])
def test_an_object_is_read_although_one_with_its_number_was_read_and_taken_back(conditions: Any) -> None:
    server = ModelServer(conditions)
    alice, bob, carol = (ledger_of(store_of(server), writer=name) for name in ("alice", "bob", "carol"))
    carol.claim(lacking(9))
    bob.refresh()
    (taken_back,) = (name for name in server.objects if "/log/" in name)
    del server.objects[taken_back]

    assert alice.claim(lacking(1)) == [entry(1)]
    assert bob.claim(lacking(1, buyer="bob")) == []


def test_old_objects_go_when_they_are_merged_and_no_sooner(server: ModelServer) -> None:
    kept = HOUR if server.conditions == "honours" else 24 * HOUR
    ledger = ledger_of(store_of(server))
    ledger.claim(lacking(1))
    server.now += kept + 60
    ledger.record(copied(entry(1)))
    ledger.close(is_finished=False)
    assert log_names(server) == ["00000001", "00000002"]

    ledger.close(is_finished=True)

    assert log_names(server) == ["00000002"]


def test_a_checkpoint_is_written_when_the_log_behind_the_last_one_is_long() -> None:
    server = ModelServer()
    ledger = ledger_of(store_of(server))
    for row in range(200):
        ledger.claim(lacking(row))

    assert sorted(name for name in server.objects if "checkpoints" in name) == [
        "prefix/ledger/checkpoints/00000130.gz",
        "prefix/ledger/checkpoints/00000195.gz",
    ]
    server.requests.clear()
    assert ledger_of(store_of(server)).index == ledger.index
    assert Counter(method for method, _ in server.requests) == {"LIST": 2, "GET": 6}


def test_a_checkpoint_of_another_release_is_passed_over_for_the_table(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server))
    ledger.claim(lacking(1, 2))
    ledger.record(copied(entry(1)))
    ledger.close(is_finished=True)
    server.objects["prefix/ledger/checkpoints/00000009.gz"] = Stored(b"other", server.now, {})
    for name in [name for name in server.objects if "checkpoints/00000002" in name]:
        server.objects[name] = Stored(b"other", server.now, {})

    assert ledger_of(store_of(server)).index == ledger.index


def test_a_line_that_cannot_be_read_stops_every_claim(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server), writer="bob")
    ledger.claim(lacking(1))
    other = ledger_of(store_of(server))
    other.record(replace(entry(2), run_id="broken"))
    other.flush()
    (name,) = (name for name in server.objects if "log/00000002" in name)
    stored = server.objects[name]
    server.objects[name] = Stored(stored.body[:-12], stored.modified, {})

    for _ in range(2):
        with pytest.raises(RecordUnavailableError, match=r"log/00000002.*Nothing was submitted"):
            ledger.claim(lacking(2, 3))


def test_outcomes_reach_the_log_a_moment_later_by_themselves(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server), held=0.01)
    ledger.claim(lacking(1))

    ledger.record(accepted(entry(1)))

    while ledger.unwritten:
        time.sleep(0.005)
    assert statuses(ledger_of(store_of(server))) == {"sku-1": "accepted"}


def test_every_outcome_is_written_at_once_where_that_is_wanted(server: ModelServer) -> None:
    ledger = ledger_of(store_of(server), held=0)
    ledger.claim(lacking(1))
    ledger.record(accepted(entry(1)))

    assert statuses(ledger_of(store_of(server))) == {"sku-1": "accepted"}


def test_workers_at_once_claim_each_row_once_on_a_real_store(s3_server: SeaweedFS, bucket: str) -> None:
    claimed: dict[str, list[int]] = {}

    def work(name: str) -> None:
        ledger = ledger_of(LedgerStore(s3_server.client(), bucket, "catalogue"), writer=name)
        mine = claimed[name] = []
        for _ in range(5):
            new = ledger.claim(lambda index: lacking(*range(24), buyer=name)(index)[:3])
            mine += [intent.row for intent in new]
            ledger.record(*(copied(intent) for intent in new))
        ledger.close(is_finished=True)

    workers = [threading.Thread(target=work, args=(f"worker{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(row for rows in claimed.values() for row in rows) == list(range(24))
    index = ledger_of(LedgerStore(s3_server.client(), bucket, "catalogue")).index
    assert all(index.is_copied(entry(row).key) for row in range(24))


@pytest.mark.parametrize("before", ["refused", "unanswered"])
def test_a_claim_that_counts_at_the_second_attempt_is_not_taken_back(before: str) -> None:
    server = ModelServer("ignores")
    alice, bob = ledger_of(store_of(server)), ledger_of(store_of(server), writer="bob")
    first = entry(1, intended_at=server.now)
    alice.claim(lambda _: [first])
    charged = "no" if before == "refused" else "unknown"
    alice.record(replace(first, status=EntryStatus(before), charged=charged, cost=0.0 if charged == "no" else None))
    alice.flush()
    put, written = alice.store.put, list[str]()

    def put_beside_bob(name: str, *arguments: Any, **conditions: Any) -> bool:
        is_written = put(name, *arguments, **conditions)
        if name.startswith("log/") and not written:
            server.now += 1
            number = log_number(name)
            written.append(f"log/{number:08}-bob.jsonl.gz")
            bob.store.put(written[0], bob._log._body(number, [entry(2, buyer="bob").to_line()]))
        return is_written

    alice.store.put = put_beside_bob  # type: ignore[method-assign]
    claimed = alice.claim(lambda _: [replace(first, refusals=1, updated_at=server.now, answer_by=server.now + 330)])
    alice.flush()

    assert written
    assert [each.refusals for each in claimed] == [1]
    for ledger in (alice, ledger_of(store_of(server), writer="carol")):
        state = ledger.index.find(first.key)
        assert state is not None
        assert (state.status, state.refusals) == ("intended", 1)


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_an_object_of_the_log_that_is_missing_stops_the_buying(missing: int) -> None:
    server = ModelServer("honours")
    ledger = ledger_of(store_of(server))
    for row in range(1, 7):
        ledger.claim(lacking(row))
    del server.objects[f"prefix/ledger/log/{missing:08}.jsonl.gz"]

    with pytest.raises(RecordUnavailableError, match="are missing"):
        ledger_of(store_of(server), writer="bob")
