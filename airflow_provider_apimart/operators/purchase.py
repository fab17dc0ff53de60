"""Submit what the record of a purchase leaves open, and persist each step before and after it is taken."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.references.addresses import addresses_of, replace_addresses
from airflow_provider_apimart.exceptions import (
    ApimartError,
    BudgetExceededError,
    BusyError,
    NotFoundError,
    SubmitOutcomeUnknownError,
)
from airflow_provider_apimart.gateway.cost import total
from airflow_provider_apimart.gateway.request import idempotency_key
from airflow_provider_apimart.gateway.task import Submission, Task
from airflow_provider_apimart.gateway.validation import check, notices
from airflow_provider_apimart.operators.record import PurchasePart, PurchasePhase, PurchaseRecord, reopen_lost_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.operators.base import ApimartRequestOperator
    from airflow_provider_apimart.operators.record_store import PurchaseStore

__all__ = ["Purchase", "naming_paid_tasks"]

#: Parts that are submitted between two writes of the record, at most.
_GROUP: Final = 16
#: HTTP status of a key that the gateway does not take (again). The submit that receives it has bought nothing, unless
#: the gateway itself does not know the result; the vendor's advice is to keep the key then.
_CONFLICT: Final = 409
_INDETERMINATE: Final = "idempotency_result_indeterminate"
_CLEAR_ADVICE: Final = (
    "Look at the vendor's console. Clear the task to go on: the same key is submitted while it lives (23 hours), then "
    "a new one."
)


@contextmanager
def naming_paid_tasks(task_ids: Sequence[str]) -> Iterator[None]:
    """
    Add the ids of the request's paid tasks to an error, so that nobody takes them for lost or free.

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


