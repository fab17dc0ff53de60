"""Submit what the record of a purchase leaves open, and persist each step before and after it is taken."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.exceptions import (
    ApimartError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.request import idempotency_key
from airflow_provider_apimart.gateway.task import Submission, Task, is_moderation
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.operators.record import PurchasePart, PurchasePhase, PurchaseRecord, is_unclaimed
from airflow_provider_apimart.operators.record_store import PurchaseStore, write_time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.gateway.request import ImageRequest

__all__ = ["HookPool", "Purchase", "naming_paid_tasks"]

#: Parts that are submitted between two writes of the record, at most.
_GROUP: Final = 16
#: HTTP status of a key that the gateway does not take (again). The call that it answers has bought nothing.
_CONFLICT: Final = 409


@contextmanager
def naming_paid_tasks(task_ids: Sequence[str]) -> Iterator[None]:
    """
    Add to an error which tasks of the request are paid for, so that nobody takes them for lost or free.

    :param task_ids: ids that the gateway has accepted.
    """
    try:
        yield
    except ApimartError as error:
        if unnamed := [task_id for task_id in task_ids if task_id not in str(error)]:
            also = (
                f"The same request also bought task {', '.join(unnamed)}. A retry, or the next run after a clear, "
                "collects it at no cost; ApimartToS3Operator copies it by its id."
            )
            error.args = (f"{error} {also}",)
            error.charged = "unknown" if error.charged == "no" else error.charged
        raise


class HookPool(ExitStack):
    """The hooks of one segment of a try, one per connection."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[str, ApimartHook] = {}

    def get(self, apimart_conn_id: str) -> ApimartHook:
        """Return the hook of a connection, which is closed with the pool."""
        if apimart_conn_id not in self._hooks:
            self._hooks[apimart_conn_id] = self.enter_context(ApimartHook(apimart_conn_id))
        return self._hooks[apimart_conn_id]


