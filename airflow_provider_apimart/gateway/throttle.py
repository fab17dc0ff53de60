"""
A pause that all requests of one account keep.

How many submits may be under way at the same time, found out from what becomes of them.

A limit on how many do something at the same time, in any threads and event loops, which may change meanwhile.

The connection's own limit on paid requests.

How fast this process calls one account, whatever number of clients does it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, RateItem, SingleBucketFactory

from airflow_provider_apimart.exceptions import RateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["ConcurrencyLimit", "Pace", "SharedPause", "Slot", "Slots", "shared_pace", "submit_limiter"]


class SharedPause:
    """
    When the gateway asks one request to wait, the others that follow would only be refused too.

    :param clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._lock = threading.Lock()

    def extend(self, seconds: float) -> None:
        """Let nothing be sent for so long; a longer pause that is kept already stays."""
        with self._lock:
            self._until = max(self._until, self._clock() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds that are left, or 0."""
        return max(0.0, self._until - self._clock())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimit:
    """
    Additive increase, multiplicative decrease, as TCP does it: halved at a refusal, and one more after as many
    accepted submits as there may be at once.

    A submit tells something about the limit under which it was sent. So many that were sent together and are all
    refused halve it once, and those of them that were accepted do not raise it again.

    :param maximum: what the connection allows, at least 1.
    :param current: from 1 to ``maximum``.
    :param accepted: submits since ``current`` changed.
    :param reductions: how often a refusal has counted.
    """

    maximum: int
    current: int
    accepted: int = 0
    reductions: int = 0

    def after_refusal(self, sent_under: Self) -> Self:
        """
        Return the limit after the gateway refused one submit as one too many.

        :param sent_under: the limit when it was sent.
        """
        if sent_under.reductions != self.reductions:
            return self
        return replace(self, current=max(1, self.current // 2), accepted=0, reductions=self.reductions + 1)

    def after_acceptance(self, sent_under: Self) -> Self:
        """
        Return the limit after the gateway accepted one submit.

        :param sent_under: the limit when it was sent.
        """
        if sent_under.reductions != self.reductions or self.current == self.maximum:
            return self
        if self.accepted + 1 < self.current:
            return replace(self, accepted=self.accepted + 1)
        return replace(self, current=self.current + 1, accepted=0)


class Slots:
    """
    So many slots, given out in the order in which they are asked for.

    :param size: how many there are. Assign another number at any time: when it is smaller, nobody is interrupted.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken = 0
        self._queue: deque[Future[None]] = deque()
        # Reentrant: the garbage collector may end an abandoned coroutine, which gives its slot back, at any point.
        self._lock = threading.RLock()

    @contextmanager
    def one(self) -> Iterator[Slot]:
        """Return a slot that is yet to be waited for, and give it back in the end."""
        slot = Slot(self)
        try:
            yield slot
        finally:
            slot.give_back()

    def take(self) -> Future[None]:
        """Return a turn: a future, because threads and event loops can both wait for it. It has no result."""
        with self._lock:
            turn: Future[None] = Future()
            self._queue.append(turn)
            self._give_out()
            return turn

    def renew(self, turn: Future[None]) -> Future[None]:
        """Return the same turn, or where too many slots are taken, another that comes before those of all newcomers."""
        with self._lock:
            if self._taken <= self.size:
                return turn
            self._taken -= 1
            turn = Future()
            self._queue.appendleft(turn)
            return turn

    def give_back(self, turn: Future[None]) -> None:
        """End a turn, whether it has come or not."""
        if turn.cancel():
            return
        with self._lock:
            self._taken -= 1
            self._give_out()

    def _give_out(self) -> None:
        while self._queue and self._taken < self.size:
            turn = self._queue.popleft()
            if turn.set_running_or_notify_cancel():
                self._taken += 1
                turn.set_result(None)


class Slot:
    """The slot of one who may need several attempts. It is kept between them while there are not too many."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._turn: Future[None] | None = None

    def wait(self) -> None:
        """Wait, blocking, until the next attempt may begin."""
        self._next_turn().result()

    async def async_wait(self) -> None:
        """Do the same in an event loop."""
        turn = self._next_turn()
        if not turn.done():
            await asyncio.wrap_future(turn)

    def give_back(self) -> None:
        """Let another have the slot."""
        if self._turn is not None:
            self._slots.give_back(self._turn)
            self._turn = None

    def _next_turn(self) -> Future[None]:
        self._turn = self._slots.take() if self._turn is None else self._slots.renew(self._turn)
        return self._turn


def submit_limiter(requests_per_second: float | None) -> Limiter | None:
    """
    Return a limiter for this process, or ``None`` for no limit. It needs no closing.

    :param requests_per_second: may be below 1: ``0.5`` is one request every two seconds.
    """
    if requests_per_second is None:
        return None
    if requests_per_second >= 1:
        rate = Rate(math.floor(requests_per_second), Duration.SECOND)
    else:
        rate = Rate(1, math.ceil(int(Duration.SECOND) / requests_per_second))
    return Limiter(SingleBucketFactory(_TidyBucket([rate]), schedule_leak=False))


class _TidyBucket(InMemoryBucket):
    """Forgets what no longer counts when something is added. The library would start a thread for that."""

    def put(self, item: RateItem) -> bool:
        self.leak(item.timestamp)
        return super().put(item)


class Pace:
    """
    What the clients of one account share, in any thread and any event loop.

    :param settings: say how many submits may be under way at most, and how many may be sent per second.
    :param clock: monotonic seconds, in which the pause is measured.

    All requests keep the ``pause``. Each submit takes one of the ``slots``, and then a turn of the ``limiter``, if any.
    """

    def __init__(self, settings: GatewaySettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_concurrency = settings.max_concurrency
        self.pause = SharedPause(clock=clock)
        self.slots = Slots(settings.max_concurrency)
        self.limiter = submit_limiter(settings.requests_per_second)
        self._limit = ConcurrencyLimit(maximum=settings.max_concurrency, current=settings.max_concurrency)
        self._lock = threading.Lock()

    @property
    def concurrency(self) -> int:
        """How many submits may be under way at the same time, for now."""
        return self._limit.current

    @contextmanager
    def learning(self, notify: Callable[[str], None]) -> Iterator[None]:
        """
        Adapt the number of slots to what becomes of the one submit that is sent within.

        :param notify: told when there are fewer, and when there are as many again as the connection allows.
        """
        sent_under = self._limit
        try:
            yield
        except RateLimitError:
            self._change(lambda limit: limit.after_refusal(sent_under), notify)
            raise
        self._change(lambda limit: limit.after_acceptance(sent_under), notify)

    def _change(self, decide: Callable[[ConcurrencyLimit], ConcurrencyLimit], notify: Callable[[str], None]) -> None:
        with self._lock:
            before, after = self._limit, decide(self._limit)
            self._limit = after
            self.slots.size = after.current
        if after.current < before.current:
            notify(f"The gateway wants fewer submits: at most {after.current} at once, after {before.current}.")
        elif before.current < after.current == after.maximum:
            notify(f"The gateway accepts submits at full pace again: {after.current} at once.")


_PACES: Final[WeakValueDictionary[tuple[object, ...], Pace]] = WeakValueDictionary()
_PACES_LOCK: Final = threading.Lock()


def shared_pace(settings: GatewaySettings) -> Pace:
    """
    Return the one pace of this process for an account and its limits; it is forgotten when no client holds it.

    :param settings: the base URL and the API key tell accounts apart.
    """
    account = (settings.base_url, sha256(settings.api_key.encode()).digest())
    limits = (settings.max_concurrency, settings.requests_per_second)
    with _PACES_LOCK:
        return _PACES.setdefault((*account, *limits), Pace(settings))
