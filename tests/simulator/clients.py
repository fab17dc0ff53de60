"""Clients of the simulator: one for a single request, and one that waits for an answer in vain."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_apimart.simulator import Simulator

__all__ = ["PATIENCE", "client_that_waits", "fetch"]

#: Seconds after which a test gives up.
PATIENCE = 300


def fetch(url: str, **headers: str) -> httpx.Response:
    """Ask over a connection of its own, without a key unless one is among the headers."""
    return httpx.get(url, headers=headers, trust_env=False, timeout=PATIENCE)


@asynccontextmanager
async def client_that_waits(simulator: Simulator, **headers: str) -> AsyncIterator[None]:
    """A client whose first submit was accepted, and not answered until it gives up at the end."""
    url, body = f"{simulator.url}/v1/images/generations", {"model": "gpt-image-2", "prompt": "a red fox"}
    sent = {"Authorization": "Bearer sk-test", **headers}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        answer = asyncio.create_task(client.post(url, json=body, headers=sent))
        while not simulator.tasks():
            await asyncio.wait([answer], timeout=0.01)
            assert not answer.done()
        yield
        answer.cancel()
        await asyncio.wait([answer])
