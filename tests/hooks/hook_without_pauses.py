"""The hook in a time of its own."""

from __future__ import annotations

from functools import cached_property

from gateway.clock import Clock

from airflow_provider_apimart.gateway.client import AsyncGatewayClient, GatewayClient
from airflow_provider_apimart.gateway.throttle import Pace
from airflow_provider_apimart.hooks.apimart import ApimartHook

__all__ = ["HookWithoutPauses"]


class HookWithoutPauses(ApimartHook):
    """The hook, with clients whose pauses pass at once."""

    @cached_property
    def clock(self) -> Clock:
        return Clock()

    @cached_property
    def pace(self) -> Pace:
        return Pace(self.settings, clock=self.clock)

    @cached_property
    def _client(self) -> GatewayClient:
        return GatewayClient(
            self.settings, transport=self._transport, sleep=self.clock.sleep, pace=self.pace, notify=self._notify
        )

    def _make_async_client(self) -> AsyncGatewayClient:
        return AsyncGatewayClient(
            self.settings,
            transport=self._async_transport,
            sleep=self.clock.async_sleep,
            pace=self.pace,
            notify=self._notify,
        )
