"""
Ways to submit many prompts, each as a function that prepares it and returns what is measured, which gives task ids.

All modules are loaded beforehand: importing has a benchmark of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import uuid
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Submit = Callable[[], list[str]]

__all__ = ["AT_ONCE", "CONTESTANTS"]

_PATH: Final = "/v1/images/generations"
_MODEL: Final = "gpt-image-2"
#: Simultaneous requests of each contestant; of ours it is the connection's default.
AT_ONCE: Final[Mapping[str, int]] = {"ours": 16, "httpx": 1, "requests + threads": 16, "httpx.AsyncClient": 100}


def ours(url: str, prompts: list[str]) -> Submit:  # noqa: ARG001 - the connection says it
    """Return the hook's way."""
    from airflow_provider_apimart.gateway.request import ImageRequest
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    importlib.import_module("airflow_provider_apimart.gateway.client")
    purchases = [(ImageRequest(prompt=prompt, model=_MODEL), str(uuid.uuid4())) for prompt in prompts]

    async def submit() -> list[str]:
        async with ApimartHook() as hook:
            submissions = await asyncio.gather(
                *(hook.asubmit(request, idempotency_key=key) for request, key in purchases)
            )
        return [submission.tasks[0].task_id for submission in submissions]

    return lambda: asyncio.run(submit())


def httpx_one_by_one(url: str, prompts: list[str]) -> Submit:
    """Return a loop over one connection."""
    import httpx

    def submit() -> list[str]:
        with httpx.Client(base_url=url) as client:
            return [_task_id(client.post(_PATH, **_purchase(prompt))) for prompt in prompts]

    return submit


def requests_in_threads(url: str, prompts: list[str]) -> Submit:
    """Return threads that share a session."""
    from concurrent.futures import ThreadPoolExecutor

    import requests
    from requests.adapters import HTTPAdapter

    at_once = AT_ONCE["requests + threads"]

    def submit() -> list[str]:
        with requests.Session() as session, ThreadPoolExecutor(at_once) as pool:
            session.mount("https://", HTTPAdapter(pool_maxsize=at_once))
            return list(pool.map(lambda prompt: _task_id(session.post(f"{url}{_PATH}", **_purchase(prompt))), prompts))

    return submit


def httpx_async(url: str, prompts: list[str]) -> Submit:
    """Return one event loop with as many connections as httpx allows by default."""
    import httpx

    at_once = AT_ONCE["httpx.AsyncClient"]

    async def submit() -> list[str]:
        slots = asyncio.Semaphore(at_once)
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
        async with httpx.AsyncClient(base_url=url, limits=limits) as client:

            async def submit_one(prompt: str) -> str:
                async with slots:
                    return _task_id(await client.post(_PATH, **_purchase(prompt)))

            return await asyncio.gather(*map(submit_one, prompts))

    return lambda: asyncio.run(submit())


def _purchase(prompt: str) -> dict[str, Any]:
    headers = {"Authorization": "Bearer sk-benchmark", "Idempotency-Key": str(uuid.uuid4())}
    return {"headers": headers, "json": {"model": _MODEL, "prompt": prompt}}


def _task_id(response: Any) -> str:
    response.raise_for_status()
    return str(response.json()["data"][0]["task_id"])


CONTESTANTS: Final[Mapping[str, Callable[[str, list[str]], Submit]]] = {
    "ours": ours,
    "httpx": httpx_one_by_one,
    "requests + threads": requests_in_threads,
    "httpx.AsyncClient": httpx_async,
}
