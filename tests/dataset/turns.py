"""Workers that take turns at every step which leaves a trace outside, and that can be killed at each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Killed", "Worker"]

T = TypeVar("T")


class Killed(BaseException):
    """SIGKILL: nothing that the worker still does has any effect."""


@dataclass
class Worker:
    """
    A worker that stops before each step until it is told to go on. If it has several threads, their steps take turns.

    :param job: calls :meth:`step` for everything that leaves a trace outside.
    :param skew: seconds by which its clock is wrong.
    """

    job: Callable[[Worker], None]
    skew: float = 0.0
    failure: BaseException | None = None
    ended: bool = False
    _fate: str = ""
    _dead: bool = False
    _stepping: threading.Lock = field(default_factory=threading.Lock)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _stopped: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def advance(self, fate: str = "") -> None:
        """
        Let the worker take one step.

        :param fate: ``"die before"`` or ``"die after"`` the step; anything else at the first that suffers it.
        """
        if not self.ended:
            self._fate = fate or self._fate
            self._go.release()
            self._stopped.acquire()

    def finish(self) -> None:
        """Let the worker take all its steps, in which nothing goes wrong."""
        while not self.ended:
            self.advance()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def suffers(self, fate: str) -> bool:
        """Whether something happens now, once."""
        if self._fate != fate:
            return False
        self._fate = ""
        return True

    def step(self, effect: Callable[[], T]) -> T:
        """Wait for the turn, and do something that can be seen outside."""
        with self._stepping:
            if self._dead:
                raise Killed
            self._stopped.release()
            self._go.acquire()
            if self._fate == "die before":
                self._dead = True
                raise Killed
            result = effect()
            if self._fate == "die after":
                self._dead = True
                raise Killed
            return result

    def _run(self) -> None:
        try:
            self.job(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - shown by the thread that waits for it
            self.failure = error
        self.ended = True
        self._stopped.release()
