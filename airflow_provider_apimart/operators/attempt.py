"""
One segment of a try of the image operator, as a state machine.

It starts from the record and one status query (:meth:`ImageAttempt.start`), from the trigger's event
(:meth:`ImageAttempt.resume`), or from one status query after the trigger failed (:meth:`ImageAttempt.recover`). All
three end in one loop: open what was lost, buy what is open, then return the result, or wait in the triggerer or here.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError, RecordUnavailableError
from airflow_provider_apimart.gateway.catalogue import find_spec
from airflow_provider_apimart.gateway.request import REQUEST_PARAMETERS, fingerprint, rendered_request
from airflow_provider_apimart.gateway.task import Task
from airflow_provider_apimart.gateway.validation import check
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.links import console_url
from airflow_provider_apimart.operators.purchase import Purchase, naming_paid_tasks
from airflow_provider_apimart.operators.record import (
    PurchasePart,
    PurchasePhase,
    PurchaseRecord,
    describe_request,
    differing_fields,
    reopen_lost_parts,
    resume_purchase,
)
from airflow_provider_apimart.operators.result import TaskOutcomes, build_image_result, describe_purchase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.operators.base import ApimartRequestOperator
    from airflow_provider_apimart.operators.record_store import PurchaseStore

    #: The XCom value, and the extra data of the asset event.
    Outcome = tuple[dict[str, Any], dict[str, Any]]

__all__ = ["ImageAttempt"]

#: Waits in one try that may end because the trigger failed, before the try fails too.
_MOST_RECOVERIES: Final = 20
#: Seconds that a worker waits for a purchase that could not be recorded, before it tries to record it again.
_UNRECORDED_WAIT: Final = 30.0


class ImageAttempt(ExitStack):
    """
    One segment of a try: from its start, from a trigger's event, or after a trigger failed, to a result or a deferral.

    It is a context manager, which closes the gateway's clients.

    :param operator: holds the parameters as they are rendered now.
    :param store: the storage of the purchase.
    :param ti: the task instance.
    :param is_reuse: whether a clear reuses what was bought.
    """

    def __init__(self, operator: ApimartRequestOperator, store: PurchaseStore, ti: Any, *, is_reuse: bool) -> None:
        super().__init__()
        self.operator = operator
        self.store = store
        self.ti = ti
        self.is_reuse = is_reuse
        self.log = operator.log
        self.known = TaskOutcomes()
        self.is_persisted = True
        self._hooks: dict[str, ApimartHook] = {}
        self._request: ImageRequest | None = None
        self._rendering_error: Exception | None = None

    def start(self) -> Outcome:
        """Begin a try."""
        recorded = self.store.read()
        is_retry = recorded is not None and recorded.generation == self.ti.max_tries
        if not is_retry:
            self.operator.check_settings(is_rendered=True)
        rendered = self._try_to_render()
        record = rendered if recorded is None else self._continued(recorded, rendered)
        if record is None:
            raise self._rendering_error or InvalidRequestError("The request cannot be rendered.")
        if record.task_ids:
            self.log.info("Already bought: task %s. Polling instead of buying again", ", ".join(record.task_ids))
            self.store.push_task_ids(record.task_ids)
            self.known.tasks = self._query(record, record.task_ids)
            record = self._reopened(record, retries=self.operator.retries)
            if self._rendering_error is not None and not is_retry and not record.task_ids:
                raise self._rendering_error  # Nothing is left to reuse, so the present parameters are to be bought.
        return self._advance(record)

    def resume(self, event: Mapping[str, Any]) -> Outcome:
        """Continue with a trigger's event."""
        record = self._read(event.get("task_ids", ()))
        if record is None:
            raise RecordUnavailableError("Resumed without an event, a record or the XCom task_ids of the purchase.")
        self._take_event(record, event)
        return self._advance(self._reopened(record))

    def recover(self) -> Outcome | None:
        """Continue after the trigger failed, at no cost; ``None`` where no purchase is known."""
        record = self._read(())
        if record is None:
            return None
        is_late = record.deadline is not None and record.deadline <= time.time()
        is_over = is_late or record.recoveries >= _MOST_RECOVERIES
        self.log.warning("The trigger ended without a result; querying task %s", ", ".join(record.task_ids))
        self.known.tasks = self._query(record, record.task_ids, with_empty=is_over)
        self.known.is_over = is_over
        if self._waiting(record) and not is_over:
            record = replace(record, recoveries=record.recoveries + 1)
            self.is_persisted = self.store.persist(record)
        return self._advance(self._reopened(record))

    def _advance(self, record: PurchaseRecord) -> Outcome:
        """Buy what is open, then return the result or wait for it."""
        while True:
            if record.pending_indexes:
                record = self._buy(record)
                self.known.is_over = False
            waiting = self._waiting(record)
            if not waiting or self.known.is_over:
                return self._finish(record)
            if record.deadline is None or record.writer != self.ti.try_number:
                deadline = time.time() + self.operator.wait_seconds()
                record = replace(record, deadline=deadline, writer=self.ti.try_number, recoveries=0)
                # The ids may be recorded already, which is what counts.
                self.is_persisted |= self.store.persist(record)
            self._wait(record, waiting)
            record = self._reopened(record)

    def _continued(self, recorded: PurchaseRecord, rendered: PurchaseRecord | None) -> PurchaseRecord | None:
        """Return the purchase to continue with, and log in what it differs from the present parameters."""
        generation, now = self.ti.max_tries, time.time()
        if recorded.generation != generation and self.is_reuse:
            self._purchase(recorded).check_claims(recorded)
        record, warnings = resume_purchase(recorded, rendered, generation=generation, is_reuse=self.is_reuse, now=now)
        for warning in warnings:
            self.log.warning("%s", warning)
        if record is None or record is rendered:
            return record
        if rendered is None:
            self.log.warning("Using the recorded request, because it cannot be rendered now: %s", self._rendering_error)
        elif names := differing_fields(recorded, rendered):
            is_cleared = recorded.generation != generation
            self.log.warning(
                "Using the recorded purchase of task %s. The present parameters differ in %s, which has no effect on "
                "what was bought%s.",
                ", ".join(record.task_ids) or "(none yet)",
                ", ".join(names),
                "; on_clear='regenerate' buys with the present parameters" if is_cleared else "",
            )
        return record

    def _try_to_render(self) -> PurchaseRecord | None:
        """Return the purchase that the present parameters describe, or ``None``: a retry with a record needs none."""
        operator, conn_id = self.operator, self.operator.apimart_conn_id
        try:
            request = rendered_request(operator.field_values(REQUEST_PARAMETERS))
            settings = self._hook(conn_id).settings
            check(request, settings.gateway, local_references=True)
        except Exception as error:  # noqa: BLE001 - any: the cause may be a template, the connection or Airflow's API
            self._rendering_error = error
            return None
        spec = find_spec(settings.gateway, request.model)
        self._request = request
        return PurchaseRecord(
            generation=self.ti.max_tries,
            fingerprint=fingerprint(connection_id=conn_id, path=settings.submit_path, body=request.body()),
            parts=tuple(PurchasePart(n=part.n) for part in request.split(spec.images_per_task if spec else None)),
            request=describe_request(request),
            connection_id=conn_id,
            gateway=str(settings.gateway),
            submit_path=settings.submit_path,
            writer=self.ti.try_number,
        )

    def _hook(self, apimart_conn_id: str) -> ApimartHook:
        conn_id = apimart_conn_id or self.operator.apimart_conn_id
        if conn_id not in self._hooks:
            self._hooks[conn_id] = self.enter_context(ApimartHook(conn_id))
        self.operator.console_url = console_url(self._hooks[conn_id].settings)
        return self._hooks[conn_id]

    def _buy(self, record: PurchaseRecord) -> PurchaseRecord:
        """Submit the parts of the record that are not accepted."""
        if self._request is None:
            self._try_to_render()
        if not record.request and self._rendering_error is not None:
            raise self._rendering_error
        record, self.is_persisted = self._purchase(record).complete(record, self._request)
        return record

    def _purchase(self, record: PurchaseRecord) -> Purchase:
        return Purchase(self._hook(record.connection_id), self.store, self.operator, self.ti)

    def _waiting(self, record: PurchaseRecord) -> list[str]:
        """Return the ids of the tasks that are not finished, as far as is known."""
        ended = {*self.known.tasks, *self.known.denied, *record.delivered}
        return [task_id for task_id in record.task_ids if task_id not in ended]

    def _reopened(self, record: PurchaseRecord, *, retries: int | None = None) -> PurchaseRecord:
        tasks = {**record.delivered, **self.known.tasks}
        reviewed = reopen_lost_parts(record, tasks, self.known.denied, retries=retries, now=time.time())
        if lost := [task_id for task_id in record.task_ids if task_id not in reviewed.task_ids]:
            self.log.info("Buying again: task %s failed or has no picture that can be had", ", ".join(lost))
        return reviewed

    def _query(self, record: PurchaseRecord, task_ids: Iterable[str], *, with_empty: bool = False) -> dict[str, Task]:
        """
        Query some tasks once, and return those that are finished. No response ends the wait for the others.

        :param with_empty: also return tasks that are completed without pictures, which may come later.
        """
        queried = [task_id for task_id in task_ids if task_id not in record.delivered]
        if not queried:
            return {}
        try:
            outcomes = self._hook(record.connection_id).get_tasks(queried)
        except Exception as error:  # noqa: BLE001 - the tasks are paid for, and can be queried later
            self.log.warning("Could not get the status of task %s: %s", ", ".join(queried), error)
            self.known.running |= dict.fromkeys(queried, str(error))
            return {}
        finished: dict[str, Task] = {}
        for task_id, outcome in outcomes.items():
            if not isinstance(outcome, Task):
                self.log.warning("Could not get the status of task %s; still waiting: %s", task_id, outcome)
                self.known.running[task_id] = str(outcome)
            elif outcome.is_finished and (outcome.images or outcome.state != "completed" or with_empty):
                finished[task_id] = outcome
            else:
                self.known.running[task_id] = f"status {outcome.status!r}"
        return finished

    def _read(self, event_ids: Iterable[str]) -> PurchaseRecord | None:
        """Return the record of a purchase that was made in this try, from whatever still knows it."""
        recorded = None
        try:
            recorded = self.store.read()
        except RecordUnavailableError as error:
            self.log.warning("%s Using the event of the trigger.", error)
        if recorded is not None and recorded.request:
            return recorded
        rendered = self._try_to_render()
        if recorded is not None:
            completed, _ = resume_purchase(
                recorded, rendered, generation=recorded.generation, is_reuse=True, now=time.time()
            )
            return completed
        ids = list(event_ids) or self.store.pull_task_ids()
        if not ids:
            return None
        self.is_persisted = False
        record = rendered or PurchaseRecord(generation=self.ti.max_tries, fingerprint="", parts=())
        accepted = tuple(PurchasePart(phase=PurchasePhase.ACCEPTED, task_ids=(task_id,)) for task_id in ids)
        return replace(record, parts=accepted, deadline=None)

    def _wait(self, record: PurchaseRecord, waiting: Sequence[str]) -> None:
        """Defer; or wait on this worker, and add what became of the tasks."""
        from airflow_provider_apimart.triggers.apimart import (  # noqa: PLC0415 - loads the triggerer
            ApimartTaskTrigger,
            run_inline,
        )

        operator, now = self.operator, time.time()
        deadline = record.deadline or now
        is_unrecorded = operator.deferrable and not self.is_persisted
        until = min(deadline, now + _UNRECORDED_WAIT) if is_unrecorded else deadline
        # Without pictures that came inside a response: the record has them, and they may be megabytes.
        finished = [
            task for task in self.known.tasks.values() if not any(i.url.startswith("data:") for i in task.images)
        ]
        trigger = ApimartTaskTrigger(
            apimart_conn_id=record.connection_id or operator.apimart_conn_id,
            task_ids=[*(task.task_id for task in finished), *waiting],
            finished=[task.to_json() for task in finished],
            deadline=until,
            timeout=max(0.0, until - now),
            **operator.trigger_times(),
        )
        if operator.deferrable and not is_unrecorded:
            self.log.info("Deferring until task %s is finished", ", ".join(waiting))
            operator.defer_until(deadline, trigger)
        operator.waiting_for = waiting
        event = run_inline(trigger)
        if is_unrecorded and until < deadline:
            # The wait ended early to write the record again, not at the deadline: what still runs is polled again.
            event["status"] = "unfinished"
        self._take_event(record, event)
        if is_unrecorded:
            self.is_persisted = self.store.persist(record)

    def _take_event(self, record: PurchaseRecord, event: Mapping[str, Any]) -> None:
        """Add a trigger's event; query once more what timed out, and pictures that are too large for an event."""
        self.known.add_event(event)
        unread = self._waiting(record) if self.known.is_over else event.get("large", ())
        self.known.tasks |= self._query(record, unread, with_empty=self.known.is_over)

    def _finish(self, record: PurchaseRecord) -> Outcome:
        """Return the outcome, or raise the reason why there is none, naming all tasks that may have been charged."""
        tasks, now = {**self.known.tasks, **record.delivered}, time.time()
        unsettled = [task_id for task_id in record.task_ids if task_id not in tasks or not tasks[task_id].is_free]
        if not record.request:
            record = replace(record, request=self.operator.field_values(REQUEST_PARAMETERS))
        with naming_paid_tasks(unsettled):
            result, warnings = build_image_result(record, self.known, waited=self.operator.wait_seconds(), now=now)
        for warning in warnings:
            self.log.warning("%s", warning)
        if record.is_reused:
            self.log.info(
                "Reused task %s, bought before the task was cleared: nothing was charged again for it. "
                "on_clear='regenerate' buys new pictures instead.",
                ", ".join(task_id for part in record.parts if part.is_reused for task_id in part.task_ids),
            )
        self.log.info("Finished: %d picture(s), cost: %s USD", result["delivered"], result["cost"])
        connection = record.connection_id or self.operator.apimart_conn_id
        return result, describe_purchase(result, connection=connection, now=now)
