"""Decisions of a person about single rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from dataset.ledger.ledger_entries import accepted, copied, entry, failed, ledger_of, store_of
from dataset.ledger.model_store import NOW, ModelServer

from airflow_provider_apimart.dataset import __main__ as command
from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, purchase_key
from airflow_provider_apimart.dataset.ledger.verdicts import decide_rows, undecided_calls
from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.ledger.entry import CallState

LATER = NOW + 1000


def server_with(*entries: Entry, now: float = LATER) -> ModelServer:
    server = ModelServer(now=now)
    ledger = ledger_of(store_of(server), writer="bob")
    ledger.claim(lambda _: [entry(it.row) for it in entries])
    ledger.record(*(it for it in entries if it.status is not EntryStatus.INTENDED))
    ledger.close(is_finished=True)
    return server


def state_of(server: ModelServer, row: int = 1) -> CallState:
    state = ledger_of(store_of(server), writer="carol").index.find(entry(row).key)
    assert state is not None
    return state


LOST = replace(entry(1), status=EntryStatus.UNANSWERED)
CANCELLED = failed(entry(1), charged="unknown", cost=None, reserved=0.5)


@pytest.mark.parametrize("given", [LOST, CANCELLED, failed(entry(1)), accepted(entry(1)), entry(1)])
def test_a_loss_is_accepted_and_its_money_stays_in_the_books(given: Entry) -> None:
    server = server_with(given)

    (recorded,) = decide_rows(store_of(server), ["sku-1"], "accept-loss")

    assert (recorded.status, recorded.writer[:7], recorded.buyer) == ("written_off", "person-", "alice")
    state = state_of(server)
    assert (state.status, state.generation, state.reserved) == ("written_off", 0, given.reserved)


@pytest.mark.parametrize("given", [LOST, entry(1), replace(LOST, status=EntryStatus.PRESUMED_LOST)])
def test_a_lost_call_is_bought_again_with_its_old_key_while_that_lives(given: Entry) -> None:
    server = server_with(given)

    (recorded,) = decide_rows(store_of(server), ["sku-1"], "buy-again")

    assert recorded.idempotency_key == given.idempotency_key
    state = state_of(server)
    assert (state.status, state.generation, state.refusals, state.charged) == ("released", 0, 1, "unknown")


@pytest.mark.parametrize(
    ("given", "now"),
    [(LOST, NOW + 23 * 3600), (CANCELLED, LATER), (failed(entry(1)), LATER), (accepted(entry(1)), LATER)],
)
def test_whatever_else_is_bought_again_with_a_new_key(given: Entry, now: float) -> None:
    server = server_with(given, now=now)

    (recorded,) = decide_rows(store_of(server), ["sku-1"], "buy-again")

    address = "s3://bucket/prefix/ledger/"
    assert recorded.idempotency_key == purchase_key(address, "0" * 32, "sku-1", 0, generation=1, attempt=0)
    state = state_of(server)
    assert (state.status, state.generation, state.attempt, state.charged) == ("released", 1, 0, "no")


def test_an_accepted_call_is_still_collected_after_it_was_bought_again() -> None:
    server = server_with(accepted(entry(1)))
    decide_rows(store_of(server), ["sku-1"], "buy-again")

    assert ledger_of(store_of(server)).index.open_entries() == (accepted(entry(1)),)


def test_a_lost_call_was_bought_says_the_gateways_console() -> None:
    server = server_with(LOST)

    decide_rows(store_of(server), ["sku-1"], "bought", task_id="task-7")

    held = ledger_of(store_of(server)).index.open_entry(entry(1).key)
    assert held is not None
    assert (held.status, held.task_ids) == ("accepted", ("task-7",))
    assert held.accepted_at <= min(held.intended_at, LATER - 15 * 60), "nobody waits for its buyer to collect it"


def test_a_lost_call_was_not_bought_says_the_gateways_console() -> None:
    server = server_with(LOST)

    decide_rows(store_of(server), ["sku-1"], "not-bought")

    state = state_of(server)
    assert (state.status, state.charged, state.cost, state.refusals) == ("released", "no", 0.0, 1)
    assert ledger_of(store_of(server)).index.accounts() == []


def test_a_picture_is_made_again_and_stays_the_answer_until_then() -> None:
    server = server_with(copied(entry(1)), copied(entry(2)))

    decide_rows(store_of(server), ["sku-1"], "regenerate")

    state = state_of(server)
    assert state.answer is not None
    assert (state.status, state.generation, state.answer.generation) == ("released", 1, 0)
    assert state_of(server, 2).status == "copied"


@pytest.mark.parametrize(
    ("given", "verdict", "now"),
    [
        (copied(entry(1)), "buy-again", LATER),
        (copied(entry(1)), "accept-loss", LATER),
        (entry(1), "accept-loss", NOW + 10),
        (LOST, "regenerate", LATER),
        (accepted(entry(1)), "not-bought", LATER),
        (CANCELLED, "not-bought", LATER),
    ],
)
def test_a_verdict_that_does_not_apply_changes_nothing(given: Entry, verdict: Any, now: float) -> None:
    server = server_with(given, replace(LOST, row=2, id="sku-2", idempotency_key="2"), now=now)
    before = {name: it.body for name, it in server.objects.items() if "/log/" in name}

    with pytest.raises(InvalidRequestError, match=r"was not recorded: ids='sku-1' is .*, to which"):
        decide_rows(store_of(server), ["sku-1", "sku-2"], verdict)
    with pytest.raises(InvalidRequestError, match="not in the ledger"):
        decide_rows(store_of(server), ["sku-9"], verdict)

    assert {name: it.body for name, it in server.objects.items() if "/log/" in name} == before


def test_a_task_id_belongs_to_one_verdict_alone() -> None:
    server = server_with(LOST)

    with pytest.raises(InvalidRequestError):
        decide_rows(store_of(server), ["sku-1"], "bought")
    with pytest.raises(InvalidRequestError):
        decide_rows(store_of(server), ["sku-1"], "buy-again", task_id="task-7")


def test_rows_without_a_picture_are_listed() -> None:
    server = server_with(copied(entry(3)), failed(entry(2)), LOST)

    assert [(it.id, it.status) for it in undecided_calls(store_of(server))] == [
        ("sku-1", "unanswered"),
        ("sku-2", "failed"),
    ]


def test_the_command_lists_and_decides(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = server_with(LOST, failed(entry(2)))
    opened: list[tuple[object, ...]] = []

    def open_store(*arguments: object) -> object:
        opened.append(arguments)
        return store_of(server)

    monkeypatch.setattr(command, "open_store", open_store)

    assert command.main(["s3://bucket/prefix", "list"]) == 0
    assert command.main(["s3://bucket/prefix", "accept-loss", "sku-1", "--aws-conn-id", "minio"]) == 0
    assert command.main(["s3://bucket/prefix", "accept-loss", "sku-9"]) == 1
    with pytest.raises(SystemExit):
        command.main(["s3://bucket/prefix", "accept-loss"])

    output = capsys.readouterr()
    assert output.out.splitlines()[0] == "sku-1\tpicture 0\tunanswered\tcharged: unknown\t2025-06-15T15:06:40+00:00"
    assert "sku-2\tpicture 0\tfailed" in output.out
    assert "sku-1\tpicture 0\twritten_off" in output.out
    assert "not in the ledger" in output.err
    assert opened[1] == ("s3://bucket/prefix", "minio", {})
    assert state_of(server).status == "written_off"


def test_a_single_call_of_a_row_that_takes_several_is_decided_by_its_first_picture() -> None:
    server = server_with()
    ledger = ledger_of(store_of(server), writer="bob")
    ledger.claim(lambda _: [entry(1, first=first) for first in range(3)])
    ledger.close(is_finished=False)
    store = store_of(server)

    with pytest.raises(InvalidRequestError, match="has 3 calls of unknown outcome"):
        decide_rows(store, ["sku-1"], "bought", task_id="task_1")
    decide_rows(store, ["sku-1"], "bought", task_id="task_1", first=1)
    decide_rows(store, ["sku-1"], "not-bought", first=2)

    newest = {entry.first: entry for entry in undecided_calls(store)}
    assert {first: it.status for first, it in newest.items()} == {0: "intended", 1: "accepted", 2: "released"}
    assert newest[1].task_ids == ("task_1",)


def test_one_id_is_not_a_list_of_its_letters() -> None:
    server = server_with(entry(1))

    with pytest.raises(InvalidRequestError, match="pass a list of ids"):
        decide_rows(store_of(server), "sku-1", "accept-loss")