@dataclass(frozen=True)
class Purchase:
    """
    The paid calls of one task instance.

    :param hook: the gateway.
    :param store: the storage of the record.
    :param identity: tells the task instance from all others; the same for all its tries.
    :param try_number: the number of this try.
    :param wait: seconds that this try waits after the last submit.
    :param resubmit: submit the same key once more when the response was lost.
    :param retries: how often a part may fail free of charge and be bought again.
    :param log: the logger of the task.
    """

    hook: ApimartHook
    store: PurchaseStore
    identity: tuple[str | int, ...]
    try_number: int
    wait: float
    resubmit: bool
    retries: int
    log: Logger

    def check_unknown(self, record: PurchaseRecord) -> None:
        """
        Refuse to buy while the outcome of an earlier call is unknown, unless its key may be submitted again.

        :raises SubmitOutcomeUnknownError: naming the keys, when a call of an earlier try may have bought.
        """
        now = time.time()
        intended = [index for index in record.pending_indexes if record.parts[index].phase is PurchasePhase.INTENDED]
        parts = [record.parts[index] for index in intended]
        if not parts or (self.resubmit and all(part.has_living_key(now) for part in parts)):
            return
        keys = [record.parts[index].key or self._key(record, index) for index in intended]
        claimed = not all(is_unclaimed(part, now, submit_timeout=self.hook.settings.submit_timeout) for part in parts)
        with naming_paid_tasks(record.task_ids):
            raise SubmitOutcomeUnknownError(
                f"A previous try submitted {len(keys)} paid request(s) whose outcome is unknown (idempotency key "
                f"{', '.join(keys)}). The pictures may exist and be billed; nothing more was submitted. If the gateway "
                f"accepted one, its id may be in the log of try {record.writer or 'before'}; look at the vendor's "
                "console too. Clear the task to go on: the same key is submitted while it lives (23 hours), then a "
                "new one.",
                idempotency_key=keys[0],
                retryable=claimed,
            )

    def complete(self, record: PurchaseRecord, requests: Sequence[ImageRequest]) -> tuple[PurchaseRecord, bool]:
        """
        Submit every part that is not accepted.

        :param requests: the request of each part, with URLs in place of addresses.
        :return: the record in which all are accepted, and whether it was persisted.
        :raises SubmitOutcomeUnknownError: when a part may have been bought.
        :raises RecordUnavailableError: when a purchase could not be recorded beforehand; it was not made.
        :raises GatewayError: when a part was refused. Accepted parts are recorded, and named.
        """
        is_persisted = True
        while indexes := record.pending_indexes[: min(self.hook.settings.max_concurrency, _GROUP)]:
            with naming_paid_tasks(record.task_ids):
                intended = self._intend(record, indexes)
            submitted = self._submit(record, intended, indexes, requests)
            record = self._without_failed_replays(submitted.record, submitted.replayed)
            record = replace(record, deadline=time.time() + self.wait)
            is_persisted = self.store.persist(record, seconds=min(self.wait, write_time_limit()))
            if record.task_ids:
                self.store.push_task_ids(record.task_ids)
            if submitted.error is not None:
                with naming_paid_tasks(record.task_ids):
                    raise submitted.error
        return record, is_persisted

    def _intend(self, record: PurchaseRecord, indexes: Sequence[int]) -> PurchaseRecord:
        """Persist that some parts are about to be submitted."""
        now = time.time()
        intended = {
            index: replace(
                record.parts[index],
                phase=PurchasePhase.INTENDED,
                key=record.parts[index].key or self._key(record, index),
                intended_at=record.parts[index].intended_at or now,
            )
            for index in indexes
        }
        marked = record.with_parts(intended, writer=self.try_number)
        self.store.write_intent(marked, before=record)
        return marked

    def _submit(
        self,
        record: PurchaseRecord,
        intended: PurchaseRecord,
        indexes: Sequence[int],
        requests: Sequence[ImageRequest],
    ) -> _Submitted:
        """Submit some parts side by side, once more with the same key where a response was lost and that is wanted."""
        submitted = _Submitted(intended)
        try:
            unknown = self._send(submitted, record, indexes, requests)
            if unknown and self.resubmit:
                self.log.warning(
                    "%s Submitting the same key once more (on_unknown_submit='resubmit').", submitted.error
                )
                submitted.error = None
                self._send(submitted, intended, unknown, requests)
        except BaseException:
            # Airflow ends the task, or something is broken: what was accepted must not be forgotten.
            self.store.persist(submitted.record, seconds=0.0)
            raise
        return submitted

    def _send(
        self, submitted: _Submitted, before: PurchaseRecord, indexes: Sequence[int], requests: Sequence[ImageRequest]
    ) -> list[int]:
        """Submit some parts, and return the places of those whose outcome is unknown."""
        unknown: list[int] = []
        sent = ((requests[index], submitted.record.parts[index].key) for index in indexes)

        def accept(place: int, submission: Submission) -> None:
            index = indexes[place]
            self._log_accepted(submission, submitted.record.parts[index].key)
            submitted.accept(index, submission)

        # A signal, such as that of execution_timeout, may end the wait for a response: it is paid for all the same.
        outcomes = self.hook.submit_many(sent, on_unread=accept)
        with closing(outcomes):
            for place, outcome in outcomes:
                if isinstance(outcome, Submission):
                    accept(place, outcome)
                elif self._refused(submitted, before, indexes[place], outcome):
                    unknown.append(indexes[place])
        return unknown

    def _refused(self, submitted: _Submitted, before: PurchaseRecord, index: int, outcome: ApimartError) -> bool:
        """Take in that a part was not accepted, and return whether it may have been bought all the same."""
        part, earlier = submitted.record.parts[index], before.parts[index]
        if earlier.phase is PurchasePhase.OPEN and earlier.key and outcome.status_code == _CONFLICT:
            self.log.warning(
                "The gateway does not take idempotency key %s again (%s). The picture of the earlier request may "
                "exist and be billed: look at the vendor's console. Buying with a new key.",
                part.key,
                outcome,
            )
            submitted.put_back(index, PurchasePart(n=part.n, attempt=part.attempt))
        elif isinstance(outcome, SubmitOutcomeUnknownError):
            submitted.fail(_explained(outcome, part.key, resubmit=self.resubmit))
            return True
        elif earlier.key:
            # A refusal does not tell what became of the earlier call with the same key.
            submitted.fail(_still_unknown(outcome, part.key))
        else:
            submitted.put_back(index, earlier)
            submitted.fail(outcome)
        return False

    def _without_failed_replays(self, record: PurchaseRecord, replayed: Mapping[int, Sequence[Task]]) -> PurchaseRecord:
        """
        Return the record with those parts open whose key stands for a task that has failed free of charge.

        No retry could get another answer with the same key, so the next key is submitted in this try.
        """
        reopened: dict[int, PurchasePart] = {}
        for index, tasks in replayed.items():
            part = record.parts[index]
            latest = [self._latest(task) for task in tasks]
            is_refused = any(is_moderation(task.error_code, task.error_message) for task in latest)
            if part.attempt < self.retries and not is_refused and all(task.is_free for task in latest):
                reopened[index] = PurchasePart(n=part.n, attempt=part.attempt + 1)
        return record.with_parts(reopened) if reopened else record

    def _latest(self, task: Task) -> Task:
        """Return the present state of a task, or the known one where it cannot be queried."""
        if task.is_finished:
            return task
        try:
            return self.hook.get_task(task.task_id)
        except ApimartError as error:
            self.log.warning("Could not get the status of task %s; still waiting: %s", task.task_id, error)
            return task

    def _key(self, record: PurchaseRecord, index: int) -> str:
        attempt = record.parts[index].attempt
        return idempotency_key(*self.identity, record.generation, record.fingerprint, index, attempt)

    def _log_accepted(self, submission: Submission, key: str) -> None:
        ids = ", ".join(task.task_id for task in submission.tasks)
        if submission.replayed:
            self.log.info("The gateway recognised idempotency key %s: nothing new was bought, task %s", key, ids)
        else:
            self.log.info("Submitted: the gateway accepted task %s (idempotency key %s)", ids, key)


