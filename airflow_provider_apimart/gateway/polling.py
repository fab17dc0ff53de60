"""
Decisions about status queries: when a task is queried, in which requests, and which outcome is final. Does no I/O.

:class:`Schedule` says when each task is due, :func:`look_up` which requests to send for the tasks that are due, and
:class:`OutcomeFilter` when an outcome is final. Time is handed in, and nothing sleeps.
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
    RateLimitError,
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
    #: Yields endpoints; receives for each its result, or the error that it ended in. The first step receives ``None``.
    Steps = Generator[Sequence[Endpoint[Any]], Any, Result]

__all__ = [
    "DENIALS",
    "DENIED_FOR",
    "FIRST_SIZE",
    "IMAGES_GRACE",
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

#: Share of an interval by which each query is moved, so that tasks submitted together are not queried together.
JITTER = 0.1

#: Seconds for which a completed task may have no picture yet: results have been seen to lag behind the status.
IMAGES_GRACE: Final = 300.0
#: How often, and over how many seconds, the gateway must deny a task id: a new task may not be visible everywhere.
DENIALS: Final = 5
DENIED_FOR: Final = 120.0

#: Seconds of pause after a failed poll, doubled each time up to the maximum.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
#: Seconds. The longest pause that a gateway gets by asking: finished pictures live for about a day.
_LONGEST_RETRY_AFTER = 600.0
#: Queries of single tasks. One costs more than a millisecond of the triggerer's only processor core.
_SINGLE_LOOKS_PER_SECOND = 75.0
#: Outdated entries in the heap before it is rebuilt.
_SPARE_ENTRIES = 64


def next_pause(previous: float, *, asked: float | None) -> float:
    """
    Return the seconds to pause after a failed poll.

    :param previous: the pause after the previous poll, or 0 if that succeeded.
    :param asked: what the gateway asks for, where it does.
    """
    doubled = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * previous))
    return max(doubled, min(asked or 0.0, _LONGEST_RETRY_AFTER))


def interval_between_looks(wanted: float, *, waiting: int, in_batches: bool) -> float:
    """
    Return the seconds between two queries of a task.

    :param wanted: the poll interval that was asked for.
    :param waiting: tasks that wait. Where each needs a request of its own, many of them are queried less often.
    """
    return wanted if in_batches else max(wanted, waiting / _SINGLE_LOOKS_PER_SECOND)


@dataclass
class Schedule:
    """
    The time of the next query of each task. A task that was taken is due again after it was put back.

    :param jitter: draws the share of an interval that is added, between ``-JITTER`` and ``JITTER``.
    """

    jitter: random.Random = field(default_factory=random.Random)
    _due: dict[str, float] = field(default_factory=dict)
    _intervals: dict[str, float] = field(default_factory=dict)
    _heap: list[tuple[float, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._intervals)

    def add(self, task_id: str, *, first_look: float, interval: float) -> None:
        """Query a task from ``first_look`` on, every ``interval`` seconds; for a known task the sooner counts."""
        self._intervals[task_id] = min(interval, self._intervals.get(task_id, interval))
        if first_look < self._due.get(task_id, math.inf):
            self._set(task_id, first_look)

    def remove(self, task_id: str) -> None:
        """Stop querying a task."""
        self._due.pop(task_id, None)
        self._intervals.pop(task_id, None)

    def take_due(self, now: float, *, limit: int | None = None) -> list[str]:
        """Return the tasks to query now, at most ``limit`` of them, the most overdue first."""
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now and (limit is None or len(taken) < limit):
            due, task_id = heapq.heappop(self._heap)
            # A task that was added twice, or removed, is in the heap with an outdated time.
            if self._due.get(task_id) == due:
                del self._due[task_id]
                taken.append(task_id)
        return taken

    def put_back(self, task_ids: Iterable[str], *, looked_at: float, in_batches: bool = True) -> None:
        """
        Plan the next query of tasks that were taken, unless they were removed meanwhile.

        :param looked_at: when they were taken.
        """
        for task_id in task_ids:
            if task_id in self._intervals and task_id not in self._due:
                wanted = self._intervals[task_id]
                interval = interval_between_looks(wanted, waiting=len(self), in_batches=in_batches)
                self._set(task_id, looked_at + interval * (1 + self.jitter.uniform(-JITTER, JITTER)))

    def next_due(self) -> float | None:
        """Return when the next query is due, or ``None`` when none is planned."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _set(self, task_id: str, due: float) -> None:
        self._due[task_id] = due
        heapq.heappush(self._heap, (due, task_id))
        if len(self._heap) > 2 * len(self._due) + _SPARE_ENTRIES:
            self._heap = [(moment, waiting) for waiting, moment in self._due.items()]
            heapq.heapify(self._heap)


