"""
When each waiting task is asked after next. Pure: time is handed in, nothing sleeps.

Whether the batch endpoint of a gateway can be used, and for how many ids at a time.

Asking after many tasks: in batches while the gateway understands that, one by one where it does not.

The decisions are a generator that says which calls to send side by side and is sent what came of them, so that the
blocking and the asynchronous hook share them.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_apimart.exceptions import (
    ApimartError,
    GatewayError,
    NotFoundError,
    RequestRejectedError,
    TaskNotFoundError,
    UnreadableAnswerError,
)
from airflow_provider_apimart.gateway import endpoints
from airflow_provider_apimart.gateway.task import Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from airflow_provider_apimart.gateway.endpoints import Endpoint
    from airflow_provider_apimart.gateway.settings import GatewaySettings

    Result = TypeVar("Result")
    Found = dict[str, Task | GatewayError]
    #: Yields calls; receives for each its result, or the error that it ended in. The first step receives ``None``.
    Steps = Generator[Sequence[Endpoint[Any]], Any, Result]

__all__ = [
    "FIRST_SIZE",
    "JITTER",
    "LARGEST_SIZE",
    "SMALLEST_SIZE",
    "BatchEndpoint",
    "OutcomeFilter",
    "Schedule",
    "chunks",
    "interval_between_looks",
    "look_up",
    "next_pause",
]

#: Share of an interval by which each look is moved, so that tasks submitted together are not asked after together.
JITTER = 0.1

#: Seconds of pause after a look that failed, doubled each time up to the maximum.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds. The longest pause that a gateway gets by asking: what is finished meanwhile has about a day to live.
_LONGEST_RETRY_AFTER = 600.0
#: Looks at single tasks. One costs more than a millisecond of the triggerer's only processor core.
_SINGLE_LOOKS_PER_SECOND = 75.0
#: Outdated entries that the heap may hold before it is made anew.
_SPARE_ENTRIES = 64


def next_pause(previous: float, *, asked: float | None) -> float:
    """
    Return the seconds to pause after a look that failed.

    :param previous: the pause after the look before, or 0 if that succeeded.
    :param asked: what the gateway asks for, where it does.
    """
    doubled = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * previous))
    return max(doubled, min(asked or 0.0, _LONGEST_RETRY_AFTER))


def interval_between_looks(wanted: float, *, waiting: int, in_batches: bool) -> float:
    """
    Return the seconds between two looks at a task.

    :param wanted: what was asked for.
    :param waiting: tasks that wait. Where each needs a request of its own, many of them are looked at less often, so
        that neither the gateway nor the triggerer is flooded.
    """
    return wanted if in_batches else max(wanted, waiting / _SINGLE_LOOKS_PER_SECOND)


@dataclass
class Schedule:
    """
    The next look at each task. A task that was taken comes again when it is put back.

    :param jitter: draws the share of an interval that is added, between ``-JITTER`` and ``JITTER``.
    """

    jitter: random.Random = field(default_factory=random.Random)
    _due: dict[str, float] = field(default_factory=dict)
    _intervals: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._intervals)

    def add(self, task_id: str, *, first_look: float, interval: float) -> None:
        """Look at a task from ``first_look`` on, every ``interval`` seconds; for a known task the sooner counts."""
        self._intervals[task_id] = min(interval, self._intervals.get(task_id, interval))
        if first_look < self._due.get(task_id, math.inf):
            self._set(task_id, first_look)

    def remove(self, task_id: str) -> None:
        """Look at a task no more."""
        self._due.pop(task_id, None)
        self._intervals.pop(task_id, None)

    def take_due(self, now: float, *, limit: int | None = None) -> list[str]:
        """Return the tasks to look at now, at most ``limit`` of them, those that waited longest first."""
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now and (limit is None or len(taken) < limit):
            due, task_id = heapq.heappop(self._heap)
            # A task that was added twice, or removed, stands in the heap with a moment that is no longer its own.
            if self._due.get(task_id) == due:
                del self._due[task_id]
                taken.append(task_id)
        return taken

    def put_back(self, task_ids: Iterable[str], *, looked_at: float, in_batches: bool = True) -> None:
        """
        Plan the next look at tasks that were taken, unless they were removed meanwhile.

        :param looked_at: when they were taken.
        :param in_batches: whether a look at many takes one request.
        """
        for task_id in task_ids:
            if task_id in self._intervals and task_id not in self._due:
                interval = interval_between_looks(
                    self._intervals[task_id], waiting=len(self._intervals), in_batches=in_batches
                )
                self._set(task_id, looked_at + interval * (1 + self.jitter.uniform(-JITTER, JITTER)))

    def next_due(self) -> float | None:
        """Return when the next look is due, or ``None`` when none is planned."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _set(self, task_id: str, due: float) -> None:
        self._due[task_id] = due
        heapq.heappush(self._heap, (due, task_id))
        if len(self._heap) > 2 * len(self._due) + _SPARE_ENTRIES:
            self._heap = [(moment, waiting) for waiting, moment in self._due.items()]
            heapq.heapify(self._heap)


