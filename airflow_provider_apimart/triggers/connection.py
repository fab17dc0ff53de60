"""The hook of a poller, which may live for days while keys are rotated and connections edited."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.gateway.polling import next_pause
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["RenewedHook"]

_log: Final = logging.getLogger(__name__)

#: Seconds after which the connection is looked up again, so that a changed key or address is picked up.
_LIFETIME: Final = 300.0
#: Seconds between two look-ups of a connection whose key was refused, or whose last look-up failed.
_SHORTEST_LIFETIME: Final = 10.0


class RenewedHook:
    """
    A hook that follows its connection: it is replaced when a later look-up finds other settings.

    A look-up never stops the requests of the hook that is there, and a hook that was replaced is closed when its last
    request has ended.

    :param apimart_conn_id: the Airflow connection.
    :param make_hook: makes a hook that has not looked its connection up yet.
    :param in_thread: look the connection up as a worker does, which blocks, and not as a triggerer does.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        apimart_conn_id: str,
        *,
        make_hook: Callable[[str], ApimartHook] = ApimartHook,
        in_thread: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current: ApimartHook | None = None
        self._apimart_conn_id = apimart_conn_id
        self._make_hook = make_hook
        self._in_thread = in_thread
        self._clock = clock
        self._stale_at = float("-inf")
        self._distrusted_at = float("-inf")
        self._pause = 0.0
        self._leases: Counter[ApimartHook] = Counter()

    @property
    def is_stale(self) -> bool:
        """Whether the connection should be looked up again."""
        return self._clock() >= self._stale_at

    @property
    def seconds_until_stale(self) -> float:
        """Seconds until the connection should be looked up again, or 0."""
        return max(0.0, self._stale_at - self._clock())

    def distrust(self) -> None:
        """Have the connection looked up again now, but at most every 10 s: the gateway refused its key or a task."""
        now = self._clock()
        if now >= self._distrusted_at + _SHORTEST_LIFETIME:
            self._distrusted_at = now
            self._stale_at = now
        else:
            self._stale_at = min(self._stale_at, self._distrusted_at + _SHORTEST_LIFETIME)

    async def renew(self) -> None:
        """
        Look the connection up, and replace the hook if its settings have changed.

        :raises Exception: what the look-up raises. The hook stays as it was; the next look-up is due after a pause.
        """
        fresh = self._make_hook(self._apimart_conn_id)
        try:
            settings = await (asyncio.to_thread(lambda: fresh.settings) if self._in_thread else fresh.aload_settings())
        except Exception:
            self._pause = next_pause(self._pause, asked=None if self.current is None else _SHORTEST_LIFETIME)
            self._stale_at = self._clock() + self._pause
            raise
        self._pause = 0.0
        self._stale_at = self._clock() + _LIFETIME
        if self.current is None or self.current.settings != settings:
            replaced, self.current = self.current, fresh
            await self._close_unused(replaced)

    @asynccontextmanager
    async def lease(self, hook: ApimartHook) -> AsyncIterator[ApimartHook]:
        """Keep a hook open for the time of a request."""
        self._leases[hook] += 1
        try:
            yield hook
        finally:
            self._leases[hook] -= 1
            if not self._leases[hook]:
                del self._leases[hook]
            if hook is not self.current:
                await self._close_unused(hook)

    async def aclose(self) -> None:
        """Close the hook's client. A later :meth:`renew` makes a new one."""
        hook, self.current = self.current, None
        self._stale_at = self._distrusted_at = float("-inf")
        await self._close_unused(hook)

    async def _close_unused(self, hook: ApimartHook | None) -> None:
        if hook is None or self._leases[hook]:
            return
        try:
            await hook.aclose()
        except Exception as error:  # noqa: BLE001 - a connection that cannot be closed properly harms nobody
            _log.debug("Could not close a client of connection %s: %s", self._apimart_conn_id, error)
