from __future__ import annotations

import subprocess
import sys
from typing import Any

#: An Airflow whose way to find out who asks has another name than the one that the pages know.
MOVED = """
import asyncio
import airflow.api_fastapi.core_api.security as security
from airflow_provider_apimart.plugins.lazy_app import LazyApp

del security.get_user
sent = []

async def send(message):
    sent.append(message)

asyncio.run(LazyApp()({"type": "http", "app": None}, None, send))
print(sent[0]["status"], sent[1]["body"].decode())
"""


def test_shows_nothing_to_anybody_where_airflow_authenticates_in_another_way() -> None:
    printed = subprocess.run([sys.executable, "-c", MOVED], capture_output=True, text=True, check=True)
    assert "\n503 The APIMart pages do not work with this release of Airflow." in printed.stdout
    assert "cannot import name 'get_user'" in printed.stdout + printed.stderr


async def test_leaves_alone_what_is_no_request() -> None:
    from airflow_provider_apimart.plugins.lazy_app import LazyApp

    async def send(_: Any) -> None:
        raise AssertionError("nothing is to be said")

    app = LazyApp()
    await app({"type": "lifespan"}, send, send)
    await app({"type": "websocket"}, send, send)
    assert app._app is None
