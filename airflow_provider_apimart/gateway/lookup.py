"""
Asking after many tasks: in batches while the gateway understands that, one by one where it does not.

The decisions are a generator that says which calls to send side by side and is sent what came of them, so that the
blocking and the asynchronous hook share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_apimart.exceptions import (
    GatewayError,
    NotFoundError,
    RequestRejectedError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import calls
from airflow_provider_apimart.gateway.batch_endpoint import SMALLEST_SIZE
from airflow_provider_apimart.gateway.task import Task

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from airflow_provider_apimart.gateway.batch_endpoint import BatchEndpoint
    from airflow_provider_apimart.gateway.calls import Call
    from airflow_provider_apimart.gateway.settings import GatewaySettings

    Result = TypeVar("Result")
    Found = dict[str, Task | GatewayError]
    #: Yields calls; receives for each its result, or the error that it ended in. The first step receives ``None``.
    Steps = Generator[Sequence[Call[Any]], Any, Result]

__all__ = ["chunks", "look_up"]

#: What an endpoint answers that does not exist or wants something else. Any other error says nothing about batches.
_ABOUT_BATCHES: Final = (NotFoundError, RequestRejectedError, UnreadableAnswerError)


def look_up(settings: GatewaySettings, task_ids: Iterable[str], endpoint: BatchEndpoint) -> Steps[Found]:
    """
    Return for each id its task, or the error that asking after it gave; one bad id spoils no other.

    :param endpoint: learns from what the gateway answers.
    :raises GatewayError: when the gateway could not be asked at all.
    """
    wanted = list(dict.fromkeys(task_ids))
    in_batches = endpoint.is_usable and min(endpoint.size, len(wanted)) > 1
    batches = (yield from _in_batches(settings, wanted, endpoint.size)) if in_batches else _Batches()
    left_out = [task_id for task_id in wanted if task_id not in batches.described]
    singly = (yield [calls.get_task(settings, task_id) for task_id in left_out]) if left_out else []
    if in_batches:
        _learn(endpoint, batches, len(wanted), singly)
    found = batches.described | dict(zip(left_out, singly, strict=True))
    return _believed({task_id: found[task_id] for task_id in wanted})


def chunks(task_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the ids in order, at most ``size`` at a time."""
    for start in range(0, len(task_ids), size):
        yield task_ids[start : start + size]


@dataclass
class _Batches:
    """
    What became of the batches of one look-up.

    :param most_accepted: ids of the largest batch that was accepted, or 0.
    :param most_described: tasks in the fullest answer.
    :param is_any_given_up: whether some ids were accepted in no batch, however small.
    """

    described: Found = field(default_factory=dict)
    most_accepted: int = 0
    most_described: int = 0
    refusal: GatewayError | None = None
    is_any_given_up: bool = False


def _in_batches(settings: GatewaySettings, wanted: Sequence[str], size: int) -> Steps[_Batches]:
    batches = _Batches()
    parts = list(chunks(wanted, size))
    while parts:
        outcomes = yield [calls.get_tasks(settings, part) for part in parts]
        smaller: list[Sequence[str]] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            if not isinstance(outcome, GatewayError):
                # An error of one item is not believed before a look-up of its own confirms it.
                tasks = {task_id: task for task_id, task in outcome.items() if isinstance(task, Task)}
                batches.described |= tasks
                batches.most_accepted = max(batches.most_accepted, len(part))
                batches.most_described = max(batches.most_described, len(tasks))
                continue
            if not isinstance(outcome, _ABOUT_BATCHES):
                raise outcome
            batches.refusal = outcome
            halves = _halves(part) if isinstance(outcome, RequestRejectedError) else []
            batches.is_any_given_up |= not halves
            smaller += halves
        parts = smaller
    return batches


def _halves(part: Sequence[str]) -> list[Sequence[str]]:
    """Split a batch that was refused: it may have been too large, or hold an id that is refused."""
    return list(chunks(part, -(-len(part) // 2))) if len(part) // 2 >= SMALLEST_SIZE else []


def _learn(endpoint: BatchEndpoint, batches: _Batches, asked: int, singly: Sequence[Task | GatewayError]) -> None:
    """
    Tell the endpoint what its batches can be like from now on.

    :param asked: ids that were asked after.
    :param singly: what became of those that no batch described.
    """
    if batches.refusal is None:
        known = sum(isinstance(outcome, Task) and bool(outcome.status) for outcome in singly)
        if known > asked // 2:
            # Not a few that are too new for a batch: the gateway describes no more than so many at once.
            endpoint.limit_to(batches.most_described)
        else:
            endpoint.accepted(batches.most_accepted)
    elif batches.is_any_given_up and _is_about_an_id(batches.refusal, singly):
        pass  # Without that id they may be taken next time.
    elif batches.most_accepted:
        endpoint.limit_to(batches.most_accepted)
    else:
        endpoint.turn_off(batches.refusal)


def _is_about_an_id(refusal: GatewayError, singly: Sequence[Task | GatewayError]) -> bool:
    """Whether a batch was refused perhaps because of an id that is refused by itself too."""
    return isinstance(refusal, RequestRejectedError) and any(
        isinstance(outcome, NotFoundError | RequestRejectedError) for outcome in singly
    )


def _believed(found: Found) -> Found:
    """Return what was found, or raise when each look-up failed for a reason that lies with the gateway, not the id."""
    errors = [outcome for outcome in found.values() if isinstance(outcome, GatewayError)]
    if errors and len(errors) == len(found) and not any(isinstance(error, TaskNotFoundError) for error in errors):
        raise errors[0]
    return found
