"""Airflow's own API application in this process, on a real database, and people who may see all of it, or less."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from plugins.database import Database
from plugins.money import TODAY
from plugins.people import AUTH_MANAGER, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import FastAPI


@pytest.fixture(scope="session")
def airflow_app(airflow_database: None) -> Iterator[FastAPI]:  # noqa: ARG001 - it must be there
    os.environ["AIRFLOW__CORE__AUTH_MANAGER"] = AUTH_MANAGER
    from airflow.api_fastapi.app import create_app, purge_cached_app

    from airflow_provider_apimart.plugins.apimart import ApimartPlugin
    from airflow_provider_apimart.plugins.lazy_app import _load
    from airflow_provider_apimart.plugins.web.spend import current_day

    pages = _load()
    # A day for the whole session, in which midnight may pass.
    pages.dependency_overrides[current_day] = lambda: TODAY
    ApimartPlugin.fastapi_apps[0]["app"]._app = pages
    yield create_app(apps="core")
    purge_cached_app()
    del os.environ["AIRFLOW__CORE__AUTH_MANAGER"]


@pytest.fixture
def database(airflow_app: FastAPI) -> Iterator[Database]:  # noqa: ARG001 - Airflow's models are loaded with it
    """Airflow's database, without a DAG run. Plays the part of the tasks."""
    database = Database()
    yield database
    database.clear()


@pytest.fixture
async def signed_in(airflow_app: FastAPI) -> AsyncIterator[Callable[[str | None], httpx.AsyncClient]]:
    """
    A client of the API server for each of: ``admin``, ``viewer``, ``stranger``, who may read the DAG ``theirs`` only,
    ``onlooker``, who may read no XCom, and ``returner``, whose session is due to be renewed.

    For ``None`` it is one of somebody who has not signed in.
    """
    clients: list[httpx.AsyncClient] = []

    def client(name: str | None) -> httpx.AsyncClient:
        made = httpx.AsyncClient(
            transport=httpx.ASGITransport(airflow_app),
            base_url="http://airflow.test",
            # As the browser sends it.
            cookies={"_token": token_of(name)} if name else {},
        )
        clients.append(made)
        return made

    yield client
    for made in clients:
        await made.aclose()


@pytest.fixture
def admin(signed_in: Callable[[str | None], httpx.AsyncClient]) -> httpx.AsyncClient:
    return signed_in("admin")


@pytest.fixture
def queries(airflow_app: FastAPI) -> Iterator[list[str]]:  # noqa: ARG001 - it makes the engine
    """Every statement that is sent to Airflow's database."""
    from airflow.settings import engine
    from sqlalchemy import event

    sent: list[str] = []

    def note(*arguments: Any) -> None:
        sent.append(arguments[2])

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)
