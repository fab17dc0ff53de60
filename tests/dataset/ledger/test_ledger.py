"""One worker's access to a ledger, and several workers at once, on a model of an S3 server."""

from __future__ import annotations

import pytest
from dataset.ledger.ledger_entries import accepted, copied, entry, ledger_of, store_of
from dataset.ledger.model_store import ModelServer

from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.exceptions import SupersededError

protocols = pytest.mark.parametrize("conditions", ["honours", "ignores", "refuses"])


@protocols
def test_what_one_session_claims_and_records_the_next_one_knows(conditions: str) -> None:
    server = ModelServer(conditions)  # type: ignore[arg-type]
    first = ledger_of(store_of(server))

    assert first.claim(lambda _: [entry(1), entry(2)]) == [entry(1), entry(2)]
    first.record(copied(entry(1)))
    first.close(is_finished=False)

    second = ledger_of(store_of(server))
    assert second.index.is_copied(entry(1).key)
    assert second.index.open_entries() == (entry(2),)
    assert first.index.find(entry(1).key) == second.index.find(entry(1).key)


@protocols
def test_a_claim_is_decided_again_when_another_worker_was_first(conditions: str) -> None:
    server = ModelServer(conditions)  # type: ignore[arg-type]
    alice, bob = (ledger_of(store_of(server), writer=name) for name in ("alice", "bob"))

    def lacking(writer: str) -> list:
        def decide(index):
            return [] if index.find(entry(1).key) else [entry(1, writer=writer)]

        return decide

    assert len(bob.claim(lacking("bob"))) == 1
    assert alice.claim(lacking("alice")) == []
    assert alice.index.open_entries() == (entry(1, writer="bob"),)


@protocols
def test_finished(conditions: str) -> None:
    server = ModelServer(conditions)  # type: ignore[arg-type]
    for day in range(4):
        server.now += 90000
        ledger = ledger_of(store_of(server))
        ledger.claim(lambda _: [entry(1, generation=day), entry(day + 2)])
        ledger.record(copied(entry(1, generation=day)), copied(entry(day + 2)))
        ledger.close(is_finished=True)
        print(sorted(server.objects))
        print(server.requests)
        server.requests.clear()
        assert len({(e.key, e.generation) for e in read_entries(store_of(server))}) == 2 * day + 2


@protocols
def test_superseded(conditions: str) -> None:
    server = ModelServer(conditions)  # type: ignore[arg-type]
    zombie = ledger_of(store_of(server))
    zombie.claim(lambda _: [entry(1)])
    later = ledger_of(store_of(server), try_number=2)
    later.claim(lambda _: [entry(2)])
    zombie.record(accepted(entry(1)))
    with pytest.raises(SupersededError):
        zombie.claim(lambda _: [entry(3)])
    later.refresh()
    assert {e.id: e.status for e in later.index.open_entries()} == {"sku-1": "accepted", "sku-2": "intended"}