#: Ids in the first request. The vendors publish no limit; the only imitation whose limit is known takes 50.
FIRST_SIZE: Final = 50
#: Ids in one request at most: beyond this, a larger answer costs more than another request.
LARGEST_SIZE: Final = 200
#: An endpoint that refuses this few ids is not worth the trouble.
SMALLEST_SIZE: Final = 5
#: Seconds until an endpoint that was missing or odd is tried again, and one that refused larger requests is asked more.
_RETRY_AFTER: Final = 15 * 60.0


class BatchEndpoint:
    """
    What has been learnt about the batch endpoint of one gateway.

    :param enabled: ``False`` to never use it.
    :param warn: told when it is given up for a while.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, *, enabled: bool, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._enabled = enabled
        self._warn = warn
        self._clock = clock
        self._size = FIRST_SIZE
        self._unusable_until = float("-inf")
        self._limited_until = float("-inf")

    @property
    def is_usable(self) -> bool:
        """Whether to ask in batches."""
        return self._enabled and self._clock() >= self._unusable_until

    @property
    def size(self) -> int:
        """How many ids to ask after in one request."""
        return self._size

    def accepted(self, count: int) -> None:
        """Ask for more next time, after a request that was as large as allowed."""
        if count >= self._size and self._clock() >= self._limited_until:
            self._size = min(2 * self._size, LARGEST_SIZE)

    def limit_to(self, count: int) -> None:
        """Ask for no more than this for a while; where that is too little to gain anything, turn the endpoint off."""
        if count < SMALLEST_SIZE:
            self.turn_off(f"a batch describes {count} tasks")
        else:
            self._size = count
            self._limited_until = self._clock() + _RETRY_AFTER

    def turn_off(self, reason: object) -> None:
        """Stop using the endpoint for a while."""
        if self.is_usable:  # Looks side by side find the same out, each for itself.
            self._warn(f"Batch look-ups do not work, each task is asked after by itself for 15 minutes: {reason}")
        self._unusable_until = self._clock() + _RETRY_AFTER


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
    singly = (yield [endpoints.get_task(settings, task_id) for task_id in left_out]) if left_out else []
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
        outcomes = yield [endpoints.get_tasks(settings, part) for part in parts]
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


#: Seconds for which a completed task without pictures is queried again: some gateways deliver the URLs later.
IMAGES_GRACE: Final = 300.0
#: A task is unknown after this many denials over this many seconds, with no other answer in between.
_DENIALS: Final = 5
_DENIED_FOR: Final = 120.0


class OutcomeFilter:
    """
    Decides which outcome of a status query ends the wait for a task.

    =========================================  ==============================================
    Outcome                                    Ends the wait
    =========================================  ==============================================
    completed with pictures, failed, cancelled at once
    completed without pictures                 after it has been so for ``IMAGES_GRACE``
    ``TaskNotFoundError``                      after at least 5 in a row over at least 120 s
    running, any other error                   never
    =========================================  ==============================================

    :param clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._without_images_since: dict[str, float] = {}
        self._denials: dict[str, tuple[int, float]] = {}

    def conclude(self, task_id: str, outcome: Task | ApimartError) -> Task | ApimartError | None:
        """Return the final outcome of a task, or ``None`` to keep polling."""
        now = self._clock()
        if isinstance(outcome, TaskNotFoundError):
            count, since = self._denials.get(task_id, (0, now))
            self._denials[task_id] = (count + 1, since)
            return outcome if count + 1 >= _DENIALS and now - since >= _DENIED_FOR else None
        if isinstance(outcome, ApimartError):
            return None
        self._denials.pop(task_id, None)
        if outcome.state is TaskState.COMPLETED and not outcome.images:
            since = self._without_images_since.setdefault(task_id, now)
            return outcome if now - since >= IMAGES_GRACE else None
        self._without_images_since.pop(task_id, None)
        return outcome if outcome.is_finished else None

    def needs_single_look(self, task_id: str) -> bool:
        """Return whether a task is completed without pictures, which a batch may only have left out."""
        return task_id in self._without_images_since

    def forget(self, task_id: str) -> None:
        """Drop what was seen of a task."""
        self._without_images_since.pop(task_id, None)
        self._denials.pop(task_id, None)
