"""A ledger of release 0.1, which that release has written, is imported and continued."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dataset.ledger.ledger_entries import copied, entry, ledger_of, store_of
from dataset.ledger.model_store import ModelServer, Stored

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.reading import read_entries
from airflow_provider_apimart.dataset.row import calls_of, row_of
from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.row import Call

OLD = Path(__file__).parent / "release_0_1"
STATES = {
    "copied": EntryStatus.COPIED,
    "again": EntryStatus.COPIED,
    "free": EntryStatus.FAILED,
    "charged": EntryStatus.FAILED,
    "lost": EntryStatus.UNANSWERED,
    "accepted": EntryStatus.ACCEPTED,
    "intended": EntryStatus.INTENDED,
    "refused": EntryStatus.REFUSED,
}


def old_ledger() -> ModelServer:
    server = ModelServer(now=1_750_090_000.0)
    for path in OLD.rglob("*.jsonl"):
        name = f"prefix/ledger/{path.relative_to(OLD).as_posix()}"
        server.objects[name] = Stored(path.read_bytes(), server.now, {})
    return server


def call(row_id: str, n: int = 1) -> Call:
    """Return the only call of a row as today's release sees it."""
    request = ImageRequest(prompt=f"product shot of {row_id} \u2013 soft light", n=n)
    return calls_of(row_of(1, row_id, request), lambda _: None, 5)[0]


def entries(server: ModelServer) -> dict[tuple[str, int, int], Entry]:
    return {(it.id, it.first, it.generation): it for it in read_entries(store_of(server))}


def states(ledger: Ledger) -> dict[str, EntryStatus]:
    found = {row_id: ledger.index.find(call(row_id).key) for row_id in STATES}
    return {row_id: state.status for row_id, state in found.items() if state is not None}


def test_each_call_is_known_by_the_key_that_todays_release_gives_it() -> None:
    ledger = ledger_of(store_of(old_ledger()))

    assert states(ledger) == STATES
    again = ledger.index.find(call("again").key)
    assert again is not None
    assert (again.generation, again.run_id) == (1, "shop/scheduled__2")
    accepted = ledger.index.open_entry(call("accepted").key)
    assert accepted is not None
    assert (accepted.task_ids, accepted.accepted_at, accepted.buyer) == (
        ("task_accepted_0_0",),
        accepted.updated_at,
        "",
    )


def test_parts_become_calls_that_are_known_by_their_first_picture() -> None:
    ledger = ledger_of(store_of(old_ledger()))
    row = row_of(1, "five", ImageRequest(prompt="product shot of five \u2013 soft light", n=5))

    # Whatever number of pictures a task delivers today.
    for images_per_task in (1, 2, 4, None):
        calls = calls_of(row, ledger.index.bought, images_per_task)
        assert [(each.first, each.request.n) for each in calls] == [(0, 2), (2, 2), (4, 1)]
        assert all(ledger.index.is_copied(each.key) for each in calls)


def test_the_money_of_all_generations_is_imported() -> None:
    accounts = ledger_of(store_of(old_ledger())).index.accounts()

    assert {(it.run_id, str(it.spent), it.calls, it.pictures) for it in accounts} == {
        # One picture, five, the first generation of another, and one that was charged for nothing.
        ("shop/scheduled__1", "0.0680", 6, 7),
        ("shop/scheduled__2", "0.0085", 1, 1),
    }


def test_the_ledger_is_continued_in_the_new_form_and_the_old_objects_stay() -> None:
    server = old_ledger()
    old = dict(server.objects)
    ledger = ledger_of(store_of(server))
    ledger.claim(lambda _: [entry(1)])
    ledger.record(copied(entry(1)))
    ledger.close(is_finished=True)

    assert {name: server.objects[name].body for name in old} == {name: it.body for name, it in old.items()}
    del server.objects["prefix/ledger/ledger.jsonl"]
    next_one = ledger_of(store_of(server))
    assert states(next_one) == STATES
    assert next_one.index.is_copied(entry(1).key)
    assert {("five", 4, 0), ("again", 0, 0), ("again", 0, 1), ("sku-1", 0, 0)} <= entries(server).keys()


def test_two_workers_import_it_once() -> None:
    server = old_ledger()
    first, second = ledger_of(store_of(server)), ledger_of(store_of(server), writer="bob")

    assert states(first) == states(second) == STATES
    assert len([name for name in server.objects if "/log/" in name]) == 1


def test_pages_read_it_before_any_worker_has_continued_it() -> None:
    server = old_ledger()
    before = set(server.objects)

    assert {name: entries(server)[name].status for name in [("lost", 0, 0), ("again", 0, 1)]} == {
        ("lost", 0, 0): "unanswered",
        ("again", 0, 1): "copied",
    }
    assert set(server.objects) == before


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"schema_version": 3}', b'{"schema_version": 1, "status": "copied"}'])
def test_a_line_that_cannot_be_read_is_named_and_never_passed_over(line: bytes) -> None:
    server = old_ledger()
    server.objects["prefix/ledger/journal/20250617T000000.000000Z-x.jsonl"] = Stored(line + b"\n", server.now, {})

    with pytest.raises(RecordUnavailableError, match=r"20250617T.*line 1.*Nothing was submitted") as failure:
        ledger_of(store_of(server))

    assert not failure.value.retryable
