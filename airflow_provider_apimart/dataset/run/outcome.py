"""The next entry of a call after a response of the gateway."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.ledger.entry import Entry, EntryStatus, Failure
from airflow_provider_apimart.exceptions import (
    ApimartError,
    IdempotencyError,
    InvalidRequestError,
    NoImagesError,
    RequestRejectedError,
    SubmitOutcomeUnknownError,
    TaskNotFoundError,
)
from airflow_provider_apimart.gateway.cost import total
from airflow_provider_apimart.gateway.task import Task, task_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_apimart.dataset.run.settings import Rules
    from airflow_provider_apimart.exceptions import Charged
    from airflow_provider_apimart.gateway.task import Submission

__all__ = [
    "ABOUT_THE_ROW",
    "CallResult",
    "after_submit",
    "copied_entry",
    "failed_entry",
    "presumed_lost_entry",
    "result_of_call",
]

_OBJECT_FIELDS: Final = ("uri", "bytes", "sha256", "content_type", "width", "height")
_MESSAGE_LENGTH: Final = 500
#: Refusals because of the request itself. Others, such as an empty balance, may pass without a change to the row.
ABOUT_THE_ROW: Final = (RequestRejectedError, InvalidRequestError, IdempotencyError)
_LOST: Final = Failure(
    None,
    "No outcome of this paid call was recorded in time; the worker that submitted it has probably died. Look for the "
    "call in the vendor's console; on_unknown_submit='resubmit' submits its idempotency key again.",
    retryable=True,
)


@dataclass(frozen=True, slots=True)
class CallResult:
    """
    The final outcomes of all gateway tasks of a call.

    :param tasks: as the gateway describes them; without the tasks that it does not know.
    :param errors: of the tasks without a picture.
    """

    tasks: tuple[Task, ...]
    errors: tuple[ApimartError, ...]

    @property
    def has_pictures(self) -> bool:
        """Return whether there is something to copy."""
        return any(task.images for task in self.tasks)

    @property
    def cost(self) -> float | None:
        """US dollars; ``None`` where not known."""
        return total([*(task.cost for task in self._charged), *self._denied])

    @property
    def credits_cost(self) -> float | None:
        """The same in the gateway's credits."""
        return total([*(task.credits_cost for task in self._charged), *self._denied])

    @property
    def _charged(self) -> list[Task]:
        return [task for task in self.tasks if not task.is_free]

    @property
    def _denied(self) -> list[None]:
        # The cost of a task that the gateway denies is not known, and neither is a sum with it.
        return [None for error in self.errors if isinstance(error, TaskNotFoundError)]


def after_submit(entry: Entry, response: Submission | ApimartError, *, is_repeated: bool, now: float) -> Entry:
    """
    Return the entry of a call after the response to its submit.

    :param response: the hook's result, or the error that it raised.
    :param is_repeated: whether the same key was submitted before. A refusal then says nothing about the first submit.
    """
    if not isinstance(response, ApimartError):
        delivered = tuple(task.to_json() for task in response.tasks if task.is_finished)
        return replace(
            entry,
            status=EntryStatus.ACCEPTED,
            task_ids=tuple(task.task_id for task in response.tasks),
            delivered=delivered,
            error=None,
            accepted_at=now,
            updated_at=now,
        )
    is_retryable = not isinstance(response, ABOUT_THE_ROW)
    if is_repeated or isinstance(response, SubmitOutcomeUnknownError):
        return _ended(entry, EntryStatus.UNANSWERED, response, "unknown", retryable=is_retryable, now=now)
    return _ended(entry, EntryStatus.REFUSED, response, "no", retryable=is_retryable, now=now)


def presumed_lost_entry(entry: Entry, rules: Rules, *, now: float) -> Entry:
    """Return the entry of a call whose sender has written no outcome in time."""
    return replace(
        entry,
        status=EntryStatus.PRESUMED_LOST,
        error=_LOST,
        writer=rules.writer,
        updated_at=now,
    )


def result_of_call(entry: Entry, outcomes: Mapping[str, Task | TaskNotFoundError]) -> CallResult | None:
    """
    Return the result of an accepted call, or ``None`` while the outcome of one of its tasks is not final.

    :param outcomes: final outcomes by task id.
    """
    delivered = {task.task_id: task for task in map(Task.from_json, entry.delivered)}
    known = [delivered.get(task_id) or outcomes.get(task_id) for task_id in entry.task_ids]
    if None in known:
        return None
    tasks = tuple(outcome for outcome in known if isinstance(outcome, Task))
    errors = [error for error in map(task_error, tasks) if error is not None]
    denied = [outcome for outcome in known if isinstance(outcome, TaskNotFoundError)]
    return CallResult(tasks, (*errors, *denied))


def failed_entry(
    entry: Entry, result: CallResult, rules: Rules, *, error: ApimartError | None = None, now: float
) -> Entry:
    """
    Return the entry of an accepted call without a picture.

    :param error: why its pictures cannot be had, where there were some.
    """
    errors = (error,) if error is not None else result.errors
    reason = errors[0] if errors else NoImagesError("The gateway accepted the request without a task.")
    charged = _worst([each.charged for each in errors or (reason,)])
    retryable = charged == "no" and all(each.retryable for each in errors)
    priced = replace(
        entry,
        cost=result.cost,
        credits_cost=result.credits_cost,
        writer=rules.writer,
    )
    return _ended(priced, EntryStatus.FAILED, reason, charged, retryable=retryable, now=now)


def copied_entry(
    entry: Entry, result: CallResult, rules: Rules, *, objects: Sequence[Mapping[str, Any]], now: float
) -> Entry:
    """
    Return the entry of a call whose pictures are in S3.

    :param objects: the copier's descriptions of them.
    """
    return replace(
        entry,
        status=EntryStatus.COPIED,
        charged="yes",
        cost=result.cost,
        credits_cost=result.credits_cost,
        objects=tuple({name: described[name] for name in _OBJECT_FIELDS} for described in objects),
        delivered=(),
        error=None,
        reserved=entry.reserved if result.cost is None else None,
        writer=rules.writer,
        updated_at=now,
    )


def _ended(
    entry: Entry, status: EntryStatus, reason: ApimartError, charged: Charged, *, retryable: bool, now: float
) -> Entry:
    cost = 0.0 if charged == "no" else entry.cost
    code = None if reason.code in (None, "") else str(reason.code)
    return replace(
        entry,
        status=status,
        charged=charged,
        error=Failure(code, str(reason)[:_MESSAGE_LENGTH], retryable),
        delivered=(),
        cost=cost,
        reserved=entry.reserved if cost is None else None,
        updated_at=now,
    )


def _worst(answers: Sequence[Charged]) -> Charged:
    """Return whether a call of several tasks was charged: the worst of its tasks counts."""
    for answer in ("yes", "unknown"):
        if answer in answers:
            return answer
    return "no"
