"""How fast this process calls one account, whatever number of clients does it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from airflow_provider_apimart.exceptions import RateLimitError
from airflow_provider_apimart.gateway.concurrency_limit import ConcurrencyLimit
from airflow_provider_apimart.gateway.pause import SharedPause
from airflow_provider_apimart.gateway.rate_limit import submit_limiter
from airflow_provider_apimart.gateway.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["Pace", "shared_pace"]


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
