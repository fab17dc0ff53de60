"""Hooks of a connection from the environment, with prepared answers instead of a network where a test needs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from gateway.exchange import Script
from hooks.hook_without_pauses import HookWithoutPauses

from airflow_provider_apimart.gateway.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from airflow_provider_apimart.hooks.apimart import ApimartHook

API_KEY = "sk-0123456789abcdefghijklmnopqrstuvwxyz"


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
        return HookWithoutPauses(transport=script), script

    return make


@pytest.fixture
def image_request() -> ImageRequest:
    return ImageRequest(prompt="An orange cat on a windowsill")
