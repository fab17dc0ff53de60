"""What waits, and what it waits for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from triggers.polling import Polling

from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the default connection."""

    def define(**fields: Any) -> None:
        connection = {"conn_type": "apimart", "password": "sk-any", **fields}
        monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))

    return define


@pytest.fixture
def buy(apimart_connection: str) -> Callable[..., list[str]]:
    """Buy some pictures from the simulator and return the ids of their tasks."""

    def submit(count: int = 1) -> list[str]:
        with ApimartHook(apimart_connection) as hook:
            submissions = [hook.submit(ImageRequest(prompt=f"picture {number}")) for number in range(count)]
        return [task.task_id for submission in submissions for task in submission.tasks]

    return submit


@pytest.fixture
async def polling() -> AsyncIterator[Polling]:
    """A poller of a gateway in this process."""
    polling = Polling()
    yield polling
    await polling.poller.aclose()
