"""
One worker's share of a dataset: it works while there is much to do, then says what to wait for. I/O.

Everything that must outlive the worker is in the ledger, so that the next one begins where this one left off, or died.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_apimart.assets import MOST_LISTED
from airflow_provider_apimart.dataset.budget import Budget
from airflow_provider_apimart.dataset.entry import Status
from airflow_provider_apimart.dataset.manifest import write_manifest
from airflow_provider_apimart.dataset.outcome import unknown
from airflow_provider_apimart.dataset.progress import Progress, is_due, progress_of
from airflow_provider_apimart.dataset.report import MOST_OBJECTS, report_of
from airflow_provider_apimart.dataset.survey import NOTHING, Next, fails_already, survey, turn, verdict
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    IncompleteDatasetError,
    RateLimitError,
    SubmitOutcomeUnknownError,
    TaskTimeoutError,
    TransferError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from airflow_provider_apimart.dataset.buying import Buyer
    from airflow_provider_apimart.dataset.collecting import Collector, Ended
    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.dataset.intake import Intake
    from airflow_provider_apimart.dataset.ledger import State
    from airflow_provider_apimart.dataset.manifest import Manifest
    from airflow_provider_apimart.dataset.plan import Rules
    from airflow_provider_apimart.dataset.recorder import Recorder
    from airflow_provider_apimart.dataset.survey import Survey, Turn

__all__ = ["Result", "Session", "Wait"]

#: The share of what is in flight that is worth waiting for: the last few may take long.
_ENOUGH: Final = 0.95
#: Seconds after which a gateway that refuses calls without saying for how long, or an empty purse, is tried again.
_PAUSE: Final = 60.0


class Wait(NamedTuple):
    """
    What a task waits for.

    :param task_ids: gateway tasks.
    :param enough: how many of them are worth a worker.
    :param deadline: Unix seconds after which nobody waits for them any more.
    :param wake_at: Unix seconds when there is something to do in any case.
    """

    task_ids: list[str]
    enough: int
    deadline: float
    wake_at: float


class Result(NamedTuple):
    """
    What has become of a dataset.

    :param report: what the task returns.
    :param own: the purchases of this DAG run.
    :param stored: the purchases of any run whose pictures are in S3.
    :param manifest: with the entries of the first of both.
    """

    report: dict[str, Any]
    own: list[State]
    stored: list[State]
    manifest: Manifest


@dataclass
class Session:
    """
    Works on a dataset.

    :param intake: the dataset as this worker has read it.
    :param writer: stands for the task instance, the same for all its tries.
    :param belongs: whether a purchase without a row would be of this task's shard.
    :param began_at: Unix seconds, when this try of the task began.
    :param timeout: seconds that one try waits for an accepted call.
    :param ends_at: Unix seconds after which nothing is bought or waited for.
    :param report: told how far the dataset has come, at a humane rate.
    :param warn: told of calls whose outcome nobody knows.
    :param stopping: set when the worker is about to be killed.
    :param waits: whether the task goes on after this session.
    :param unanswered: calls that were sent once more in this session, and of which nobody knows more than before.
    """

    intake: Intake
    recorder: Recorder
    rules: Rules
    buyer: Buyer
    collector: Collector
    writer: str
    belongs: Callable[[Entry], bool]
    began_at: float
    timeout: float
    ends_at: float
    report: Callable[[Progress], None]
    warn: Callable[[str], None]
    stopping: Event
    clock: Callable[[], float] = time.time
    reported: Progress | None = field(default=None, init=False)
    waits: bool = field(default=False, init=False)
    unanswered: int = field(default=0, init=False)

    def work(self) -> Wait | None:
        """
        Resubmit, buy and copy for as long as there is much of it; return what to wait for then, ``None`` at the end.

        :raises ApimartError: why there will be no end, or none without a retry.
        """
        is_first = True
        while not self.stopping.is_set():
            found = self.look()
            ended = self.collector.ended(found.ask)
            todo = turn(found, self.rules, ended=len(ended), may_buy=self._may_buy(found), is_first=is_first)
            if todo == NOTHING:
                self._report(found, in_any_case=True)
                following = self._following(found)
                self.waits = following is not None
                return following
            self._do(todo, found, ended)
            is_first = False
        raise ApimartError(
            "The task was ended from outside. What it bought is noted, goes on at the gateway and will be charged; a "
            "retry, or clearing the task, collects it and buys only what is missing.",
            retryable=True,
        )

    def look(self) -> Survey:
        """Return what all rows need, after noting those that nobody will ever know more of."""
        found = survey(self.intake.spool, self.recorder.ledger, self.rules, now=self.clock(), belongs=self.belongs)
        for entry in found.lost:
            lost = SubmitOutcomeUnknownError(
                "The worker died between writing the paid call down and hearing the answer. Look for it in the "
                "vendor's console; on_unknown_submit='resubmit' sends its idempotency key once more."
            )
            self.warn(f"Whether row {entry.row} ({entry.id}) was bought is not known. {lost}")
            self.recorder.note(unknown(entry, lost, now=self.clock()))
        untried = [call for call in found.resubmit if self.buyer.is_untried(call[1])]
        self.unanswered = len(found.resubmit) - len(untried)
        found.resubmit = untried
        self._report(found)
        return found

    def collect(self) -> bool:
        """Copy what has ended, buy nothing, and return whether nothing is left to do."""
        self.collector.collect(self.collector.ended(self.look().ask))
        found = self.look()
        return verdict(found, self.rules, objection=None).next is Next.FINISH

    def result(self) -> Result:
        """
        Return what has become of the dataset, when there is nothing left to do.

        :raises RecordUnavailableError: when the manifest could not be written.
        """
        found = self.look()
        self.recorder.flush()
        ledger, objects = self.recorder.ledger, self.recorder.journal.objects
        keys = self.intake.spool.keys
        bought_now = (key for key, state in self._states() if self._is_own(state) and state.charged != "no")
        listed = {*islice(keys(), MOST_OBJECTS), *islice(bought_now, MOST_LISTED)}
        manifest = write_manifest(keys(), ledger, objects, writer=self.writer, listed=listed)
        own, stored = self._own(), [state for _, state in self._states() if state.status is Status.COPIED]
        report = report_of(found, own, manifest, invalid=self.intake.invalid, ledger=objects.address)
        return Result(report, own, stored, manifest)

    def _states(self) -> Iterator[tuple[bytes, State]]:
        """Yield what is known of the rows' purchases, by their keys."""
        ledger = self.recorder.ledger
        for key in self.intake.spool.keys():  # noqa: SIM118 - no mapping
            if state := ledger.find(key):
                yield key, state

    def _is_own(self, state: State) -> bool:
        return state.run_id == self.rules.run_id

    def _own(self) -> list[State]:
        """Return the purchases of this DAG run."""
        return [state for _, state in self._states() if self._is_own(state)]

    def _progress(self, found: Survey) -> Progress:
        own = self._own()
        return progress_of(found, Budget.of(own, max_cost=None), own, now=self.clock())

    def _report(self, found: Survey, *, in_any_case: bool = False) -> None:
        current = self._progress(found)
        if self.reported is None:
            self.reported = current  # What an earlier session has said, more or less.
        if in_any_case or is_due(self.reported, current):
            self.reported = current
            self.report(current)

    def _may_buy(self, found: Survey) -> bool:
        may_go_on = self.buyer.trouble is None and self.clock() < self.ends_at and not fails_already(found, self.rules)
        return bool(found.buy) and may_go_on and self.buyer.objection(found.buy[0]) is None

    def _do(self, todo: Turn, found: Survey, ended: list[Ended]) -> None:
        if todo.resubmit:
            self.buyer.send_again(found.resubmit)
        # First what the gateway can work on while the finished pictures are copied.
        self.buyer.buy(found.buy[: todo.buy])
        if todo.copy:
            self.collector.collect(ended)

    def _following(self, found: Survey) -> Wait | None:
        """Return what to wait for, or ``None`` at the end; there is nothing to do now."""
        now = self.clock()
        running = [entry for entry in found.ask if entry.key not in self.collector.uncopied]
        if now >= self.ends_at and (found.in_flight or found.left):
            raise TaskTimeoutError(
                f"execution_timeout is over; {found.in_flight} paid call(s) are in flight and {found.left} row(s) were "
                "not bought. What was bought is noted: a retry collects it, and buys only what is missing."
            )
        wake_at = min(found.look_again_at, self._pause_ends(now))
        deadlines = [deadline for entry in running if (deadline := self._deadline(entry)) > now]
        if deadlines:
            task_ids = [task_id for entry in running for task_id in entry.task_ids]
            enough = max(1, int(_ENOUGH * len(task_ids)))
            return Wait(task_ids, enough, min(self.ends_at, max(deadlines)), wake_at)
        if self.collector.uncopied:
            raise self._not_copied()
        if running:
            raise self._late(running)
        if self.buyer.trouble is not None and not isinstance(self.buyer.trouble, RateLimitError):
            raise self.buyer.trouble
        if found.left and self._may_get_money_back(now):
            wake_at = min(wake_at, now + _PAUSE)
        if wake_at < math.inf:
            return Wait([], 0, min(self.ends_at, wake_at), wake_at)
        if self.unanswered:
            raise SubmitOutcomeUnknownError(
                f"The outcome of {self.unanswered} paid call(s) is still not known, although their keys were sent once "
                "more. The ledger names each with the reason. All others are done; a retry sends the keys again.",
                retryable=True,
            )
        self._require_completeness(found)
        return None

    def _pause_ends(self, now: float) -> float:
        """Return when a gateway that has too much to do may be called again."""
        trouble = self.buyer.trouble
        return now + max(_PAUSE, trouble.retry_after or 0.0) if isinstance(trouble, RateLimitError) else math.inf

    def _may_get_money_back(self, now: float) -> bool:
        """Whether other tasks of this run hold money for calls that may yet cost less, or nothing."""
        held = (entry for entry in self.recorder.ledger.unsettled.values() if entry.status is not Status.UNKNOWN)
        return any(it.reserved and it.run_id == self.rules.run_id and self._deadline(it) > now for it in held)

    def _deadline(self, entry: Entry) -> float:
        return max(entry.updated_at, self.began_at) + self.timeout

    def _require_completeness(self, found: Survey) -> None:
        objection = self.buyer.objection(found.buy[0]) if found.buy else None
        following, reason = verdict(found, self.rules, objection=objection)
        if following is Next.FINISH:
            return
        given_up = "; ".join(f"row {part.row.number} ({part.row.id}): {why}" for part, why in found.given_up)
        progress = self._progress(found)
        money = f"{progress.spent:g} USD were spent by this run."
        if following is Next.OVER_BUDGET:
            raise BudgetExceededError(
                f"{reason} {money} What is bought is in S3. Raise max_cost and clear the task to go on."
            )
        raise IncompleteDatasetError(
            f"{reason} {money} The ledger names every row and its error. Clearing the task buys the rows again that "
            f"were not charged; max_failed lets a task succeed with some rows missing. {given_up}"
        )

    def _not_copied(self) -> TransferError:
        errors = list(self.collector.uncopied.values())
        return TransferError(
            f"The pictures of {len(errors)} row(s) could not be copied. They were paid for and are noted: a retry "
            f"copies them and buys nothing. The first: {errors[0]}",
            task_id=errors[0].task_id,
        )

    def _late(self, running: list[Entry]) -> TaskTimeoutError:
        listed = ", ".join(task_id for entry in running[:10] for task_id in entry.task_ids)
        return TaskTimeoutError(
            f"{len(running)} paid call(s) still run at the gateway after {self.timeout:g} s: {listed}. They may be "
            "charged. They are noted: a retry asks after them and buys nothing twice."
        )
