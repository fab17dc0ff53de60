"""A limit on how many do something at the same time, in any threads and event loops, which may change meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Slot", "Slots"]


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
