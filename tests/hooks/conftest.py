"""Hooks of a connection from the environment, with prepared answers instead of a network where a test needs them."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import Script

from airflow_provider_apimart.gateway.client import AsyncGatewayClient, GatewayClient
from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

API_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"


class HookWithoutPauses(ApimartHook):
    """The hook, with clients that send again at once."""

    @cached_property
    def _client(self) -> GatewayClient:
        return GatewayClient(self.settings, transport=self._transport, sleep=lambda _: None)

    async def get_async_conn(self) -> AsyncGatewayClient:
        async def no_pause(_: float) -> None:
            return

        if self._async_client is None:
            self._async_client = AsyncGatewayClient(self.settings, transport=self._async_transport, sleep=no_pause)
        return self._async_client


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the default connection, as the JSON that Airflow reads from the environment."""

    def define(**fields: Any) -> None:
        connection = {"conn_type": "apimart", "password": API_KEY, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))

    define()
    return define


@pytest.fixture
def scripted(connect: Callable[..., None]) -> Callable[..., tuple[ApimartHook, Script]]:
    """Make a hook that gets prepared answers."""
    del connect

    def make(*answers: httpx.Response | Exception) -> tuple[ApimartHook, Script]:
        script = Script(*answers)
        return HookWithoutPauses(transport=script, async_transport=script), script

    return make


@pytest.fixture
def image_request() -> ImageRequest:
    return ImageRequest(prompt="An orange cat on a windowsill")
