"""The connection of a poller, which may live for days, while keys are rotated."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RenewedHook"]

_log: Final = logging.getLogger(__name__)

#: Seconds after which the connection is looked up again, so that a changed key or address is picked up.
_LIFETIME: Final = 300.0


class RenewedHook:
    """
    A hook that looks its connection up again from time to time, and keeps its client unless something has changed.

    :param apimart_conn_id: the Airflow connection.
    :param make_hook: makes a hook that has not looked its connection up yet, for tests.
    :param clock: monotonic seconds, likewise.
    """

    def __init__(
        self,
        apimart_conn_id: str,
        *,
        make_hook: Callable[[str], ApimartHook] = ApimartHook,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apimart_conn_id = apimart_conn_id
        self._make_hook = make_hook
        self._clock = clock
        self._hook: ApimartHook | None = None
        self._fresh_until = float("-inf")

    @property
    def is_stale(self) -> bool:
        """Whether the connection should be looked up again. No request may be under way then."""
        return self._clock() >= self._fresh_until

    def distrust(self) -> None:
        """Look the connection up again: the gateway refused what it says."""
        self._fresh_until = float("-inf")

    async def get(self) -> ApimartHook:
        """
        Return the hook.

        :raises Exception: what the first look-up raises; when a later one fails, the old hook goes on.
        """
        if self._hook is None or self.is_stale:
            fresh = self._make_hook(self._apimart_conn_id)
            try:
                settings = await fresh.aload_settings()
            except Exception as error:
                if self._hook is None:
                    raise
                _log.warning("Connection %s stays as it was looked up before: %s", self._apimart_conn_id, error)
            else:
                if self._hook is None or self._hook.settings != settings:
                    await self.aclose()
                    self._hook = fresh
            self._fresh_until = self._clock() + _LIFETIME
        return self._hook

    async def aclose(self) -> None:
        """Close the hook's client."""
        if self._hook is not None:
            await self._hook.aclose()
            self._hook = None
