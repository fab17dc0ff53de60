"""The hook in a time of its own."""

from __future__ import annotations

from functools import cached_property

from gateway.clock import Clock

from airflow_provider_apimart.gateway.client import GatewayClient
from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["HookWithoutPauses"]


class HookWithoutPauses(ApimartHook):
    """The hook, with clients whose pauses pass at once."""

    @cached_property
    def clock(self) -> Clock:
        return Clock()

    def _make_client(self) -> GatewayClient:
        return GatewayClient(
            self.settings,
            transport=self._transport,
            clock=self.clock,
            sleep=self.clock.async_sleep,
            notify=lambda message: self.log.info("%s", message),
        )
