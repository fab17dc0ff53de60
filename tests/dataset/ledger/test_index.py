"""The index: precedence, money and what is open, whatever the order, and as a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from dataset.ledger.ledger_entries import RUN, accepted, copied, entry, failed
from dataset.ledger.model_store import NOW
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus
from airflow_provider_apimart.dataset.ledger.index import Index

KEY = entry(1).key


def index_of(*entries: Entry) -> Index:
    index = Index()
    for each in entries:
        index.apply(each)
    return index


def spent(index: Index) -> Decimal:
    return sum((account.spent for account in index.accounts()), Decimal(0))


def refused(intent: Entry) -> Entry:
    return replace(intent, status=EntryStatus.REFUSED, charged="no", cost=0.0, reserved=None)


def test_a_call_goes_through_its_states() -> None:
    index, intent = Index(), entry(1, n=2, max_tries=3, retries=1)
    assert index.find(KEY) is index.open_entry(KEY) is index.bought(KEY) is None

    index.apply(intent)
    state = index.find(KEY)
    assert state is not None
    assert (state.status, state.answer_by, state.reserved, state.max_tries) == ("intended", NOW + 400, 0.5, 3)
    assert (state.buyer, state.run_id, state.kind, state.n) == ("alice", RUN, intent.kind, 2)

    index.apply(accepted(intent))
    assert index.open_entries() == (accepted(intent),)
    index.apply(copied(intent))
    state = index.find(KEY)
    assert state is not None
    assert state.answer is not None
    assert (state.status, state.cost, state.answer.n_objects, index.open_entries()) == ("copied", 0.25, 1, ())
    assert index.is_copied(KEY)
    assert index.bought(KEY) == 2


def test_the_cost_is_not_known_while_a_call_is_open() -> None:
    settled, unanswered = entry(1), replace(entry(2), status=EntryStatus.UNANSWERED, charged="unknown")
    index = index_of(settled, copied(settled, cost=0.1), unanswered)

    (account,) = index.accounts(buyer="alice", with_open=True)
    assert (account.calls, account.cost, account.credits_cost, account.untold) == (2, None, None, 1)
    (account,) = index.accounts(buyer="alice")
    assert (account.calls, account.cost) == (1, 0.1)


def test_the_cost_is_not_known_where_a_failed_call_may_have_been_charged() -> None:
    first, second = entry(1), entry(2, reserved=None)
    index = index_of(first, copied(first, cost=0.1), second, failed(second, charged="unknown", cost=None))

    (account,) = index.accounts(buyer="alice")
    assert (account.calls, account.cost) == (2, None)


def test_credits_are_not_known_where_one_call_does_not_report_them() -> None:
    first, second = entry(1), entry(2)
    index = index_of(first, copied(first, cost=0.1), second, copied(second, cost=0.2, credits_cost=None))

    (account,) = index.accounts(buyer="alice")
    assert (account.cost, account.credits_cost) == (pytest.approx(0.3), None)


def test_a_bystander_who_presumes_a_call_lost_holds_nothing_for_it_and_overrules_nobody() -> None:
    intent = entry(1)
    presumed = replace(intent, status=EntryStatus.PRESUMED_LOST, writer="bob")

    assert index_of(intent, presumed).open_entries() == (presumed,)
    state = index_of(intent, presumed, refused(intent)).find(KEY)
    assert state is not None
    assert state.status == "refused"


def test_a_paid_picture_stays_the_answer_until_a_newer_one_is_paid() -> None:
    first, second = entry(1, run_id="dag/1"), entry(1, generation=1, run_id="dag/2")
    index = index_of(first, accepted(first), copied(first, cost=0.1), second)

    state = index.find(KEY)
    assert state is not None
    assert state.answer is not None
    assert (state.status, state.answer.run_id, state.answer.cost) == ("intended", "dag/1", 0.1)
    assert not index.is_copied(KEY)

    index.apply(copied(second))
    state = index.find(KEY)
    assert state is not None
    assert state.answer is not None
    assert state.answer.run_id == "dag/2"


def test_an_older_generation_is_collected_and_paid_for_besides() -> None:
    old, new = entry(1, run_id="dag/1"), entry(1, generation=1, run_id="dag/2")
    index = index_of(old, accepted(old), new, failed(new))
    assert index.open_entries() == (accepted(old),)

    index.apply(copied(old, cost=0.1))

    assert {(account.run_id, account.spent) for account in index.accounts()} == {("dag/1", Decimal("0.1"))}
    state = index.find(KEY)
    assert state is not None
    assert state.answer is not None
    assert (state.status, state.answer.run_id) == ("failed", "dag/1")


def test_two_acceptances_of_one_key_are_both_collected_and_paid_for() -> None:
    first, again = entry(1), entry(1, refusals=1, buyer="bob")
    index = index_of(first, again, accepted(first, "task-a"), accepted(again, "task-b"))
    assert {it.task_ids for it in index.open_entries()} == {("task-a",), ("task-b",)}

    for each in (copied(first, "task-a"), copied(again, "task-b"), copied(first, "task-a")):
        index.apply(each)

    assert index.open_entries() == ()
    assert spent(index) == Decimal("0.50")


def test_a_gateway_that_recognises_the_key_sold_it_once() -> None:
    first, again = entry(1), entry(1, refusals=1, buyer="bob")
    index = index_of(first, again, accepted(first, "task-a"), accepted(again, "task-a"))
    assert len(index.open_entries()) == 1

    for each in (copied(again, "task-a"), copied(first, "task-a"), accepted(again, "task-a")):
        index.apply(each)

    assert index.open_entries() == ()
    assert spent(index) == Decimal("0.25")


def test_a_resubmission_takes_the_place_of_a_lost_call() -> None:
    lost = replace(entry(1), status=EntryStatus.UNANSWERED)
    again = entry(1, refusals=1, buyer="bob")

    index = index_of(entry(1), lost, again)
    assert index.open_entries() == (again,)

    index.apply(accepted(again))
    assert index.open_entries() == (accepted(again),)


def test_nobody_but_its_sender_refuses_a_submission() -> None:
    counted, exposed = entry(1), entry(1, buyer="bob", intended_at=NOW + 1)

    for entries in ([exposed, refused(exposed), counted], [counted, refused(exposed)], [exposed, counted]):
        index = index_of(*entries)
        index.apply(refused(exposed))
        assert index.open_entries() == (counted,)
        state = index.find(KEY)
        assert state is not None
        assert (state.status, state.buyer) == ("intended", "alice")

    index.apply(refused(counted))
    state = index.find(KEY)
    assert state is not None
    assert state.status == "refused"


def test_what_the_sender_says_outranks_what_a_bystander_presumes() -> None:
    presumed = replace(entry(1), status=EntryStatus.PRESUMED_LOST, writer="bob")

    index = index_of(entry(1), accepted(entry(1)), presumed)

    assert index.open_entry(KEY) == accepted(entry(1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cost": 0.5}, ("0.5", 0, "0", 1)),
        ({"cost": None, "reserved": 2.0}, ("2.0", 1, "0", 1)),
        ({"status": EntryStatus.FAILED, "charged": "yes", "cost": 1.0}, ("1.0", 0, "0", 1)),
        ({"status": EntryStatus.FAILED, "charged": "unknown", "cost": None, "reserved": 2.0}, ("0", 0, "2.0", 1)),
        ({"status": EntryStatus.WRITTEN_OFF, "charged": "unknown", "cost": None, "reserved": 2.0}, ("0", 0, "2.0", 1)),
    ],
)
def test_each_settled_call_counts_as_what_is_known_of_it(
    changes: dict[str, object], expected: tuple[str, int, str, int]
) -> None:
    index = index_of(entry(1), replace(copied(entry(1)), **changes))  # type: ignore[arg-type]

    (account,) = index.accounts(run_id=RUN, buyer="alice")
    assert (str(account.spent), account.untold, str(account.unknown), account.calls) == expected


def test_what_cost_nothing_is_in_no_account() -> None:
    assert index_of(entry(1), failed(entry(1))).accounts() == []


def test_the_recent_costs_are_those_of_the_last_twenty_calls_of_the_kind() -> None:
    index = Index()
    for number in range(25):
        index.apply(entry(number))
        index.apply(copied(entry(number), cost=number / 100))
        index.apply(copied(entry(number), cost=number / 100))

    assert index.recent_costs(entry(1).kind) == tuple(number / 100 for number in range(5, 25))
    assert index.recent_costs(("other", None, None, None, 1)) == ()


intents = st.builds(
    lambda row, generation, attempt, refusals, buyer: entry(
        row, generation=generation, attempt=attempt, refusals=refusals, buyer=buyer
    ),
    st.integers(1, 2),
    st.integers(0, 2),
    st.integers(0, 1),
    st.integers(0, 2),
    st.sampled_from(["alice", "bob"]),
)
changes = st.sampled_from(
    [
        lambda intent: intent,
        refused,
        failed,
        accepted,
        copied,
        lambda intent: accepted(intent, "task-b"),
        lambda intent: copied(intent, "task-b", cost=None),
        lambda intent: replace(intent, status=EntryStatus.PRESUMED_LOST),
        lambda intent: replace(intent, status=EntryStatus.UNANSWERED),
        lambda intent: replace(intent, status=EntryStatus.RELEASED, charged="no", cost=0.0),
        lambda intent: replace(intent, status=EntryStatus.WRITTEN_OFF),
    ]
)
histories = st.lists(st.builds(lambda change, intent: change(intent), changes, intents), max_size=25)


@given(histories)
def test_a_checkpoint_holds_everything(history: list[Entry]) -> None:
    index = index_of(*history)

    restored = Index.from_bytes(index.to_bytes())

    assert restored == index
    assert [restored.find(entry(row).key) for row in (1, 2)] == [index.find(entry(row).key) for row in (1, 2)]
    assert [restored.open_entry(entry(row).key) for row in (1, 2)] == [
        index.open_entry(entry(row).key) for row in (1, 2)
    ]


@given(histories)
def test_the_newest_state_is_open_exactly_while_it_is_not_settled(history: list[Entry]) -> None:
    index = index_of(*history)

    for row in (1, 2):
        state, held = index.find(entry(row).key), index.open_entry(entry(row).key)
        is_open = state is not None and state.status in {"intended", "presumed_lost", "unanswered", "accepted"}
        assert (held is not None) == is_open
        assert held is None or (state is not None and held.status == state.status and held in index.open_entries())


@given(histories)
def test_entries_that_are_applied_twice_cost_once(history: list[Entry]) -> None:
    twice = [each for each in history for _ in range(2)]

    assert index_of(*twice) == index_of(*history)


@pytest.mark.parametrize("content", [b"", b"no gzip", Index().to_bytes()[:-9]])
def test_what_is_no_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a checkpoint of this release"):
        Index.from_bytes(content)
