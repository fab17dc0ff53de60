"""
One worker's session on a dataset: it works while there is something to do, then returns what to wait for.

Everything that must outlive the worker is in the ledger, so that the next one begins where this one left off, or died.

==============================================================  ===================================================
Situation                                                       Next
==============================================================  ===================================================
slots are free, rows are left, money and failures allow it      submit a group of calls
a gateway task has ended                                        copy its pictures, in threads, and poll on
calls run, and :mod:`~.waves` says that work comes soon         stay, and poll
calls run otherwise                                             leave: wait for them in the triggerer
others are making calls of this dataset; the gateway is busy;   leave: wait for a moment
other tasks of the run hold money that may come back
none of the above                                               the end: the result, or the error
==============================================================  ===================================================
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.dataset.ledger.entry import EntryStatus
from airflow_provider_apimart.dataset.run.ending import (
    allowed_failures,
    error_of_end,
    not_copied,
    out_of_time,
)
from airflow_provider_apimart.dataset.run.outcome import presumed_lost_entry
from airflow_provider_apimart.dataset.run.plan import CallStep, was_resubmitted
from airflow_provider_apimart.dataset.run.progress import is_report_due, progress_of
from airflow_provider_apimart.dataset.run.waves import DatasetWait, Wave, linger_seconds, should_leave
from airflow_provider_apimart.exceptions import ApimartError, RateLimitError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.ledger.money import Objection
    from airflow_provider_apimart.dataset.row import Call
    from airflow_provider_apimart.dataset.run.buying import Buyer
    from airflow_provider_apimart.dataset.run.collecting import Collector
    from airflow_provider_apimart.dataset.run.progress import Progress
    from airflow_provider_apimart.dataset.run.settings import Rules
    from airflow_provider_apimart.dataset.run.tally import Tally

__all__ = ["RATED_CALLS", "Session"]

#: Seconds after which a gateway that refuses calls without saying for how long, or an empty budget, is tried again.
_PAUSE: Final = 60.0
#: The longest pause that a gateway gets by asking.
_LONGEST_PAUSE: Final = 600.0
#: Seconds after which a gateway that refuses every call for now is not waited for any longer.
_LONGEST_REFUSAL: Final = 6 * 3600.0
#: Seconds for which free slots are gathered, so that one record serves many calls.
_GATHERING: Final = 4.0
#: Seconds between two attempts at copying pictures that could not be copied, and how often one worker tries again. Each
#: attempt repeats its requests for a minute by itself, and a retry of the task goes on.
_BETWEEN_COPIES, _COPY_ROUNDS = 30.0, 3
#: Calls over which the rate of failures is taken, and the fewest that it is taken of.
RATED_CALLS, _FEWEST_RATED = 50, 20
#: Share of ``max_cost`` from which on a warning is logged.
_NEARLY_SPENT: Final = 0.8


@dataclass
class Session:
    """
    One worker's work on a dataset.

    :param may_leave: whether the task can wait in the triggerer.
    :param report: called with the progress, rate-limited so that the log stays readable.
    :param warn: called with warnings.
    :param stopping: set when the worker is about to be killed.
    :param recent_failures: of the last calls, whether each ended without a picture; a session continues with those of
        the one before.
    :param refused_since: Unix seconds of the first of the refusals that no acceptance has followed; 0 for none.
    :param clock: monotonic seconds.
    :param pause: sleeps for some seconds, or until ``stopping`` is set.
    """

    tally: Tally
    ledger: Ledger
    rules: Rules
    buyer: Buyer
    collector: Collector
    may_leave: bool
    report: Callable[[Progress], None]
    warn: Callable[[str], None]
    stopping: Event
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = time.sleep
    recent_failures: deque[bool] = field(default_factory=lambda: deque(maxlen=RATED_CALLS))
    refused_since: float = 0.0
    is_waiting: bool = field(default=False, init=False)
    _reported: Progress | None = field(default=None, init=False)
    _done_before: int = field(default=0, init=False)
    _began_at: float = field(default=0.0, init=False)
    _active_at: float = field(default=0.0, init=False)
    _bought_at: float = field(default=-math.inf, init=False)
    _copied_again_at: float = field(default=0.0, init=False)
    _rounds: int = field(default=0, init=False)
    _busy: ApimartError | None = field(default=None, init=False)
    _busy_until: float = field(default=math.inf, init=False)
    _tried_again: set[bytes] = field(default_factory=set, init=False)
    _is_nearly_spent: bool | None = field(default=None, init=False)

    def begin(self) -> None:
        """Decide the next step of each call of the dataset."""
        self.tally.scan(now=self._now())

    def work(self) -> DatasetWait | None:
        """
        Run the loop of the module's table; return what to wait for, or ``None`` at the end.

        Each round polls and copies before it buys, so that failures count before more money is spent.

        :raises ApimartError: why there will be no end, or none without a retry.
        """
        self._active_at = self._copied_again_at = self.clock()
        self._began_at = self._now()
        self._done_before = self.tally.done
        self._follow()
        while not self.stopping.is_set():
            self._record_copied(seconds=0.0)
            self._update()
            # Before anything is bought or concluded: failures of this poll count, and a late call may have ended.
            self.recent_failures.extend(not result.has_pictures for result in self.collector.poll())
            if self._buy_again() or self._buy():
                continue
            self._show()
            if self.collector.copying:
                self._record_copied(seconds=min(1.0, self.collector.next_poll()))
            elif self._now() >= self.rules.ends_at and (self.collector.running or self.tally.left):
                raise out_of_time(running=len(self.collector.running), left=self.tally.left)
            elif running := self.collector.running:
                wave = self._wave(running)
                if self.may_leave and should_leave(wave):
                    return self._leave(self._wait_for(running, wave))
                self._sleep(self.collector.next_poll())
            elif (wake_at := self._wakes_at()) < math.inf:
                if self.may_leave:
                    return self._leave(DatasetWait([], min(wake_at, self.rules.ends_at), wake_at))
                self._sleep(wake_at - self._now())
            else:
                self._show(in_any_case=True)
                self._require_end()
                return None
        raise ApimartError(
            "The task was ended from outside. What it bought is recorded, continues at the gateway and will be "
            "charged; a retry, or clearing the task, collects it and buys only what is missing.",
            retryable=True,
        )

    def _now(self) -> float:
        return self.ledger.store.now()

    def _sleep(self, seconds: float) -> None:
        self.pause(max(0.05, min(seconds, _PAUSE)))

    def _follow(self) -> None:
        """
        Poll the calls that are to be collected, and record as lost the calls whose sender reported nothing in time.

        A purchase that a newer one of its call has overtaken is paid for all the same: nobody waits for it, but it is
        collected if it has ended.
        """
        for purchase in self.tally.overtaken(now=self._now()):
            self.collector.watch(purchase, is_late=True)
        for key, call in list(self.tally.calls_with(CallStep.COLLECT, CallStep.LATE, CallStep.GIVE_UP)):
            entry = self.ledger.index.open_entry(key)
            if entry is None:
                continue
            if call.need.step is not CallStep.GIVE_UP:
                self.collector.watch(entry, is_late=call.need.step is CallStep.LATE)
            elif entry.status is EntryStatus.INTENDED:
                self.warn(f"Row {entry.row} ({entry.id}): {call.need.reason}. Idempotency key: {entry.idempotency_key}")
                self.ledger.record(presumed_lost_entry(entry, self.rules, now=self._now()))

    def _update(self) -> None:
        """Decide again about the calls that are due for it."""
        now = self._now()
        if self._pause_ends_at() <= now:
            self.buyer.trouble = None
        if self.tally.waits_until <= now:
            self.ledger.refresh()
            self.tally.update_waiting(now=now)
            self._follow()
        is_due = self.clock() - self._copied_again_at >= _BETWEEN_COPIES
        if self.collector.uncopied and is_due and self._rounds < _COPY_ROUNDS:
            self._copied_again_at = self.clock()
            self._rounds += 1
            self.collector.watch_again()
        for entry in self.collector.running:
            if self.rules.deadline(entry) <= now:
                self.tally.update(entry.key, now=now)
                self.collector.watch(entry, is_late=True)

    def _record_copied(self, *, seconds: float) -> None:
        for entry in self.collector.finished(seconds):
            self._active_at = self.clock()
            self.ledger.record(entry)
            self.tally.update(entry.key, now=self._now())

    def _buy_again(self) -> bool:
        """Submit a group of keys whose responses were lost, once in a try, and return whether there was one."""
        calls = [
            (found, entry)
            for key, call in self.tally.calls_with(CallStep.RESUBMIT)
            if key not in self._tried_again
            and (entry := self.ledger.index.open_entry(key)) is not None
            and not was_resubmitted(entry, self.rules)
            and (found := self.tally.call_of(key, call.row)) is not None
        ][: self.buyer.group]
        if not calls or not self._may_submit():
            return False
        self.buyer.buy_again(calls)
        # A reference image that cannot be had now keeps its call from being submitted.
        self._tried_again |= {entry.key for _, entry in calls}
        self._after_submits([(call, None) for call, _ in calls])
        return True

    def _buy(self) -> bool:
        """Submit the next group of calls, and return whether there was one that is worth a record."""
        running = len(self.collector.running)
        most = min(self.tally.left, self.rules.max_in_flight - running, self.buyer.group)
        is_worth = most in {self.buyer.group, self.tally.left} or not running
        if most <= 0 or not (is_worth or self.clock() - self._bought_at >= _GATHERING):
            return False
        if not self._may_submit() or self._objection() is not None:
            return False
        taken = self.tally.take(most, now=self._now())
        if len(taken) < most:
            self._follow()  # An earlier try of this task instance may have bought some of them since.
        try:
            self.buyer.buy([call for _, call in taken])
        finally:
            self._after_submits([(call, row) for row, call in taken])
        return True

    def _after_submits(self, calls: list[tuple[Call, int | None]]) -> None:
        """Decide again about the calls of a group, and poll the accepted ones."""
        self._active_at = self._bought_at = self.clock()
        for call, row in reversed(calls):
            places = {} if row is None else {"row": row}
            need = self.tally.update(call.key, now=self._now(), is_next=True, **places)
            if need.step is CallStep.COLLECT and (entry := self.ledger.index.open_entry(call.key)):
                self.refused_since = 0.0
                self.collector.watch(entry)
            elif need.step is CallStep.GIVE_UP:
                self.recent_failures.append(True)

    def _may_submit(self) -> bool:
        return self.buyer.trouble is None and self._now() < self.rules.ends_at and self._failure() is None

    def _objection(self) -> Objection | None:
        """Return why the budget does not allow the next call."""
        call = self.tally.peek()
        return None if call is None else self.buyer.objection(call)

    def _failure(self) -> str | None:
        """Return why nothing more is bought after many failures; ``None`` where buying goes on."""
        rules, tally = self.rules, self.tally
        if rules.max_failed is not None and tally.failed > allowed_failures(tally.total, rules.max_failed):
            return f"More rows have failed than max_failed={rules.max_failed} allows."
        failures = self.recent_failures
        if rules.max_failure_rate is not None and len(failures) >= _FEWEST_RATED:
            rate = sum(failures) / len(failures)
            if rate > rules.max_failure_rate:
                return f"{rate:.0%} of the last {len(failures)} calls failed, above max_failure_rate."
        return None

    def _wave(self, running: list[Entry]) -> Wave:
        now = self._now()
        return Wave(
            ages=[now - entry.accepted_at for entry in running],
            durations=self.collector.durations,
            left=self.tally.left if self._may_submit() and self._objection() is None else 0,
            copying=self.collector.copying,
            idle=self.clock() - self._active_at,
        )

    def _leave(self, dataset_wait: DatasetWait) -> DatasetWait:
        self.is_waiting = True
        self._show(in_any_case=True)
        return dataset_wait

    def _wait_for(self, running: list[Entry], wave: Wave) -> DatasetWait:
        return DatasetWait(
            task_ids=[task_id for entry in running for task_id in entry.task_ids],
            deadline=min(self.rules.ends_at, max(map(self.rules.deadline, running))),
            wake_at=min(self.tally.waits_until, self._pause_ends_at()),
            linger=linger_seconds(wave),
            accepted_at=max(entry.accepted_at for entry in running),
        )

    def _wakes_at(self) -> float:
        """Return when there is something to do again although nothing runs; infinite for never."""
        wake_at = min(self.tally.waits_until, self._pause_ends_at())
        objection = self._objection() if self._may_submit() else None
        if objection is not None and not objection.is_final and self._may_get_money_back():
            wake_at = min(wake_at, self._now() + _PAUSE)
        return wake_at

    def _may_get_money_back(self) -> bool:
        """Return whether a call of the run is in flight that may soon be settled for less than is held for it."""
        now = self._now()
        return any(
            now < (entry.answer_by if entry.status is EntryStatus.INTENDED else self.rules.deadline(entry))
            for entry in self.ledger.index.open_entries()
            if entry.run_id == self.rules.run_id and entry.status in {EntryStatus.INTENDED, EntryStatus.ACCEPTED}
        )

    def _pause_ends_at(self) -> float:
        """Return when a gateway that refuses calls for now may be called again; infinite for never."""
        trouble = self.buyer.trouble
        if not isinstance(trouble, RateLimitError) or not self.tally.left:
            return math.inf
        if trouble is not self._busy:
            now = self._now()
            self.refused_since = self.refused_since or now
            seconds = min(max(_PAUSE, trouble.retry_after or 0.0), _LONGEST_PAUSE)
            has_ended = now - self.refused_since >= _LONGEST_REFUSAL
            self._busy, self._busy_until = trouble, math.inf if has_ended else now + seconds
        return self._busy_until

    def _show(self, *, in_any_case: bool = False) -> None:
        if not in_any_case and self._reported and self._reported.at + 1.0 > self._now():
            return
        current = progress_of(
            self.tally, self.buyer.budget(), done_before=self._done_before, since=self._began_at, now=self._now()
        )
        if in_any_case or (self._reported is not None and is_report_due(self._reported, current)):
            self.report(current)
        if in_any_case or self._reported is None or is_report_due(self._reported, current):
            self._reported = current
        is_nearly_spent = bool(self.rules.max_cost) and current.spent >= _NEARLY_SPENT * (self.rules.max_cost or 0.0)
        if is_nearly_spent and self._is_nearly_spent is False:
            self.warn(f"{current.spent:g} USD of max_cost={self.rules.max_cost:g} are spent.")
        self._is_nearly_spent = is_nearly_spent

    def _require_end(self) -> None:
        """
        Return if the task has succeeded.

        It may have failed rows, up to ``max_failed``.

        :raises ApimartError: the reason why it is not.
        """
        tally = self.tally
        if self.collector.uncopied:
            raise not_copied([error for _, error in self.collector.uncopied.values()])
        if self.buyer.trouble is not None:
            if self.buyer.trouble is self._busy:
                hours = (self._now() - self.refused_since) / 3600
                self.warn(f"The gateway has accepted no paid call for {hours:.1f} h; this try waits no longer for it.")
            raise self.buyer.trouble
        if unanswered := tally.count(CallStep.RESUBMIT):
            raise SubmitOutcomeUnknownError(
                f"The outcome of {unanswered} paid call(s) is still not known. In this try each key was submitted once "
                "more, unless the ledger names a reason against it. All others are done; a retry submits them again.",
                retryable=True,
            )
        objection = self._objection()
        error = error_of_end(
            tally,
            self.rules,
            failure=self._failure(),
            objection=objection.reason if objection else None,
            budget=self.buyer.budget(),
            errors={**self.buyer.errors, **self.collector.statuses, **self.collector.errors},
        )
        if error is not None:
            raise error
