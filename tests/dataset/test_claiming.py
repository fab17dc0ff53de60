"""What may be bought in a turn, and what becomes of turns that are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import NOW, UNANSWERED, entry, rules
from dataset.world import rows

from airflow_provider_apimart.dataset.claiming import budget_of, claim, intents_of, objection_to
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.queue import FOLDER, Queue
from airflow_provider_apimart.exceptions import RecordUnavailableError

if TYPE_CHECKING:
    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.plan import Rules
    from airflow_provider_apimart.gateway.request import ImageRequest

PARTS = rows(4)


def no_price(_: ImageRequest) -> None:
    return None


def a_dollar(_: ImageRequest) -> float:
    return 1.0


def about(part: Part, **changes: Any) -> Entry:
    return entry(id=part.row.id, fingerprint=part.row.fingerprint, **changes)


def ledger_of(*them: Entry) -> Ledger:
    ledger = Ledger()
    ledger.add(them)
    return ledger


def wanted(ledger: Ledger, rule: Rules, price: Any = a_dollar) -> list[tuple[str, float | None]]:
    intents = intents_of(PARTS, ledger, rule, listed_price=price, now=NOW)
    assert all(one.key == part.key for part, one in intents)
    return [(one.id, one.reserved) for _, one in intents]


def test_what_the_ledger_has_is_not_bought() -> None:
    assert wanted(ledger_of(about(PARTS[1])), rules()) == [("row-1", 1.0), ("row-3", 1.0), ("row-4", 1.0)]


def test_buying_ends_at_the_first_row_that_the_budget_does_not_allow() -> None:
    def price(request: ImageRequest) -> float:
        return 5.0 if request.prompt == "picture 2" else 1.0

    assert wanted(Ledger(), rules(max_cost=4.0), price) == [("row-1", 1.0)]


def test_money_that_another_task_of_the_run_holds_is_not_there() -> None:
    elsewhere = entry(id="of another shard", size="16:9", cost=2.5)

    assert wanted(ledger_of(elsewhere), rules(max_cost=4.0)) == [("row-1", 1.0)]
    assert len(wanted(ledger_of(elsewhere), rules(max_cost=4.0, run_id="tuesday"))) == 4


def test_a_row_whose_price_nobody_knows_goes_out_alone_until_one_has_told() -> None:
    assert wanted(Ledger(), rules(max_cost=4.0), no_price) == [("row-1", 4.0)]
    assert wanted(ledger_of(about(PARTS[0], cost=0.5)), rules(max_cost=4.0), no_price) == [
        ("row-2", 0.5),
        ("row-3", 0.5),
        ("row-4", 0.5),
    ]
    assert wanted(Ledger(), rules(), no_price) == [(f"row-{number}", None) for number in (1, 2, 3, 4)]


def test_the_dearest_of_its_kind_is_held_where_the_price_table_says_less() -> None:
    ledger = ledger_of(about(PARTS[0], cost=1.75))

    assert wanted(ledger, rules(max_cost=4.0)) == [("row-2", 1.75)]


def test_the_budget_says_why_nothing_more_is_bought() -> None:
    ledger, rule = ledger_of(entry(size="16:9", cost=3.5)), rules(max_cost=4.0)

    assert "0.5 USD are left" in str(objection_to(PARTS[0], ledger, rule, listed_price=a_dollar))
    assert objection_to(PARTS[0], ledger, rules(max_cost=4.5), listed_price=a_dollar) is None
    assert budget_of(ledger, rule).spent == 3.5
    assert budget_of(ledger, rules(run_id="tuesday")).spent == 0


def test_what_is_claimed_is_in_the_ledger_and_in_s3(objects: LedgerObjects) -> None:
    ledger = Ledger()

    intents = claim(PARTS, Queue(Journal(objects), "one"), ledger, rules(), listed_price=a_dollar)

    assert [part for part, _ in intents] == PARTS
    assert list(ledger.unsettled.values()) == [one for _, one in intents]
    stored = Ledger()
    stored.add(Journal(objects).read())
    assert stored == ledger


def test_what_others_have_bought_meanwhile_is_seen_before_anything_is_claimed(objects: LedgerObjects) -> None:
    ledger = Ledger()
    Journal(objects).append([about(PARTS[0])])

    intents = claim(PARTS[:2], Queue(Journal(objects), "one"), ledger, rules(), listed_price=a_dollar)

    assert [part for part, _ in intents] == [PARTS[1]]
    assert ledger.find(PARTS[0].key) is not None


def test_where_there_is_nothing_to_buy_nothing_is_written(objects: LedgerObjects) -> None:
    queue, ledger = Queue(Journal(objects), "one"), ledger_of(about(PARTS[0]))

    assert claim([], queue, ledger, rules(), listed_price=a_dollar) == []
    assert claim(PARTS[:1], queue, ledger, rules(), listed_price=a_dollar) == []
    assert objects.listing() == []


def test_what_another_buys_at_the_last_moment_is_not_bought(objects: LedgerObjects) -> None:
    rival, prices = Journal(objects), []

    def price(_: ImageRequest) -> float:
        if not prices:
            rival.intend([about(PARTS[0], status=Status.INTENDED, charged="unknown")])
        prices.append(1.0)
        return 1.0

    intents = claim(PARTS[:2], Queue(Journal(objects), "one"), Ledger(), rules(), listed_price=price)

    assert [part for part, _ in intents] == [PARTS[1]]
    assert {one.id for one in Journal(objects).read()} == {"row-1", "row-2"}


def test_a_worker_that_is_always_too_late_gives_up_and_has_sent_nothing(objects: LedgerObjects) -> None:
    def price(_: ImageRequest) -> float:
        Journal(objects).intend([entry(id="of another", **UNANSWERED)])
        return 1.0

    with pytest.raises(RecordUnavailableError, match=r"12 times one of them came first\. Nothing was sent"):
        claim(PARTS[:1], Queue(Journal(objects), "one"), Ledger(), rules(), listed_price=price)

    assert {one.id for one in Journal(objects).read()} == {"of another"}
    assert not any(found.name.startswith(FOLDER) for found in objects.listing())
