"""Buying what a record leaves open, and noting each step before and after it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import ApimartError, RecordUnavailableError, SubmitOutcomeUnknownError
from airflow_provider_apimart.gateway.idempotency import idempotency_key
from airflow_provider_apimart.operators._record import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.submission import Submission
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.operators._record import Record
    from airflow_provider_apimart.operators._store import RecordStore

__all__ = ["Purchase"]


@dataclass(frozen=True)
class Purchase:
    """
    One request of one task instance, on its way to gateway tasks.

    :param identity: tells the task instance from all others; the same for all its tries.
    :param parts: the requests, one per gateway task.
    :param resubmit: whether to send a request once more, with the same key, when the answer to it was lost.
    :param on_accepted: told of all ids so far, each time the gateway has accepted a part.
    """

    hook: ApimartHook
    store: RecordStore
    identity: tuple[str | int, ...]
    parts: Sequence[ImageRequest]
    resubmit: bool
    on_accepted: Callable[[Sequence[str]], None]
    log: Logger

    def complete(self, record: Record) -> Record:
        """
        Submit every part that is not accepted yet, and return the record in which all are.

        :raises SubmitOutcomeUnknownError: when a part may have been bought.
        :raises RecordUnavailableError: when a purchase could not be noted beforehand; it was not made.
        :raises GatewayError: when a part was refused. The parts accepted before are noted.
        """
        if record.task_ids:
            self.on_accepted(record.task_ids)
        for index, part in enumerate(record.parts):
            if part.phase is not Phase.ACCEPTED:
                record = self._submit(record, index)
                self.on_accepted(record.task_ids)
        return record

    def _submit(self, record: Record, index: int) -> Record:
        key = self._key(record, index)
        intended = record.marked(index, Phase.INTENDED)
        self.store.write(intended)
        try:
            submission = self._send(self.parts[index], key)
        except SubmitOutcomeUnknownError:
            raise
        except ApimartError:
            # Back to what it was: a refusal now does not say what became of a request that an earlier try sent.
            self.store.write(record)
            raise
        self._tell(submission, key)
        accepted = intended.marked(index, Phase.ACCEPTED, submission.tasks)
        try:
            self.store.write(accepted)
        except RecordUnavailableError as error:
            self.log.error("%s This try goes on; a retry would not know of these ids.", error)  # noqa: TRY400
        return accepted

    def _send(self, request: ImageRequest, key: str) -> Submission:
        try:
            return self.hook.submit(request, idempotency_key=key)
        except SubmitOutcomeUnknownError as unknown:
            if not self.resubmit:
                unknown.args = (f"{unknown} No retry sends it again: clear the task to buy anew.",)
                raise
            self.log.warning("%s Sending the same key once more, as on_unknown_submit='resubmit' says.", unknown)
            unknown.retryable = True
            try:
                return self.hook.submit(request, idempotency_key=key)
            except ApimartError as again:
                raise unknown from again

    def _key(self, record: Record, index: int) -> str:
        attempt = record.parts[index].attempt
        return idempotency_key(*self.identity, record.generation, record.fingerprint, index, attempt)

    def _tell(self, submission: Submission, key: str) -> None:
        ids = ", ".join(task.task_id for task in submission.tasks)
        if submission.replayed:
            self.log.info("The gateway recognised the idempotency key %s: nothing new was bought, task %s", key, ids)
        else:
            self.log.info("The gateway accepted the request as task %s (idempotency key %s)", ids, key)
