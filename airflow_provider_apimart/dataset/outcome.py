"""What an answer of the gateway makes of a purchase: the next entry of its row. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.dataset.entry import Failure, Status
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

    from airflow_provider_apimart.dataset.entry import Entry
    from airflow_provider_apimart.exceptions import Charged
    from airflow_provider_apimart.gateway.task import Submission

__all__ = ["OWN_FAULT", "Ending", "copied", "ending_of", "failed", "submitted", "unknown"]

_OBJECT_FIELDS: Final = ("uri", "bytes", "sha256", "content_type", "width", "height")
_MESSAGE_LENGTH: Final = 500
#: Seconds after which a gateway must know the tasks that it has accepted.
_VISIBLE_AFTER: Final = 120.0
#: Refusals for what the request says. All others, such as an empty account, may end by themselves.
OWN_FAULT: Final = (RequestRejectedError, InvalidRequestError, IdempotencyError)


def submitted(entry: Entry, answer: Submission | ApimartError, *, again: bool, now: float) -> Entry:
    """
    Return what a paid call has come to.

    :param answer: what the hook returned or raised.
    :param again: whether the same key had been sent before. A refusal then says nothing of the first call.
    """
    if not isinstance(answer, ApimartError):
        delivered = tuple(task.to_json() for task in answer.tasks if task.is_finished)
        ids = tuple(task.task_id for task in answer.tasks)
        return replace(entry, status=Status.ACCEPTED, task_ids=ids, delivered=delivered, error=None, updated_at=now)
    if again or isinstance(answer, SubmitOutcomeUnknownError):
        return unknown(entry, answer, now=now)
    return _ended(entry, Status.REFUSED, answer, "no", retryable=not isinstance(answer, OWN_FAULT), now=now)


def unknown(entry: Entry, reason: ApimartError, *, now: float) -> Entry:
    """Return the entry of a paid call that nobody knows the outcome of."""
    return _ended(entry, Status.UNKNOWN, reason, "unknown", retryable=not isinstance(reason, OWN_FAULT), now=now)


@dataclass(frozen=True, slots=True)
class Ending:
    """
    What the gateway has made of a paid call whose tasks have all ended.

    :param tasks: as the gateway describes them; those that it does not know any more are missing.
    :param errors: of the tasks without a picture.
    """

    tasks: tuple[Task, ...]
    errors: tuple[ApimartError, ...]

    @property
    def cost(self) -> float | None:
        """US dollars, or ``None`` where they are not known."""
        return total([*(task.cost for task in self._charged), *self._forgotten])

    @property
    def credits_cost(self) -> float | None:
        """The same in the gateway's credits."""
        return total([*(task.credits_cost for task in self._charged), *self._forgotten])

    @property
    def _charged(self) -> list[Task]:
        return [task for task in self.tasks if not task.is_free]

    @property
    def _forgotten(self) -> list[None]:
        # What a task that the gateway no longer knows has cost is not known, and neither is a sum with it.
        return [None for error in self.errors if isinstance(error, TaskNotFoundError)]


def ending_of(entry: Entry, found: Mapping[str, Task | ApimartError], *, now: float) -> Ending | None:
    """
    Return what has become of an accepted call, or ``None`` while one of its tasks runs or could not be asked after.

    A task that the gateway does not know is taken for lost only a while after it was accepted: a new one may not be
    visible at once.

    :param found: what the gateway says of task ids.
    :param now: Unix seconds.
    """
    delivered = {task.task_id: task for task in map(Task.from_json, entry.delivered)}
    known = [delivered.get(task_id) or found.get(task_id) for task_id in entry.task_ids]
    tasks = tuple(task for task in known if isinstance(task, Task) and task.is_finished)
    is_new = now < entry.updated_at + _VISIBLE_AFTER
    forgotten = [error for error in known if isinstance(error, TaskNotFoundError) and not is_new]
    if len(tasks) + len(forgotten) < len(known):
        return None
    errors = [error for error in map(task_error, tasks) if error is not None]
    return Ending(tasks, (*errors, *forgotten))


def failed(entry: Entry, ending: Ending, error: ApimartError | None = None, *, now: float) -> Entry:
    """
    Return the entry of a call that was accepted and gives no picture.

    :param error: why its pictures cannot be had, where there were some.
    """
    errors = (error,) if error is not None else ending.errors
    reason = errors[0] if errors else NoImagesError("The gateway accepted the request without a task.")
    charged = _charged([one.charged for one in errors or (reason,)])
    retryable = charged == "no" and all(one.retryable for one in errors)
    priced = replace(entry, cost=ending.cost, credits_cost=ending.credits_cost)
    return _ended(priced, Status.FAILED, reason, charged, retryable=retryable, now=now)


def copied(entry: Entry, ending: Ending, objects: Sequence[Mapping[str, Any]], *, now: float) -> Entry:
    """
    Return the entry of a call whose pictures are in S3.

    :param objects: as the copier describes them.
    """
    kept = tuple({name: described[name] for name in _OBJECT_FIELDS} for described in objects)
    return replace(
        entry,
        cost=ending.cost,
        credits_cost=ending.credits_cost,
        status=Status.COPIED,
        charged="yes",
        objects=kept,
        delivered=(),
        error=None,
        reserved=entry.reserved if ending.cost is None else None,
        updated_at=now,
    )


def _ended(
    entry: Entry, status: Status, reason: ApimartError, charged: Charged, *, retryable: bool, now: float
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


def _charged(all_of: Sequence[Charged]) -> Charged:
    """Return whether a call of several tasks was charged: the worst of their answers."""
    for answer in ("yes", "unknown"):
        if answer in all_of:
            return answer
    return "no"
