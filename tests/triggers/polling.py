"""A poller of a gateway in this process, whose connection and time belong to the test."""

from __future__ import annotations

import asyncio
import json
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection
from gateway.clock import Clock
from triggers.task_gateway import TaskGateway

from airflow_provider_apimart.gateway.client import GatewayClient
from airflow_provider_apimart.gateway.polling import BatchEndpoint
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.triggers.connection import RenewedHook
from airflow_provider_apimart.triggers.poller import TaskPoller
from airflow_provider_apimart.triggers.waiter import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CONN_ID", "ConnectionStore", "Polling", "ids"]

CONN_ID = "apimart_default"


def ids(count: int) -> list[str]:
    return [f"task_{number:03}" for number in range(count)]


class ConnectionStore:
    """
    Where Airflow keeps the connection.

    :param gateway: where hooks of the connection send their requests.

    ``failures`` are what the next look-ups raise; ``looked_up`` counts them all.
    """

    def __init__(self, gateway: TaskGateway) -> None:
        self.gateway = gateway
        self.clock = Clock()
        self.api_key = "sk-first"
        self.extra: dict[str, Any] = {}
        self.failures: list[Exception] = []
        self.may_answer: asyncio.Event | None = None
        self.looked_up = 0
        self.warnings: list[str] = []

    def look_up(self, conn_id: str) -> Connection:
        """Return the connection as it is now."""
        self.looked_up += 1
        if self.failures:
            raise self.failures.pop(0)
        return Connection(conn_id=conn_id, conn_type="apimart", password=self.api_key, extra=json.dumps(self.extra))

    def renewed_hook(self) -> RenewedHook:
        """Return a hook that looks its connection up here."""
        return RenewedHook(CONN_ID, make_hook=lambda conn_id: _StoredHook(conn_id, self), clock=self.clock)


class Polling:
    """
    A poller and those who wait for it. Its looks and pauses are planned in the time of ``clock``, which stands still.

    :param linger: seconds for which the poller goes on without anybody who waits.
    """

    def __init__(self, *, linger: float = 60.0) -> None:
        self.gateway = TaskGateway()
        self.store = ConnectionStore(self.gateway)
        self.clock = self.store.clock
        self.poller = TaskPoller(
            CONN_ID, connection=self.store.renewed_hook(), linger=linger, tick=0.05, clock=self.clock
        )

    def wait_for(self, *task_ids: str, warn: Callable[[str], None] = lambda _: None, first_look: float = 0.0) -> Waiter:
        """Register somebody who waits for tasks, and wants them looked at at every tick."""
        waiter = Waiter(task_ids, warn)
        self.poller.register(waiter, first_look=first_look, poll_interval=0.01)
        return waiter

    async def ended(self, *waiters: Waiter, advancing: bool = False) -> list[BaseException | None]:
        """
        Return how each wait ended: with an error or without.

        :param advancing: whether the poller's clock goes on meanwhile.
        """
        if advancing:
            await self.let_pass(3600, until=lambda: all(waiter.done.done() for waiter in waiters))
        async with asyncio.timeout(30):
            return await asyncio.gather(*(waiter.done for waiter in waiters), return_exceptions=True)

    async def let_pass(self, seconds: float, *, until: Callable[[], object]) -> None:
        """Move the poller's clock on in small steps until something is true, for as long as such an hour may last."""
        step = seconds / 100
        give_up_at = time.monotonic() + 30
        while not until():
            assert time.monotonic() < give_up_at
            self.clock.seconds += step
            await asyncio.sleep(0.06)

    async def until_asked_again(self, task_id: str) -> None:
        """Let time pass until a task was queried twice more."""
        asked = self.gateway.times_asked[task_id]
        await self.until(lambda: self.gateway.times_asked[task_id] >= asked + 2)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until something is true."""
        give_up_at = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.01)

    def is_idle(self) -> bool:
        """Whether nothing is left of anybody's wait."""
        poller = self.poller
        return not (poller._waiters or poller._suspects or len(poller._schedule) or poller._schedule._due)


class _StoredHook(ApimartHook):
    """A hook of the connection in a store, whose clients do not really pause."""

    def __init__(self, conn_id: str, store: ConnectionStore) -> None:
        super().__init__(conn_id, transport=store.gateway)
        self._store = store

    async def aget_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        if self._store.may_answer is not None:
            self._store.looked_up += 1
            await self._store.may_answer.wait()
        return self._store.look_up(conn_id)

    @cached_property
    def batch_endpoint(self) -> BatchEndpoint:
        return BatchEndpoint(
            enabled=self.settings.batch_polling, warn=self._store.warnings.append, clock=self._store.clock
        )

    def _make_client(self) -> GatewayClient:
        clock = Clock()
        return GatewayClient(self.settings, transport=self._transport, clock=clock, sleep=clock.async_sleep)