class _Submitted:
    """The outcomes of one group of paid calls, as they arrive."""

    def __init__(self, record: PurchaseRecord) -> None:
        self.record = record
        self.replayed: dict[int, Sequence[Task]] = {}
        self.error: ApimartError | None = None

    def accept(self, index: int, submission: Submission) -> None:
        tasks = submission.tasks
        part = PurchasePart(
            phase=PurchasePhase.ACCEPTED,
            n=self.record.parts[index].n,
            attempt=self.record.parts[index].attempt,
            task_ids=tuple(task.task_id for task in tasks),
            delivered=tuple(task.to_json() for task in tasks if task.is_finished),
        )
        self.put_back(index, part)
        if submission.replayed:
            self.replayed[index] = tasks

    def put_back(self, index: int, part: PurchasePart) -> None:
        self.record = self.record.with_parts({index: part})

    def fail(self, error: ApimartError) -> None:
        """Keep the error to raise: an unknown outcome before any refusal."""
        is_worse = isinstance(error, SubmitOutcomeUnknownError) and not isinstance(
            self.error, SubmitOutcomeUnknownError
        )
        if self.error is None or is_worse:
            self.error = error


def _explained(unknown: SubmitOutcomeUnknownError, key: str, *, resubmit: bool) -> SubmitOutcomeUnknownError:
    unknown.idempotency_key = unknown.idempotency_key or key
    named = "" if key in str(unknown) else f" Idempotency key: {key}."
    advice = (
        "A retry submits the same key again while it lives (23 hours)."
        if resubmit
        else "No retry submits it again. Look at the vendor's console. Clear the task to go on: the same key is "
        "submitted while it lives (23 hours), then a new one."
    )
    unknown.args = (f"{unknown}{named} {advice}",)
    unknown.retryable = resubmit
    return unknown


def _still_unknown(refusal: ApimartError, key: str) -> SubmitOutcomeUnknownError:
    """Return the error for a refusal that follows a lost response: it does not tell what became of that call."""
    return SubmitOutcomeUnknownError(
        f"A paid request was submitted whose outcome is unknown, and submitting it once more was refused: {refusal} "
        f"The picture may exist and be billed (idempotency key: {key}).",
        status_code=refusal.status_code,
        code=refusal.code,
        request_id=refusal.request_id,
        retry_after=refusal.retry_after,
        retryable=True,
        idempotency_key=key,
    )
