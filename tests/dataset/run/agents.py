"""Workers that take turns in virtual time at every step that leaves a trace outside, and that can be killed there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["Agent", "Killed", "Stage"]

T = TypeVar("T")
_MOST_STEPS = 60_000


class Killed(BaseException):
    """SIGKILL: nothing that the worker still does has any effect."""


@dataclass
class Stage:
    """
    The order in which agents take their steps.

    :param now: returns virtual Unix seconds, and ``move`` sets them.
    """

    random: random.Random
    now: Callable[[], float]
    move: Callable[[float], None]
    agents: list[Agent] = field(default_factory=list)
    steps: int = 0

    def start(self, job: Callable[[Agent], None], *, at: float = 0.0, dies_at: float | None = None) -> None:
        """
        Add an agent.

        :param at: virtual seconds at which it begins, and ``dies_at`` at which it is killed.
        """
        self.agents.append(Agent(self, job, wake_at=at, dies_at=dies_at))
        self.agents[-1].begin()

    def run(self) -> None:
        """Let all agents work until the last has ended."""
        while living := [agent for agent in self.agents if not agent.has_ended]:
            self.steps += 1
            assert self.steps < _MOST_STEPS, "it is never done"
            ready = [agent for agent in living if agent.wake_at <= self.now()]
            if ready:
                self.random.choice(ready).advance()
            else:
                self.move(min(agent.wake_at for agent in living))
        for agent in self.agents:
            if agent.failure is not None:
                raise agent.failure


@dataclass
class Agent:
    """A thread that stops before each step until it is its turn. If it has several threads, their steps take turns."""

    stage: Stage
    job: Callable[[Agent], None]
    wake_at: float
    dies_at: float | None
    failure: BaseException | None = None
    has_ended: bool = False
    _stepping: threading.Lock = field(default_factory=threading.Lock)
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _stopped: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def begin(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()
        self._stopped.acquire()

    def advance(self) -> None:
        """Let it take one step."""
        self._go.release()
        self._stopped.acquire()

    def step(self, effect: Callable[[], T], *, after: float = 0.0) -> T:
        """Wait for the turn, at least some virtual seconds, and do something that can be seen outside."""
        with self._stepping:
            self.wake_at = max(self.wake_at, self.stage.now() + after)
            self._stopped.release()
            self._go.acquire()
            if self.dies_at is not None and self.stage.now() >= self.dies_at:
                raise Killed
            return effect()

    def pause(self, seconds: float) -> None:
        """Sleep."""
        self.step(lambda: None, after=seconds)

    def _run(self) -> None:
        try:
            self.step(lambda: None)
            self.job(self)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - shown by the thread that waits for it
            self.failure = error
        self.has_ended = True
        self._stopped.release()


def stepping(client: Any, agent: Agent, seconds: Callable[[], float]) -> Any:
    """
    Return a store's client whose requests are steps of an agent.

    :param seconds: draws how long each takes.
    """
    from types import SimpleNamespace

    def stepped(method: Callable[..., T]) -> Callable[..., T]:
        return lambda **arguments: agent.step(lambda: method(**arguments), after=seconds())

    names = ("put_object", "get_object", "head_object", "delete_object", "delete_objects")
    pages = stepped(client.get_paginator("list_objects_v2").paginate)
    return SimpleNamespace(
        **{name: stepped(getattr(client, name)) for name in names},
        get_paginator=lambda _: SimpleNamespace(paginate=pages),
    )