#: Ids in the first request. The vendors publish no limit; an imitation of their API takes 50.
FIRST_SIZE: Final = 50
#: The most ids in one request, and the fewest that make an endpoint worth using.
LARGEST_SIZE: Final = 200
SMALLEST_SIZE: Final = 5
#: Seconds until an odd endpoint is tried again, or is sent more ids than it took.
_RETRY_AFTER: Final = 15 * 60.0


class BatchEndpoint:
    """
    The state of the batch endpoint of one gateway: whether it works, and the ``size`` of its next request.

    :param enabled: ``False`` to never use it.
    :param warn: called with a message when it is not used for a while.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, *, enabled: bool, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._enabled = enabled
        self._warn = warn
        self._clock = clock
        self.size = FIRST_SIZE
        self._unusable_until = float("-inf")
        self._limited_until = float("-inf")

    @property
    def is_usable(self) -> bool:
        """Return whether to query in batches."""
        return self._enabled and self._clock() >= self._unusable_until

    def accepted(self, count: int) -> None:
        """Allow more ids next time, after a request that was as large as allowed."""
        if count >= self.size and self._clock() >= self._limited_until:
            self.size = min(2 * self.size, LARGEST_SIZE)

    def limit_to(self, count: int) -> None:
        """Allow no more than this for a while; where that is too little to gain anything, turn the endpoint off."""
        if count < SMALLEST_SIZE:
            self.turn_off(f"a batch describes {count} tasks")
        else:
            self.size = count
            self._limited_until = self._clock() + _RETRY_AFTER

    def turn_off(self, reason: object) -> None:
        """Stop using the endpoint for a while."""
        if self.is_usable:  # Concurrent polls each discover it; warn once.
            self._warn(f"Batch queries do not work; each task is queried singly for 15 minutes: {reason}")
        self._unusable_until = self._clock() + _RETRY_AFTER


#: Errors of an endpoint that does not exist or wants something else.
_ABOUT_BATCHES: Final = (NotFoundError, RequestRejectedError, UnreadableAnswerError)


class OutcomeFilter:
    """
    The rule by which a waiting task ends, shared by everything that waits.

    What was paid for ends neither by one odd response nor by a firewall, a wrong key or an empty balance:

    ==========================================  ================================================================
    Outcome of a status query                   Final
    ==========================================  ================================================================
    Completed with pictures, failed, cancelled  at once
    Completed without pictures                  after 300 s; until then the pictures may follow
    The gateway does not know the task          after five such responses over at least 120 s
    Running, an unknown word, any other error   never
    ==========================================  ================================================================

    The second and the third are final at once for a task that :meth:`believe` was called with.

    :param clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._denials: dict[str, tuple[int, float]] = {}
        self._empty_since: dict[str, float] = {}
        self._believed: set[str] = set()

    def believe(self, task_ids: Iterable[str]) -> None:
        """Take a denial, or the lack of pictures, as final: it has lasted long enough elsewhere."""
        self._believed.update(task_ids)

    def conclude(self, task_id: str, outcome: Task | ApimartError) -> Task | TaskNotFoundError | None:
        """Return the final outcome of a task, or ``None`` while it must be queried again."""
        now = self._clock()
        if isinstance(outcome, TaskNotFoundError):
            count, since = self._denials.get(task_id, (0, now))
            self._denials[task_id] = count + 1, since
            has_lasted = count + 1 >= DENIALS and now - since >= DENIED_FOR
            return outcome if has_lasted or task_id in self._believed else None
        if isinstance(outcome, ApimartError):
            return None
        self._denials.pop(task_id, None)
        if not outcome.is_finished:
            return None
        if outcome.state is TaskState.COMPLETED and not outcome.images:
            since = self._empty_since.setdefault(task_id, now)
            return outcome if now - since >= IMAGES_GRACE or task_id in self._believed else None
        return outcome

    def forget(self, task_id: str) -> None:
        """Drop what is remembered of a task that nobody waits for any more."""
        self._denials.pop(task_id, None)
        self._empty_since.pop(task_id, None)


def look_up(settings: GatewaySettings, task_ids: Iterable[str], endpoint: BatchEndpoint) -> Steps[Found]:
    """
    Return for each id its task, or the error of its query; one bad id spoils no other.

    :param endpoint: learns from the gateway's responses.
    :raises GatewayError: when the gateway could not be queried at all.
    """
    wanted = list(dict.fromkeys(task_ids))
    in_batches = endpoint.is_usable and min(endpoint.size, len(wanted)) > 1
    batches = (yield from _in_batches(settings, wanted, endpoint.size)) if in_batches else _Batches()
    left_out = [task_id for task_id in wanted if task_id not in batches.described]
    alone: Found = {}
    if batches.trouble is not None:
        # Batches alone may be broken, or forbidden by a firewall. One single query shows that before many are sent.
        probe = left_out.pop(0)
        (alone[probe],) = yield [endpoints.get_task(settings, probe)]
        if not isinstance(alone[probe], Task | TaskNotFoundError):
            return _believed({task_id: batches.described.get(task_id, batches.trouble) for task_id in wanted})
    singly = (yield [endpoints.get_task(settings, task_id) for task_id in left_out]) if left_out else []
    alone |= dict(zip(left_out, singly, strict=True))
    if in_batches:
        unnamed = [outcome for task_id, outcome in alone.items() if task_id not in batches.named]
        _learn(endpoint, batches, len(wanted), unnamed)
    found = batches.described | alone
    return _believed({task_id: found[task_id] for task_id in wanted})


