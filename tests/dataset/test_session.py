"""What a worker does with a dataset, and what it leaves behind: a wait, an end, or an error that says what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dataset.entries import CHARGED, FREE, NOW, UNANSWERED, entry, rules
from dataset.world import rows, spool_of

from airflow_provider_apimart.dataset.entry import Entry, Status
from airflow_provider_apimart.dataset.intake import Intake
from airflow_provider_apimart.dataset.ledger import Ledger
from airflow_provider_apimart.dataset.session import Session, Wait
from airflow_provider_apimart.exceptions import (
    ApimartError,
    AuthenticationError,
    BudgetExceededError,
    IncompleteDatasetError,
    RateLimitError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
    TransferError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_apimart.dataset.part import Part
    from airflow_provider_apimart.dataset.progress import Progress

PARTS = rows(8)
#: What the ledger says of a row that it knows nothing of.
UNKNOWN_ROW: Any = None
RUNNING: dict[str, Any] = {"status": Status.ACCEPTED, "charged": "unknown"}


@dataclass
class Recorder:
    ledger: Ledger = field(default_factory=Ledger)
    noted: list[Entry] = field(default_factory=list)

    def note(self, changed: Entry) -> None:
        self.noted.append(changed)
        self.ledger.add([changed])


@dataclass
class Buyer:
    """Buys nothing, and does not mind."""

    trouble: ApimartError | None = None
    money: str | None = None
    bought: list[Part] = field(default_factory=list)
    sent_again: list[Entry] = field(default_factory=list)

    def objection(self, part: Part) -> str | None:
        return self.money if part not in self.bought else "it is bought"

    def is_untried(self, one: Entry) -> bool:
        return one not in self.sent_again

    def buy(self, parts: Sequence[Part]) -> None:
        self.bought += parts

    def send_again(self, calls: Sequence[tuple[Part, Entry]]) -> None:
        self.sent_again += [one for _, one in calls]


@dataclass
class Collector:
    """Nothing has ended."""

    uncopied: dict[bytes, ApimartError] = field(default_factory=dict)

    def ended(self, entries: Iterable[Entry]) -> list[Any]:
        assert entries is not None
        return []


@dataclass
class Work:
    """A session, and what it says."""

    buyer: Buyer = field(default_factory=Buyer)
    collector: Collector = field(default_factory=Collector)
    recorder: Recorder = field(default_factory=Recorder)
    reports: list[Progress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def session(self, states: dict[int, dict[str, Any]], **changes: Any) -> Session:
        """Return a session; ``None`` is a row that the ledger does not know, and those that are not named are done."""
        for place, part in enumerate(PARTS):
            if (state := states.get(place, {})) is not None:
                identity = {"row": part.row.number, "id": part.row.id, "fingerprint": part.row.fingerprint}
                self.recorder.ledger.add([entry(**identity, task_ids=(f"t{place}",), **state)])
        fakes: Any = SimpleNamespace(buyer=self.buyer, collector=self.collector, recorder=self.recorder)
        usual: dict[str, Any] = {
            "intake": Intake(spool_of(PARTS)),
            "recorder": fakes.recorder,
            "rules": rules(),
            "buyer": fakes.buyer,
            "collector": fakes.collector,
            "writer": "a_task",
            "belongs": lambda _: True,
            "began_at": NOW,
            "timeout": 600.0,
            "ends_at": math.inf,
            "report": self.reports.append,
            "warn": self.warnings.append,
            "stopping": Event(),
            "clock": lambda: NOW,
        }
        return Session(**{**usual, **changes})


def test_it_waits_for_what_runs() -> None:
    work = Work()
    session = work.session(dict.fromkeys(range(3), RUNNING))

    wait = session.work()

    assert wait == Wait(["t0", "t1", "t2"], 2, NOW + 600, math.inf)
    assert session.waits
    (progress,) = work.reports
    assert (progress.total, progress.done, progress.in_flight) == (8, 5, 3)


def test_it_is_over_when_all_is_done() -> None:
    session = Work().session({})

    assert session.work() is None
    assert not session.waits


def test_a_retry_waits_anew_for_what_it_finds_running() -> None:
    session = Work().session({0: {**RUNNING, "updated_at": NOW - 10_000}}, began_at=NOW - 100)

    wait = session.work()

    assert wait is not None
    assert wait.deadline == NOW + 500


def test_what_runs_for_too_long_is_left_to_a_retry() -> None:
    session = Work().session({0: {**RUNNING, "updated_at": NOW - 700}}, began_at=NOW - 700)

    with pytest.raises(TaskTimeoutError, match=r"1 paid call.* after 600 s: t0"):
        session.work()


def test_execution_timeout_ends_the_wait_and_the_buying() -> None:
    work = Work()
    session = work.session({0: RUNNING, 1: UNKNOWN_ROW}, ends_at=NOW)

    with pytest.raises(TaskTimeoutError, match=r"execution_timeout is over; 1 paid call.*1 row"):
        session.work()

    assert work.buyer.bought == []


def test_calls_that_another_run_is_about_to_make_are_waited_for() -> None:
    session = Work().session({0: {**UNANSWERED, "run_id": "sunday"}})

    assert session.work() == Wait([], 0, NOW + 30, NOW + 30)


def test_a_gateway_that_has_too_much_to_do_is_called_again_later() -> None:
    work = Work(buyer=Buyer(trouble=RateLimitError("too many", retry_after=90)))

    assert work.session({0: UNKNOWN_ROW}).work() == Wait([], 0, NOW + 90, NOW + 90)


def test_trouble_with_the_account_waits_until_what_runs_is_collected() -> None:
    trouble = AuthenticationError("a wrong key")

    wait = Work(buyer=Buyer(trouble=trouble)).session({0: RUNNING, 1: UNKNOWN_ROW}).work()

    assert wait is not None
    assert wait.task_ids == ["t0"]
    with pytest.raises(AuthenticationError):
        Work(buyer=Buyer(trouble=trouble)).session({1: UNKNOWN_ROW}).work()


def test_what_could_not_be_copied_is_left_to_a_retry_when_nothing_else_is_to_do() -> None:
    collector = Collector({PARTS[0].key: TransferError("the host is away", task_id="t0")})

    assert Work(collector=collector).session({0: RUNNING, 1: RUNNING}).work() is not None
    with pytest.raises(TransferError, match=r"1 row\(s\) could not be copied.*The first: the host is away"):
        Work(collector=collector).session({0: RUNNING}).work()


def test_a_budget_that_is_used_up_is_an_end_that_names_what_is_left() -> None:
    work = Work(buyer=Buyer(money="0 USD are left."))

    with pytest.raises(BudgetExceededError) as caught:
        work.session({0: UNKNOWN_ROW, 1: UNKNOWN_ROW, 2: {"cost": 1.5}}).work()

    assert "2 of 8 rows were not bought. 0 USD are left. 1.5 USD were spent" in str(caught.value)
    assert "Raise max_cost and clear the task" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        pytest.param({}, True, id="in flight"),
        pytest.param({"reserved": None}, False, id="without money"),
        pytest.param({"run_id": "sunday"}, False, id="of another run, which has its own money"),
        pytest.param({"status": Status.UNKNOWN}, False, id="that nobody will hear of"),
        pytest.param({"updated_at": NOW - 700}, False, id="that nobody waits for any more"),
    ],
)
def test_money_that_another_shard_holds_may_come_back(changes: dict[str, Any], waits: bool) -> None:
    work = Work(buyer=Buyer(money="0 USD are left."))
    session = work.session({0: UNKNOWN_ROW}, belongs=lambda _: False, began_at=NOW - 700)
    work.recorder.ledger.add([entry(id="elsewhere", **{**RUNNING, "reserved": 0.5, **changes})])

    if waits:
        assert session.work() == Wait([], 0, NOW + 60, NOW + 60)
        return
    with pytest.raises(BudgetExceededError):
        session.work()


def test_rows_without_a_picture_are_named_with_the_reason() -> None:
    with pytest.raises(IncompleteDatasetError) as caught:
        Work().session({0: {**FREE, "retries": 9}, 1: CHARGED}).work()

    assert "2 of 8 rows gave no picture." in str(caught.value)
    assert "row 1 (row-1): it ended without a picture and was not charged" in str(caught.value)
    assert "row 2 (row-2): it ended without a picture, and was charged or may have been" in str(caught.value)


def test_a_call_that_nobody_will_ever_hear_of_is_noted_as_unknown() -> None:
    work = Work()

    with pytest.raises(IncompleteDatasetError):
        work.session({0: UNANSWERED}, rules=rules(on_unknown_submit="fail")).work()

    assert [noted.status for noted in work.recorder.noted] == [Status.UNKNOWN]
    assert "row 1 (row-1)" in work.warnings[0]


def test_a_lost_call_is_sent_again_once() -> None:
    work = Work()
    session = work.session({0: UNANSWERED, 1: RUNNING}, rules=rules(on_unknown_submit="resubmit"))

    assert session.work() is not None

    assert [one.id for one in work.buyer.sent_again] == ["row-1"]


def test_a_call_that_is_not_answered_even_then_is_no_end() -> None:
    work = Work()
    session = work.session({0: UNANSWERED}, rules=rules(on_unknown_submit="resubmit"))

    with pytest.raises(SubmitOutcomeUnknownError, match=r"1 paid call\(s\) is still not known") as caught:
        session.work()

    assert [one.id for one in work.buyer.sent_again] == ["row-1"]
    assert caught.value.retryable


def test_a_worker_that_is_about_to_be_killed_does_nothing() -> None:
    work = Work()
    session = work.session({0: UNKNOWN_ROW})
    session.stopping.set()

    with pytest.raises(ApimartError, match="ended from outside") as caught:
        session.work()

    assert caught.value.retryable
    assert work.buyer.bought == []
