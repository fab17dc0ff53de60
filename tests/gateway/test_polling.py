"""Status queries of many tasks: which requests are sent, and what is learnt from the responses."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from gateway.batch_gateway import BatchGateway
from gateway.clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_apimart.exceptions import (
    AuthenticationError,
    ConnectionFailedError,
    GatewayError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway.polling import BatchEndpoint, chunks, look_up
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from gateway.batch_gateway import Found


class Asker:
    """Somebody who asks a gateway again and again, and learns about its batch endpoint."""

    def __init__(self, gateway: BatchGateway) -> None:
        self.gateway = gateway
        self.clock = Clock()
        self.warnings: list[str] = []
        self.endpoint = BatchEndpoint(enabled=True, warn=self.warnings.append, clock=self.clock)

    def ask(self, task_ids: list[str]) -> Found:
        """Ask once; ``gateway.batches`` and ``gateway.singles`` then hold what was asked this time."""
        self.gateway.batches.clear()
        self.gateway.singles.clear()
        return self.gateway.serve(look_up(GatewaySettings(api_key="sk-x"), task_ids, self.endpoint))


def ids(count: int) -> list[str]:
    return [f"task_{number}" for number in range(count)]


GATEWAYS = st.builds(
    BatchGateway,
    limit=st.integers(0, 130),
    bad=st.frozensets(st.sampled_from(ids(130)), max_size=4),
    refuses_bad=st.booleans(),
    describes=st.sampled_from([0, 1, 3, 10, 30, 1000]),
    missing=st.frozensets(st.sampled_from(ids(130)), max_size=4),
    item_errors=st.frozensets(st.sampled_from(ids(130)), max_size=4),
    batch_status=st.sampled_from([None, None, None, 200, 400, 404, 405]),
)


@given(GATEWAYS, st.lists(st.integers(0, 130), min_size=1, max_size=6))
def test_every_id_gets_the_one_outcome_that_it_has_by_itself(gateway: BatchGateway, counts: list[int]) -> None:
    asker = Asker(gateway)
    for count in counts:
        found = asker.ask(ids(count))

        assert list(found) == ids(count)
        for task_id, outcome in found.items():
            assert type(outcome) is (TaskNotFoundError if task_id in gateway.bad else Task)
            assert outcome.task_id == task_id
        asked_singly = list(chain.from_iterable(gateway.singles))
        assert len(asked_singly) == len(set(asked_singly))


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_limit_is_found_and_kept(limit: int, count: int) -> None:
    asker = Asker(BatchGateway(limit=limit))
    for _ in range(4):  # From 50 to 200 it doubles twice, and the fourth look knows.
        asker.ask(ids(count))

    asker.ask(ids(count))

    assert all(size <= limit for size in chain.from_iterable(asker.gateway.batches))
    assert len(asker.gateway.batches) <= 1, "nothing is refused"
    if limit >= 9:  # What is smaller may not be worth the trouble.
        assert asker.gateway.singles == ([["task_0"]] if count == 1 else [])
        assert asker.endpoint.size >= min(50, limit) // 2
        assert asker.warnings == []


def test_a_batch_that_is_too_large_is_halved_until_it_is_taken() -> None:
    asker = Asker(BatchGateway(limit=20))

    asker.ask(ids(100))
    assert asker.gateway.batches == [[50, 50], [25, 25, 25, 25], [13, 12] * 4]

    asker.ask(ids(100))
    assert asker.gateway.batches == [[13] * 7 + [9]]


def test_a_limit_is_tried_anew_after_a_quarter_of_an_hour() -> None:
    asker = Asker(BatchGateway(limit=20))
    asker.ask(ids(100))
    asker.gateway.limit = 1000

    asker.clock.seconds = 15 * 60
    for _ in range(4):
        asker.ask(ids(300))

    assert asker.gateway.batches == [[104, 104, 92]]


def test_batches_grow_while_they_are_full() -> None:
    asker = Asker(BatchGateway())

    asked = []
    for _ in range(4):
        asker.ask(ids(450))
        asked += asker.gateway.batches

    assert asked == [[50] * 9, [100, 100, 100, 100, 50], [200, 200, 50], [200, 200, 50]]


@pytest.mark.parametrize("count", [2, 3, 9, 10, 50, 120])
@pytest.mark.parametrize("bad", [0, 1])
def test_an_id_that_is_refused_neither_shrinks_batches_nor_turns_them_off(count: int, bad: int) -> None:
    asker = Asker(BatchGateway(bad={f"task_{bad}"}, refuses_bad=True))

    found = asker.ask(ids(count))

    assert [task_id for task_id, outcome in found.items() if isinstance(outcome, GatewayError)] == [f"task_{bad}"]
    assert asker.endpoint.is_usable
    assert asker.endpoint.size >= 50
    assert len(list(chain.from_iterable(asker.gateway.singles))) <= 9, "those that were asked after with it"
    assert asker.warnings == []


def test_a_limit_is_not_learnt_from_ids_that_are_refused() -> None:
    asker = Asker(BatchGateway(bad={"task_0", "task_6", "task_11"}, refuses_bad=True))

    asker.ask(ids(20))

    assert (asker.endpoint.is_usable, asker.endpoint.size) == (True, 50)


@pytest.mark.parametrize(
    ("status", "batches"),
    [
        pytest.param(200, 1, id="a web page"),
        pytest.param(404, 1, id="404"),
        pytest.param(400, 1 + 2 + 4, id="400"),
        pytest.param(405, 1 + 2 + 4, id="405"),
    ],
)
@pytest.mark.parametrize("bad", [frozenset(), frozenset({"task_1"})], ids=["", "with a bad id"])
def test_an_endpoint_that_is_missing_or_odd_leads_to_single_look_ups(
    status: int, batches: int, bad: frozenset[str]
) -> None:
    asker = Asker(BatchGateway(batch_status=status, bad=bad))

    found = asker.ask(ids(30))

    assert len(found) == 30
    assert len(list(chain.from_iterable(asker.gateway.batches))) == batches
    assert asker.gateway.singles == [ids(30)]
    # A 400 may be about the bad id; without that, it is about batches.
    is_doubtful = bool(bad) and status in (400, 405)
    assert asker.endpoint.is_usable is is_doubtful
    assert len(asker.warnings) == (0 if is_doubtful else 1)


def test_an_endpoint_that_was_turned_off_is_asked_again_after_a_quarter_of_an_hour() -> None:
    asker = Asker(BatchGateway(batch_status=404))
    asker.ask(ids(30))
    asker.gateway.batch_status = None

    asker.ask(ids(30))
    assert asker.gateway.batches == []

    asker.clock.seconds = 15 * 60
    asker.ask(ids(30))
    assert asker.gateway.batches == [[30]]
    assert asker.gateway.singles == []


def test_an_endpoint_that_describes_only_the_first_few_is_asked_after_no_more() -> None:
    asker = Asker(BatchGateway(describes=10))

    asker.ask(ids(60))
    assert [len(step) for step in asker.gateway.singles] == [40]

    asker.ask(ids(60))
    assert asker.gateway.batches == [[10] * 6]
    assert asker.gateway.singles == []


def test_an_endpoint_that_describes_hardly_any_is_turned_off() -> None:
    asker = Asker(BatchGateway(describes=4))

    asker.ask(ids(60))

    assert not asker.endpoint.is_usable
    assert "a batch describes 4 tasks" in asker.warnings[0]


@pytest.mark.parametrize("odd", ["missing", "item_errors"])
def test_a_few_tasks_that_are_too_new_for_a_batch_do_not_shrink_it(odd: str) -> None:
    new = frozenset(ids(20))
    asker = Asker(BatchGateway(**{odd: new}))

    asker.ask(ids(50))

    assert asker.gateway.singles == [ids(20)]
    assert asker.endpoint.size == 100


def test_an_id_that_is_asked_for_twice_is_looked_up_once() -> None:
    asker = Asker(BatchGateway())

    assert list(asker.ask(["task_1", "task_1"])) == ["task_1"]
    assert (asker.gateway.batches, asker.gateway.singles) == ([], [["task_1"]])


def test_nothing_is_asked_about_nothing() -> None:
    asker = Asker(BatchGateway())

    assert asker.ask([]) == {}
    assert (asker.gateway.batches, asker.gateway.singles) == ([], [])


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize(
    ("status", "cls"),
    [(401, AuthenticationError), (429, RateLimitError), (500, ServerError), (502, ServerError)],
)
def test_trouble_of_the_gateway_itself_is_raised_and_turns_nothing_off(
    status: int, cls: type[GatewayError], count: int
) -> None:
    asker = Asker(BatchGateway(status=status))

    with pytest.raises(cls):
        asker.ask(ids(count))

    assert (asker.endpoint.is_usable, asker.endpoint.size) == (True, 50)
    assert asker.warnings == []


@pytest.mark.parametrize(
    ("status", "cls"),
    [(200, UnreadableAnswerError), (404, NotFoundError), (403, PermissionDeniedError), (502, ServerError)],
)
def test_a_page_that_stands_before_the_whole_gateway_is_raised_and_says_nothing_about_batches(
    status: int, cls: type[GatewayError]
) -> None:
    asker = Asker(BatchGateway(status=status, page=True))

    with pytest.raises(cls):
        asker.ask(ids(60))

    assert asker.endpoint.is_usable
    assert asker.warnings == []


@pytest.mark.parametrize("status", [401, 403, 500, 502, 504])
def test_batches_that_alone_fail_hide_no_task(status: int) -> None:
    asker = Asker(BatchGateway(batch_status=status))

    found = asker.ask(ids(60))
    assert all(isinstance(outcome, Task) for outcome in found.values())
    assert asker.gateway.singles == [["task_0"], ids(60)[1:]]
    assert len(asker.warnings) == 1

    asker.ask(ids(60))
    assert asker.gateway.batches == []


@pytest.mark.parametrize("poison_status", [500, 502, 403])
def test_an_id_on_which_a_batch_fails_hides_no_other(poison_status: int) -> None:
    asker = Asker(BatchGateway(poison={"task_7"}, poison_status=poison_status))

    found = asker.ask(ids(120))

    assert all(isinstance(outcome, Task) for outcome in found.values())
    assert [len(step) for step in asker.gateway.singles] == [1, 49]
    assert asker.endpoint.is_usable


def test_batches_that_fail_while_the_gateway_is_away_keep_the_others() -> None:
    asker = Asker(BatchGateway(poison={"task_7"}, poison_status=502, single_status=502))

    found = asker.ask(ids(120))

    assert Counter(type(outcome) for outcome in found.values()) == {Task: 70, ServerError: 50}
    assert asker.gateway.singles == [["task_0"]]


@pytest.mark.parametrize(
    "item",
    [
        {"status": "completed"},
        {"status": "success", "result": {"images": []}},
        {"status": "error", "message": "not found"},
        {"status": "fail"},
    ],
    ids=str,
)
def test_an_item_that_says_too_little_is_confirmed_by_a_query_of_its_own_in_the_same_poll(item: dict[str, Any]) -> None:
    asker = Asker(BatchGateway(items={"task_1": item}))

    found = asker.ask(ids(3))

    assert asker.gateway.batches == [[3]]
    assert asker.gateway.singles == [["task_1"]]
    assert asker.endpoint.is_usable
    outcome = found["task_1"]
    assert isinstance(outcome, Task)
    assert outcome.status == "processing"


def outcomes_of(steps: Any, *rounds: Any) -> Any:
    """Drive a look-up by hand, with the same outcome for each call of a round."""
    asked = next(steps)
    for outcome in rounds:
        asked = steps.send([outcome] * len(asked))
    return asked


def test_no_connection_is_raised_and_turns_nothing_off() -> None:
    asker = Asker(BatchGateway())
    steps = look_up(GatewaySettings(api_key="sk-x"), ids(60), asker.endpoint)

    with pytest.raises(ConnectionFailedError, match="refused"):
        outcomes_of(steps, ConnectionFailedError("refused"), ConnectionFailedError("refused"))

    assert asker.endpoint.is_usable


def test_the_calls_of_one_step_are_for_the_caller_to_send_side_by_side() -> None:
    asker = Asker(BatchGateway())

    asked = next(look_up(GatewaySettings(api_key="sk-x"), ids(120), asker.endpoint))

    assert [(call.method, call.path, len(call.json["task_ids"])) for call in asked] == [
        ("POST", "/v1/tasks/batch", 50),
        ("POST", "/v1/tasks/batch", 50),
        ("POST", "/v1/tasks/batch", 20),
    ]
    assert not any(call.paid for call in asked)


@given(st.lists(st.text(max_size=3), max_size=120), st.integers(1, 60))
def test_chunks_hold_every_id_in_order(task_ids: list[str], size: int) -> None:
    parts = list(chunks(task_ids, size))

    assert list(chain.from_iterable(parts)) == task_ids
    assert all(1 <= len(part) <= size for part in parts)
