"""Accepted calls: polled, copied to S3 when they have ended, and recorded."""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.object_names import key_template
from airflow_provider_apimart.dataset.run.outcome import copied_entry, failed_entry, result_of_call
from airflow_provider_apimart.dataset.run.waves import poll_seconds
from airflow_provider_apimart.exceptions import ApimartError, RecordUnavailableError, TaskNotFoundError
from airflow_provider_apimart.gateway.polling import OutcomeFilter, Schedule
from airflow_provider_apimart.gateway.task import ASSUMED_URL_LIFETIME, TaskState
from airflow_provider_apimart.transfers.copier import ImageExpiredError
from airflow_provider_apimart.transfers.source import facts_of, pictures_of_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from threading import Event

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.dataset.ledger.entry import Entry
    from airflow_provider_apimart.dataset.ledger.ledger import Ledger
    from airflow_provider_apimart.dataset.run.outcome import CallResult
    from airflow_provider_apimart.dataset.run.settings import Rules
    from airflow_provider_apimart.exceptions import GatewayError
    from airflow_provider_apimart.gateway.task import Task
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.transfers.copier import Copier

    Purchase = tuple[str, tuple[str, ...]]

__all__ = ["Collector"]

#: Polls in the interval between two queries of a call, at most.
_POLLS_PER_INTERVAL: Final = 4
#: Durations of recent pictures that are remembered.
_REMEMBERED: Final = 200