@dataclass(frozen=True)
class Purchase:
    """
    The paid calls of one task instance.

    :param hook: the gateway.
    :param store: the storage of the record.
    :param operator: holds ``max_cost``, ``on_unknown_submit`` and ``retries``, as they are now.
    :param ti: the task instance.
    """

    hook: ApimartHook
    store: PurchaseStore
    operator: ApimartRequestOperator
    ti: Any

    def complete(self, record: PurchaseRecord, rendered: ImageRequest | None) -> tuple[PurchaseRecord, bool]:
        """
        Submit every part that is not accepted.

        :param rendered: the present rendering, where it is known; see :meth:`PurchaseRecord.part_requests`.
        :return: the record in which all are accepted, and whether it was persisted.
        :raises SubmitOutcomeUnknownError: when a part may have been bought.
        :raises RecordUnavailableError: when a purchase could not be recorded beforehand; it was not made.
        :raises BudgetExceededError: when the price is above ``max_cost`` or unknown.
        :raises GatewayError: when a part was refused. Accepted parts are recorded, and named.
        """
        with naming_paid_tasks(record.task_ids):
            self._check_unknown(record)
            requests = record.part_requests(rendered)
            for notice in notices(requests[0], self.hook.settings.gateway):
                self._log.warning("Note: %s", notice)
            self._check_cost([requests[index] for index in record.pending_indexes])
            uploads = self._upload_references(record, requests[0])
            record = replace(record, uploads={a: url for a, url in uploads.items() if not url.startswith("data:")})
            requests = [replace_addresses(request, uploads) for request in requests]
            check(requests[0], self.hook.settings.gateway)
        is_persisted = True
        wait = self.operator.wait_seconds()
        while indexes := record.pending_indexes[: min(self.hook.settings.max_concurrency, _GROUP)]:
            with naming_paid_tasks(record.task_ids):
                intended = self._intend(record, indexes)
            submitted = self._submit(record, intended, indexes, requests)
            # No retry could get another answer with a key whose task has failed, so the next key follows in this try.
            replayed = {task.task_id: self._latest(task) for task in submitted.replayed}
            record = reopen_lost_parts(submitted.record, replayed, (), retries=self.operator.retries, now=time.time())
            record = replace(record, deadline=time.time() + wait)
            is_persisted = self.store.persist(record, seconds=wait)
            if record.task_ids:
                self.store.push_task_ids(record.task_ids)
            if submitted.error is not None:
                with naming_paid_tasks(record.task_ids):
                    raise submitted.error
        return record, is_persisted

    @property
    def _log(self) -> Logger:
        return self.operator.log

    @property
    def _may_resubmit(self) -> bool:
        return self.operator.on_unknown_submit == "resubmit"

    def check_claims(self, record: PurchaseRecord) -> None:
        """
        Refuse to continue after a clear while a worker of the cleared run may still be making a paid call.

        :raises SubmitOutcomeUnknownError: naming the keys; retryable.
        """
        now, limit = time.time(), self.hook.settings.submit_lifetime
        intended = {i: part for i, part in enumerate(record.parts) if part.phase is PurchasePhase.INTENDED}
        claimed = [i for i, part in intended.items() if not part.is_unclaimed(now, submit_lifetime=limit)]
        if claimed:
            keys = ", ".join(self._key(record, index) for index in claimed)
            raise SubmitOutcomeUnknownError(
                f"Before the task was cleared, a worker submitted {len(claimed)} paid request(s), and it may still be "
                f"waiting for the response (idempotency key {keys}). Nothing was submitted now. Retry or clear the "
                "task in a few minutes: it then uses the ids that the worker recorded, or submits the same key.",
                retryable=True,
            )

    def _check_unknown(self, record: PurchaseRecord) -> None:
        """
        Refuse to buy while the outcome of an earlier call is unknown, unless its key may be submitted again.

        :raises SubmitOutcomeUnknownError: naming the keys, when a call of an earlier try may have bought.
        """
        now = time.time()
        parts = {index: part for index, part in enumerate(record.parts) if part.phase is PurchasePhase.INTENDED}
        if not parts or (self._may_resubmit and all(part.has_living_key(now) for part in parts.values())):
            return
        keys = [self._key(record, index) for index in parts]
        raise SubmitOutcomeUnknownError(
            f"A previous try submitted {len(keys)} paid request(s) whose outcome is unknown (idempotency key "
            f"{', '.join(keys)}). The pictures may exist and be billed; nothing more was submitted. If the gateway "
            f"accepted one, its id may be in the log of try {record.writer or 'before'}. {_CLEAR_ADVICE}",
            idempotency_key=keys[0],
            retryable=not all(
                part.is_unclaimed(now, submit_lifetime=self.hook.settings.submit_lifetime) for part in parts.values()
            ),
        )

    def _check_cost(self, requests: Sequence[ImageRequest]) -> None:
        """
        Refuse to buy for more than ``max_cost``, or for a price that is not known.

        :param requests: what is to be bought; all of one model.
        """
        limit = self.operator.cost_limit()
        if limit is None:
            return
        estimates: list[float | None] = [None]
        with suppress(NotFoundError):  # APIMaster publishes no prices.
            price = self.hook.get_price(requests[0].model)
            estimates = [price.estimate(request) for request in requests]
        estimated = total(estimates)
        if estimated is not None and estimated <= limit:
            return
        unknown = "cannot be determined from the gateway's price list"
        reason = unknown if estimated is None else f"is estimated at {estimated:g} USD"
        raise BudgetExceededError(
            f"The price of {sum(request.n for request in requests)} picture(s) of {requests[0].model} {reason}, and "
            f"max_cost is {limit:g} USD. Nothing was submitted for them. Raise max_cost, or change the request."
        )

    def _upload_references(self, record: PurchaseRecord, request: ImageRequest) -> Mapping[str, str]:
        """
        Upload the reference images that are files or S3 objects, free of charge, unless that is recorded.

        :return: for each address its URL, or a data URI for a gateway that takes no uploads.
        :raises ApimartError: when an image cannot be read or uploaded.
        """
        addresses = addresses_of(request)
        if addresses and addresses.keys() <= record.uploads.keys():
            return record.uploads
        from airflow_provider_apimart.dataset.references.resolver import ReferenceResolver  # noqa: PLC0415 - for a DAG file

        (urls,) = ReferenceResolver(self.hook).find_urls([request])
        if isinstance(urls, ApimartError):
            raise urls
        return urls

    def _intend(self, record: PurchaseRecord, indexes: Sequence[int]) -> PurchaseRecord:
        """Persist that some parts are about to be submitted."""
        now = time.time()
        intended = {
            index: replace(
                record.parts[index],
                phase=PurchasePhase.INTENDED,
                key=self._key(record, index),
                intended_at=record.parts[index].intended_at or now,
                is_unanswered=False,
            )
            for index in indexes
        }
        marked = record.with_parts(intended, writer=self.ti.try_number)
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
            if unknown and self._may_resubmit:
                self._log.warning(
                    "%s Submitting the same key once more (on_unknown_submit='resubmit').", submitted.error
                )
                submitted.error = None
                self._send(submitted, intended, unknown, requests)
        except BaseException:
            # Airflow ends the task, or something is broken: what was accepted must not be forgotten.
            self.store.persist(submitted.record)
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
            key = submitted.record.parts[index].key
            self._log_accepted(submission, key)
            if before.parts[index].key and not submission.replayed:
                self._log.warning(
                    "The gateway did not say that it recognised idempotency key %s: the picture of the earlier request "
                    "with this key may exist and be billed too. Look at the vendor's console.",
                    key,
                )
            submitted.accept(index, submission)

        # A signal, such as that of execution_timeout, may end the wait for a response: it is paid for all the same.
        with closing(self.hook.submit_many(sent, on_unread=accept)) as outcomes:
            for place, outcome in outcomes:
                if isinstance(outcome, Submission):
                    accept(place, outcome)
                elif self._is_unknown(submitted, before, indexes[place], outcome):
                    unknown.append(indexes[place])
        return unknown

    def _is_unknown(self, submitted: _Submitted, before: PurchaseRecord, index: int, outcome: ApimartError) -> bool:
        """Record that a part was not accepted, and return whether it may have been bought all the same."""
        part, earlier = submitted.record.parts[index], before.parts[index]
        # A key that is in progress is of use: the gateway is still working on the earlier request.
        is_conflict = outcome.status_code == _CONFLICT and not isinstance(outcome, BusyError)
        is_refused_key = is_conflict and outcome.code != _INDETERMINATE
        if earlier.phase is PurchasePhase.OPEN and earlier.key and is_refused_key:
            self._log.warning(
                "The gateway does not take idempotency key %s again (%s). The picture of the earlier request may "
                "exist and be billed: look at the vendor's console. Buying with a new key.",
                part.key,
                outcome,
            )
            submitted.put_back(index, part.reopened(attempt=part.attempt))
        elif isinstance(outcome, SubmitOutcomeUnknownError):
            submitted.put_back(index, replace(part, is_unanswered=True))
            submitted.fail(self._explained(outcome, part.key))
            return True
        elif earlier.key:
            submitted.fail(_still_unknown(outcome, part.key))
        else:
            submitted.put_back(index, earlier)
            submitted.fail(outcome)
        return False

    def _latest(self, task: Task) -> Task:
        """Return the present state of a task, or the known one where it cannot be queried."""
        if task.is_finished:
            return task
        try:
            return self.hook.get_task(task.task_id)
        except ApimartError as error:
            self._log.warning("Could not get the status of task %s; still waiting: %s", task.task_id, error)
            return task

    def _key(self, record: PurchaseRecord, index: int) -> str:
        """Return the key that a part has kept, or its next one."""
        ti, part = self.ti, record.parts[index]
        identity = (ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index))
        return part.key or idempotency_key(*identity, record.generation, record.fingerprint, index, part.attempt)

    def _log_accepted(self, submission: Submission, key: str) -> None:
        ids = ", ".join(task.task_id for task in submission.tasks)
        if submission.replayed:
            self._log.info("The gateway recognised idempotency key %s: nothing new was bought, task %s", key, ids)
        else:
            self._log.info("Submitted: the gateway accepted task %s (idempotency key %s)", ids, key)

    def _explained(self, unknown: SubmitOutcomeUnknownError, key: str) -> SubmitOutcomeUnknownError:
        unknown.idempotency_key = unknown.idempotency_key or key
        named = "" if key in str(unknown) else f" Idempotency key: {key}."
        retry = "A retry submits the same key again while it lives (23 hours)."
        advice = retry if self._may_resubmit else f"No retry submits it again. {_CLEAR_ADVICE}"
        unknown.args = (f"{unknown}{named} {advice}",)
        unknown.retryable = self._may_resubmit
        return unknown


@dataclass
class _Submitted:
    """
    The outcomes of one group of paid calls, as they arrive.

    :param record: with the parts that were accepted or refused so far.
    :param replayed: tasks that an earlier call with the same key had bought.
    :param error: the error to raise: an unknown outcome before any refusal.
    """

    record: PurchaseRecord
    replayed: list[Task] = field(default_factory=list)
    error: ApimartError | None = None

    def accept(self, index: int, submission: Submission) -> None:
        tasks, part = submission.tasks, self.record.parts[index]
        accepted = replace(
            part.reopened(attempt=part.attempt),
            phase=PurchasePhase.ACCEPTED,
            task_ids=tuple(task.task_id for task in tasks),
            delivered=tuple(task.to_json() for task in tasks if task.is_finished),
        )
        self.put_back(index, accepted)
        if submission.replayed:
            self.replayed += tasks

    def put_back(self, index: int, part: PurchasePart) -> None:
        self.record = self.record.with_parts({index: part})

    def fail(self, error: ApimartError) -> None:
        is_unknown = isinstance(error, SubmitOutcomeUnknownError)
        if self.error is None or (is_unknown and not isinstance(self.error, SubmitOutcomeUnknownError)):
            self.error = error


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
