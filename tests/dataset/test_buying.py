"""Paid calls of one worker, with a ledger in a real S3 server and a gateway that answers as it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import rules
from dataset.world import rows

from airflow_provider_apimart.dataset.buying import Buyer
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.journal import Journal
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.queue import Queue
from airflow_provider_apimart.dataset.recorder import Recorder
from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    RateLimitError,
    ReferenceUnavailableError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.cost import Price
from airflow_provider_apimart.gateway.task import Submission, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.ledger_objects import LedgerObjects
    from airflow_provider_apimart.gateway.request import ImageRequest


@dataclass
class Shop:
    """
    The gateway.

    :param answers: what becomes of a prompt that is not simply accepted.
    :param on_call: told of each call before it is answered.
    """

    answers: dict[str, ApimartError] = field(default_factory=dict)
    otherwise: ApimartError | None = None
    on_call: Callable[[], None] = lambda: None
    price: ApimartError | float = 1.0
    calls: list[tuple[str, str]] = field(default_factory=list)

    def submit_many(self, purchases: Iterable[tuple[ImageRequest, str]]) -> Iterator[tuple[int, Any]]:
        for place, (request, key) in enumerate(purchases):
            self.calls.append((request.prompt, key))
            self.on_call()
            task = Task(task_id=f"task-{len(self.calls)}", status="submitted", state=TaskState.RUNNING)
            yield place, self.answers.get(request.prompt, self.otherwise) or Submission((task,))

    def get_price(self, model: str) -> Price:
        if isinstance(self.price, ApimartError):
            raise self.price
        return Price(model, {"paid_price": self.price})


@dataclass
class Uploads:
    """References that cannot be had, by prompt."""

    errors: dict[str, ApimartError] = field(default_factory=dict)

    def resolved(self, requests: Sequence[ImageRequest]) -> list[ImageRequest | ApimartError]:
        return [self.errors.get(request.prompt, request) for request in requests]


@dataclass
class Counter:
    buyer: Buyer
    shop: Shop
    uploads: Uploads
    objects: LedgerObjects

    def noted(self) -> dict[str, Entry]:
        """Return what another worker reads, by the ids of the rows."""
        ledger = Ledger()
        entries = list(Journal(self.objects).read())
        ledger.add(entries)
        return {entry.id: entry for entry in entries if ledger.is_newest(entry)}


@pytest.fixture
def counter(objects: LedgerObjects) -> Callable[..., Counter]:
    def make(**changes: Any) -> Counter:
        shop, uploads = Shop(), Uploads()
        rule = rules(**{"on_unknown_submit": "fail", **changes})
        recorder = Recorder(Journal(objects), Ledger())
        hook: Any = shop
        references: Any = uploads
        queue = Queue(recorder.journal, "worker")
        return Counter(Buyer(hook, recorder, queue, rule, references, Event()), shop, uploads, objects)

    return make


def test_what_is_sent_was_written_down_before_and_its_answer_is_written_down_after(
    counter: Callable[..., Counter],
) -> None:
    one = counter()
    before: list[set[Status]] = []
    one.shop.on_call = lambda: before.append({entry.status for entry in one.noted().values()})

    one.buyer.buy(rows(3))

    assert before[0] == {Status.INTENDED}
    noted = one.noted()
    assert {entry.status for entry in noted.values()} == {Status.ACCEPTED}
    assert [key for _, key in one.shop.calls] == [entry.idempotency_key for entry in noted.values()]


def test_no_more_than_a_group_is_ever_written_down_without_an_answer(counter: Callable[..., Counter]) -> None:
    one = counter()
    unanswered: list[int] = []
    one.shop.on_call = lambda: unanswered.append(
        sum(entry.status is Status.INTENDED for entry in one.buyer.recorder.ledger.unsettled.values())
    )

    one.buyer.buy(rows(100))

    assert len(one.shop.calls) == 100
    assert max(unanswered) == 32


def test_what_somebody_else_has_bought_meanwhile_is_not_bought(counter: Callable[..., Counter]) -> None:
    counter().buyer.buy(rows(5))
    other = counter()

    other.buyer.buy(rows(7))

    assert [prompt for prompt, _ in other.shop.calls] == ["picture 6", "picture 7"]


def test_a_worker_that_is_about_to_be_killed_takes_back_what_it_has_not_sent(counter: Callable[..., Counter]) -> None:
    one = counter()
    one.shop.on_call = lambda: one.buyer.stopping.set() if len(one.shop.calls) == 3 else None

    one.buyer.buy(rows(50))

    assert len(one.shop.calls) == 3
    noted = one.noted()
    assert [entry.status for entry in noted.values()].count(Status.ACCEPTED) == 3
    assert {entry.charged for entry in noted.values() if entry.status is Status.REFUSED} == {"no"}
    next_worker = counter()
    next_worker.buyer.recorder.ledger.add(Journal(one.objects).read())
    next_worker.buyer.buy(rows(50))
    assert len(next_worker.shop.calls) == 47


@pytest.mark.parametrize(
    ("answer", "failing", "expected"),
    [
        pytest.param(AuthenticationError("a wrong key"), 1, 32, id="one lasting refusal ends it"),
        pytest.param(RateLimitError("too many"), 17, 32, id="most of a group"),
        pytest.param(RateLimitError("too many"), 16, 100, id="no more than half of one"),
        pytest.param(SubmitOutcomeUnknownError("lost"), 17, 32, id="most answers lost"),
        pytest.param(ModerationError("refused"), 100, 100, id="what the rows ask for is no reason"),
    ],
)
def test_buying_ends_where_it_would_only_make_more_of_the_same(
    counter: Callable[..., Counter], answer: ApimartError, failing: int, expected: int
) -> None:
    one = counter()
    one.shop.answers = {f"picture {number}": answer for number in range(1, failing + 1)}

    one.buyer.buy(rows(100))

    assert len(one.shop.calls) == expected
    assert one.buyer.trouble is (answer if expected == 32 else None)


@pytest.mark.parametrize(("policy", "retryable"), [("fail", False), ("resubmit", True)])
def test_lost_answers_are_worth_a_retry_only_where_their_keys_are_sent_again(
    counter: Callable[..., Counter], policy: str, retryable: bool
) -> None:
    one = counter(on_unknown_submit=policy)
    one.shop.otherwise = SubmitOutcomeUnknownError("lost")

    one.buyer.buy(rows(10))

    assert one.buyer.trouble is not None
    assert one.buyer.trouble.retryable is retryable


def test_a_call_goes_out_again_with_its_old_key_once_by_each_worker(counter: Callable[..., Counter]) -> None:
    one = counter(on_unknown_submit="resubmit")
    one.shop.answers = {"picture 1": SubmitOutcomeUnknownError("lost")}
    parts = rows(3)
    one.buyer.buy(parts)
    entry = one.buyer.recorder.ledger.unsettled[parts[0].key]
    one.shop.answers = {"picture 1": RateLimitError("too many")}

    assert one.buyer.is_untried(entry)
    one.buyer.send_again([(parts[0], entry)])

    assert not one.buyer.is_untried(entry)
    assert one.shop.calls[3] == one.shop.calls[0]
    assert one.noted()["row-1"].status is Status.UNKNOWN
    assert isinstance(one.buyer.trouble, RateLimitError)


def test_a_row_whose_reference_cannot_be_had_fails_alone_and_free_of_charge(counter: Callable[..., Counter]) -> None:
    one = counter()
    one.uploads.errors = {"picture 2": InvalidRequestError("is no picture")}

    one.buyer.buy(rows(3))

    assert [prompt for prompt, _ in one.shop.calls] == ["picture 1", "picture 3"]
    refused = one.noted()["row-2"]
    assert (refused.status, refused.charged, refused.error and refused.error.retryable) == (Status.REFUSED, "no", False)
    assert one.buyer.trouble is None


@pytest.mark.parametrize("error", [ReferenceUnavailableError("S3 is away"), AuthenticationError("a wrong key")])
def test_references_that_nobody_can_have_now_end_the_buying(
    counter: Callable[..., Counter], error: ApimartError
) -> None:
    one = counter()
    one.uploads.errors = {"picture 2": error}

    one.buyer.buy(rows(50))

    assert len(one.shop.calls) == 31
    assert one.buyer.trouble is error


def test_the_price_table_is_asked_for_once_and_only_where_there_is_a_limit(counter: Callable[..., Counter]) -> None:
    limited = counter(max_cost=2.5)

    limited.buyer.buy(rows(5))

    assert len(limited.shop.calls) == 2
    assert {entry.reserved for entry in limited.noted().values()} == {1.0}
    assert "0.5 USD are left" in (limited.buyer.objection(rows(5)[4]) or "")


def test_a_gateway_without_prices_sells_one_row_to_find_out(counter: Callable[..., Counter]) -> None:
    limited = counter(max_cost=2.5)
    limited.shop.price = NotFoundError("no such page")

    limited.buyer.buy(rows(5))

    assert len(limited.shop.calls) == 1
    assert [entry.reserved for entry in limited.noted().values()] == [2.5]