@dataclass
class Collector:
    """
    The accepted calls of one worker.

    :param prefix: of the dataset, without a slash at its end.
    :param at_once: calls that are copied at the same time.
    :param stopping: set when the worker is about to be killed: no other copy begins then.
    :param clock: monotonic seconds.

    ``uncopied`` holds the calls whose pictures this worker could not copy, with the errors; the next one tries again.
    ``errors`` holds why calls ended without a picture, ``statuses`` the last response about calls that have not ended,
    both by their keys; ``durations`` the seconds that recent pictures took, sorted.
    """

    hook: ApimartHook
    copier: Copier
    ledger: Ledger
    rules: Rules
    prefix: str
    at_once: int
    stopping: Event
    log: Logger
    clock: Callable[[], float] = time.monotonic
    uncopied: dict[Purchase, tuple[Entry, ApimartError]] = field(default_factory=dict)
    errors: dict[bytes, str] = field(default_factory=dict)
    statuses: dict[bytes, str] = field(default_factory=dict)
    durations: list[float] = field(default_factory=list)
    _calls: dict[Purchase, Entry] = field(default_factory=dict)
    _late: set[Purchase] = field(default_factory=set)
    _owners: dict[str, Purchase] = field(default_factory=dict)
    _outcomes: dict[str, Task | TaskNotFoundError] = field(default_factory=dict)
    _copies: dict[Future[Entry | ApimartError | None], Entry] = field(default_factory=dict)
    _has_warned: bool = False
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __post_init__(self) -> None:
        self._schedule = Schedule()
        self._filter = OutcomeFilter(clock=self.clock)
        self._pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="apimart-copy")

    def close(self) -> None:
        """Wait for the copies that have begun."""
        self._pool.shutdown(cancel_futures=True)

    def believe(self, task_ids: Iterable[str]) -> None:
        """Take it as final that the gateway denies tasks, or has no pictures of them."""
        self._filter.believe(task_ids)

    def watch_again(self) -> None:
        """Poll the calls again whose pictures could not be copied: their URLs may be others now."""
        entries = [entry for entry, _ in self.uncopied.values()]
        self.uncopied.clear()
        for entry in entries:
            self.watch(entry)

    @property
    def running(self) -> list[Entry]:
        """The calls that are not known to have ended, without the late ones."""
        return [entry for key, entry in self._calls.items() if key not in self._late]

    @property
    def copying(self) -> int:
        """Calls that are being copied."""
        return len(self._copies)

    def watch(self, entry: Entry, *, is_late: bool = False) -> None:
        """
        Poll an accepted call until it has ended, and copy its pictures then.

        :param is_late: the task does not wait for it; it is collected if it turns out to have ended.
        """
        purchase = _purchase(entry)
        if is_late:
            self._late.add(purchase)
        is_copying = any(_purchase(copying) == purchase for copying in self._copies.values())
        if purchase in self._calls or purchase in self.uncopied or is_copying:
            return
        self._calls[purchase] = entry
        if self.ledger.store.now() >= entry.accepted_at + ASSUMED_URL_LIFETIME:
            self.believe(entry.task_ids)  # Its URLs have expired by now, so there is nothing to wait for.
        delay = 0.0 if is_late else max(0.0, entry.accepted_at + self._first_poll() - self.ledger.store.now())
        delivered = {task["id"] for task in entry.delivered}
        for task_id in entry.task_ids:
            self._owners[task_id] = purchase
            if task_id not in delivered:
                self._schedule.add(task_id, first_look=self.clock() + delay, interval=self._interval())
        if result := self._final_result(entry):
            self._copy(entry, result)

    def poll(self) -> list[CallResult]:
        """Query the calls that are due, begin to copy the ended ones, and return their results."""
        due = self._schedule.take_due(self.clock())
        if not due:
            return []
        looked_at = self.clock()
        try:
            outcomes = self.hook.get_tasks(due)
        except ApimartError as error:
            self.log.warning("Could not get the status of %d gateway task(s); still waiting: %s", len(due), error)
            outcomes = {}
        ended: list[tuple[Entry, CallResult]] = []
        for task_id, outcome in outcomes.items():
            final = None if self._is_elsewhere(task_id, outcome) else self._filter.conclude(task_id, outcome)
            if final is None:
                self._remember_status(self._owners[task_id], outcome)
                continue
            self._outcomes[task_id] = final
            self._schedule.remove(task_id)
            self._filter.forget(task_id)
            entry = self._calls.get(self._owners[task_id])
            if entry is not None and (result := self._final_result(entry)):
                ended.append((entry, result))
        self._schedule.put_back(due, looked_at=looked_at)
        for entry, result in sorted(ended, key=lambda each: _first_expiry(each[1])):
            self._copy(entry, result)
        return [result for _, result in ended]

    def next_poll(self) -> float:
        """Return the seconds until the next poll, in which many calls are queried; infinite where nothing is polled."""
        due = self._schedule.next_due()
        return math.inf if due is None else max(self._interval() / _POLLS_PER_INTERVAL, due - self.clock())

    def finished(self, seconds: float) -> Iterator[Entry]:
        """
        Yield the entries of calls whose copies have ended, after waiting for the first of them.

        :param seconds: to wait at most.
        """
        if not self._copies:
            return
        done, _ = wait(self._copies, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in done:
            entry = self._copies.pop(future)
            outcome = future.result()
            if isinstance(outcome, ApimartError):
                self.uncopied[_purchase(entry)] = (entry, outcome)
            elif outcome is not None:
                self._late.discard(_purchase(entry))
                if outcome.error is not None:
                    self.errors[entry.key] = outcome.error.message
                yield outcome

    def _final_result(self, entry: Entry) -> CallResult | None:
        return None if self.stopping.is_set() else result_of_call(entry, self._outcomes)

    def _copy(self, entry: Entry, result: CallResult) -> None:
        if self.ledger.holds_submits:
            # A worker that dies while it copies must not leave a call behind whose outcome the log does not know.
            with suppress(RecordUnavailableError):
                self.ledger.flush()
        del self._calls[_purchase(entry)]
        for task_id in entry.task_ids:
            self._outcomes.pop(task_id, None)
            self._owners.pop(task_id, None)
        for task in result.tasks:
            self._remember(entry, task)
        self._copies[self._pool.submit(self._copied, entry, result)] = entry

    def _copied(self, entry: Entry, result: CallResult) -> Entry | ApimartError | None:
        """Return the call's next entry, why there is none yet, or ``None`` when the worker is about to be killed."""
        if self.stopping.is_set():
            return None
        objects, errors = self._copy_pictures(entry, result)
        for error in errors:
            if not isinstance(error, ImageExpiredError):
                self.log.warning("Could not copy the picture of row %s; a retry copies it: %s", entry.id, error)
                return error
            self.log.error("A picture of row %s is lost, although it was paid for: %s", entry.id, error)
        now = self.ledger.store.now()
        if objects:
            return copied_entry(entry, result, self.rules, objects=objects, now=now)
        return failed_entry(entry, result, self.rules, error=next(iter(errors), None), now=now)

    def _copy_pictures(self, entry: Entry, result: CallResult) -> tuple[list[dict[str, Any]], list[ApimartError]]:
        copier = replace(self.copier, key_template=key_template(self.prefix, entry.id))
        made_by = facts_of({"gateway": str(self.hook.settings.gateway), "model": entry.model, "row": entry.id})
        objects: list[dict[str, Any]] = []
        errors: list[ApimartError] = []
        for task in result.tasks:
            for picture in pictures_of_task(task):
                try:
                    objects.append(copier.copy(replace(picture, facts=(*made_by, *picture.facts))))
                except ApimartError as error:
                    errors.append(error)
        return objects, errors

    def _remember(self, entry: Entry, task: Task) -> None:
        """Remember how long a picture took, by the gateway's word where it says so."""
        if task.created is not None and task.completed is not None:
            seconds = float(task.completed - task.created)
        else:
            seconds = self.ledger.store.now() - entry.accepted_at
        if len(self._recent) == _REMEMBERED:
            self.durations.remove(self._recent[0])
        self._recent.append(max(0.0, seconds))
        insort(self.durations, max(0.0, seconds))

    def _is_elsewhere(self, task_id: str, outcome: Task | GatewayError) -> bool:
        """Return whether a task is denied by another gateway than the one that accepted it, which proves nothing."""
        entry = self._calls.get(self._owners[task_id])
        if entry is None or entry.gateway in {"", self.rules.gateway} or not isinstance(outcome, TaskNotFoundError):
            return False
        if not self._has_warned:
            self._has_warned = True
            self.log.warning(
                "Calls in flight were accepted by %s, and the connection leads to %s now, which does not know them. "
                "They are paid for: change the connection back until they are collected.",
                entry.gateway,
                self.rules.gateway,
            )
        return self.ledger.store.now() < entry.accepted_at + ASSUMED_URL_LIFETIME

    def _remember_status(self, purchase: Purchase, outcome: Task | GatewayError) -> None:
        entry = self._calls.get(purchase)
        if entry is None:
            return
        if isinstance(outcome, ApimartError):
            self.statuses[entry.key] = str(outcome)
        else:
            lack = ", without a picture so far" if outcome.state is TaskState.COMPLETED else ""
            self.statuses[entry.key] = f"the gateway's last status is {outcome.status!r}{lack}"

    def _first_poll(self) -> float:
        """Return the seconds between a submit and its first poll: less than the DAG author says for quick pictures."""
        delay = self.rules.initial_delay
        return min(delay, self.durations[0]) if self.durations else delay

    def _interval(self) -> float:
        return poll_seconds(self.rules.poll_interval, self.durations)


def _purchase(entry: Entry) -> Purchase:
    """Return the identity of a purchase. A gateway that ignores keys may have accepted one key twice."""
    return entry.idempotency_key, entry.task_ids


def _first_expiry(result: CallResult) -> float:
    """Return the Unix seconds at which the first URL of a call expires; infinite where that is not known."""
    expiries = [image.expires_at for task in result.tasks for image in task.images]
    return min((expiry for expiry in expiries if expiry is not None), default=math.inf)
