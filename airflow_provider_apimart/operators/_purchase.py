"""Buying what a record leaves open, and noting each step before and after it is taken."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_apimart.exceptions import ApimartError, RecordUnavailableError, SubmitOutcomeUnknownError
from airflow_provider_apimart.gateway.request import idempotency_key
from airflow_provider_apimart.operators._record import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.sdk.types import Logger

    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.gateway.task import Submission
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.operators._record import OnClear, OnUnknownSubmit, Record
    from airflow_provider_apimart.operators._store import RecordStore

__all__ = ["Purchase", "naming"]


@contextmanager
def naming(task_ids: Sequence[str]) -> Iterator[None]:
    """
    Add to an error which tasks of the request are paid for all the same, so that nobody takes them for lost or free.

    :param task_ids: what the gateway has accepted.
    """
    try:
        yield
    except ApimartError as error:
        if unnamed := [task_id for task_id in task_ids if task_id not in str(error)]:
            besides = (
                f"Bought by the same request and not stored yet: task {', '.join(unnamed)}. A retry asks after it; "
                "once this task has failed for good, ApimartToS3Operator copies it by its id."
            )
            error.args = (f"{error} {besides}",)
            error.charged = "unknown" if error.charged == "no" else error.charged
        raise


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

    def resumed(
        self,
        noted: Record,
        *,
        generation: int,
        fingerprint: str,
        on_clear: OnClear,
        on_unknown_submit: OnUnknownSubmit,
    ) -> Record | None:
        """
        Return the record that the present attempt goes on with, or ``None`` to begin a new purchase.

        :raises SubmitOutcomeUnknownError: naming the key, when an earlier attempt may have bought.
        """
        keys = [self._key(noted, i) for i, part in enumerate(noted.parts) if part.phase is Phase.INTENDED]
        try:
            with naming(noted.task_ids):
                record = noted.continued(
                    generation=generation,
                    fingerprint=fingerprint,
                    on_clear=on_clear,
                    on_unknown_submit=on_unknown_submit,
                )
        except SubmitOutcomeUnknownError as unknown:
            unknown.idempotency_key = keys[0]
            unknown.args = (f"{unknown} Idempotency key: {', '.join(keys)}.",)
            raise
        if keys and (record is None or record.generation != noted.generation):
            self.log.warning(
                "Before the task was cleared or its request changed, a paid request was sent whose outcome is not "
                "known (idempotency key %s): that picture may exist and be billed. It is bought anew.",
                ", ".join(keys),
            )
        return record

    def complete(self, record: Record) -> Record:
        """
        Submit every part that is not accepted yet, and return the record in which all are.

        :raises SubmitOutcomeUnknownError: when a part may have been bought.
        :raises RecordUnavailableError: when a purchase could not be noted beforehand; it was not made.
        :raises GatewayError: when a part was refused. The parts accepted before are noted, and named.
        """
        if record.task_ids:
            self.on_accepted(record.task_ids)
        for index, part in enumerate(record.parts):
            if part.phase is not Phase.ACCEPTED:
                with naming(record.task_ids):
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
        except ApimartError as refusal:
            self.store.write(record)
            if record.parts[index].phase is Phase.INTENDED:
                raise _still_unknown(refusal, key) from refusal
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


def _still_unknown(refusal: ApimartError, key: str) -> SubmitOutcomeUnknownError:
    """Return the error for a refusal that comes after a lost answer: it does not say what became of that request."""
    return SubmitOutcomeUnknownError(
        f"An earlier attempt sent a paid request whose outcome is not known, and sending it once more was refused: "
        f"{refusal} The picture may exist and be billed (idempotency key: {key}).",
        status_code=refusal.status_code,
        code=refusal.code,
        request_id=refusal.request_id,
        retry_after=refusal.retry_after,
        retryable=True,
        idempotency_key=key,
    )