def chunks(task_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the ids in order, at most ``size`` at a time."""
    for start in range(0, len(task_ids), size):
        yield task_ids[start : start + size]


@dataclass
class _Batches:
    """
    Outcomes of the batches of one poll.

    :param described: tasks whose description is complete.
    :param named: tasks that a batch mentioned at all.
    :param most_accepted: ids of the largest batch that was accepted, or 0.
    :param most_described: tasks in the fullest response.
    :param refusal: an error of a batch.
    :param trouble: an error of a batch that is perhaps not about batches.
    :param is_any_given_up: whether some ids were accepted in no batch, however small.
    """

    described: Found = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    most_accepted: int = 0
    most_described: int = 0
    refusal: GatewayError | None = None
    trouble: GatewayError | None = None
    is_any_given_up: bool = False


def _in_batches(settings: GatewaySettings, wanted: Sequence[str], size: int) -> Steps[_Batches]:
    batches = _Batches()
    parts = list(chunks(wanted, size))
    while parts:
        outcomes = yield [endpoints.get_tasks(settings, part) for part in parts]
        smaller: list[Sequence[str]] = []
        for part, outcome in zip(parts, outcomes, strict=True):
            if not isinstance(outcome, GatewayError):
                # An error of one item is not believed before a query of its own confirms it.
                tasks = {task_id: task for task_id, task in outcome.items() if isinstance(task, Task)}
                batches.named |= tasks.keys()
                batches.described |= {task_id: task for task_id, task in tasks.items() if not _is_vague(task)}
                batches.most_accepted = max(batches.most_accepted, len(part))
                batches.most_described = max(batches.most_described, len(tasks))
                continue
            if isinstance(outcome, RateLimitError):
                raise outcome
            batches.refusal = outcome
            if not isinstance(outcome, _ABOUT_BATCHES):
                batches.trouble = outcome
                continue
            # A batch that is refused may have been too large, or hold an id that is refused.
            can_be_split = isinstance(outcome, RequestRejectedError) and len(part) // 2 >= SMALLEST_SIZE
            batches.is_any_given_up |= not can_be_split
            smaller += chunks(part, -(-len(part) // 2)) if can_be_split else ()
        parts = smaller
    return batches


def _is_vague(task: Task) -> bool:
    """Return whether an item must be confirmed: some hold only ids and status words, or how the item's query ended."""
    return (task.state is TaskState.COMPLETED and not task.images) or task.status in ("error", "fail")


def _learn(endpoint: BatchEndpoint, batches: _Batches, asked: int, singly: Sequence[Task | GatewayError]) -> None:
    """
    Adapt the use of the batch endpoint to the outcome of a poll.

    :param asked: the number of ids that were queried.
    :param singly: outcomes of single queries of the tasks that no batch named.
    """
    is_about_an_id = isinstance(batches.refusal, RequestRejectedError) and any(
        isinstance(outcome, NotFoundError | RequestRejectedError) for outcome in singly
    )
    if batches.refusal is None:
        known = sum(isinstance(outcome, Task) and bool(outcome.status) for outcome in singly)
        if known > asked // 2:
            # Not a few that are too new for a batch: the gateway describes no more than so many at once.
            endpoint.limit_to(batches.most_described)
        else:
            endpoint.accepted(batches.most_accepted)
    elif batches.is_any_given_up and is_about_an_id:
        return  # Perhaps no fault of the endpoint: an id is refused by itself too.
    elif batches.most_accepted:
        endpoint.limit_to(batches.most_accepted)
    elif any(isinstance(outcome, Task) for outcome in singly):
        # Where single queries fail too, it is not about batches: a proxy may respond to everything with its own page.
        endpoint.turn_off(batches.refusal)


def _believed(found: Found) -> Found:
    """Return the outcomes, or raise when each query failed for a reason that lies with the gateway, not the id."""
    errors = [outcome for outcome in found.values() if isinstance(outcome, GatewayError)]
    if errors and len(errors) == len(found) and not any(isinstance(error, TaskNotFoundError) for error in errors):
        raise errors[0]
    return found
