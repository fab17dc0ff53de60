"""What the fixtures of these tests are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import httpx

__all__ = ["START", "Clock", "Finish", "Look", "Start", "Submit"]

START = 1_776_748_674.0


class Clock:
    """Seconds since the epoch that pass only when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Submit(Protocol):
    """Send a submit to APIMart; keyword arguments are fields of the body."""

    def __call__(self, *, headers: dict[str, Any] | None = None, **fields: object) -> httpx.Response: ...


class Start(Protocol):
    """Start a task on APIMart and return its id."""

    def __call__(self, *, headers: dict[str, Any] | None = None, **fields: object) -> str: ...


class Look(Protocol):
    """Ask APIMart for a task."""

    def __call__(self, task_id: str) -> dict[str, Any]: ...


class Finish(Protocol):
    """Start a task, let an hour pass, and return what it shows then."""

    def __call__(self, *, headers: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]: ...
