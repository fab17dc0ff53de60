"""The connection of a poller that lives for days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.exceptions import AirflowNotFoundException
from triggers.polling import ConnectionStore
from triggers.task_gateway import TaskGateway

from airflow_provider_apimart.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_apimart.triggers._connection import RenewedHook

LIFETIME = 300


@pytest.fixture
def store() -> ConnectionStore:
    return ConnectionStore(TaskGateway())


@pytest.fixture
def connection(store: ConnectionStore) -> RenewedHook:
    return store.renewed_hook()


async def test_the_connection_is_looked_up_once_while_it_is_fresh(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    assert connection.is_stale

    first = await connection.get()
    store.clock.seconds = LIFETIME - 1

    assert await connection.get() is first
    assert not connection.is_stale
    assert store.looked_up == 1


async def test_the_connection_is_looked_up_again_after_its_lifetime(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    await connection.get()

    store.clock.seconds = LIFETIME
    assert connection.is_stale
    await connection.get()

    assert store.looked_up == 2
    assert not connection.is_stale
    store.clock.seconds = 2 * LIFETIME
    assert connection.is_stale


async def test_a_connection_that_has_not_changed_keeps_its_client(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await connection.get()
    client = await first.get_async_conn()
    store.clock.seconds = LIFETIME

    second = await connection.get()

    assert second is first
    assert await second.get_async_conn() is client
    assert store.gateway.times_closed == 0


@pytest.mark.parametrize("changed", ["api_key", "extra"])
async def test_what_has_changed_counts_from_the_next_look_up_on(
    store: ConnectionStore, connection: RenewedHook, changed: str
) -> None:
    first = await connection.get()
    await first.get_async_conn()
    store.clock.seconds = LIFETIME
    setattr(store, changed, {"api_key": "sk-second", "extra": {"timeout": 5}}[changed])

    second = await connection.get()

    assert second is not first
    assert (second.settings.api_key, second.settings.timeout) == (
        ("sk-second", 30) if changed == "api_key" else ("sk-first", 5)
    )
    assert store.gateway.times_closed == 1, "the old client"


async def test_a_connection_that_is_distrusted_is_looked_up_before_its_time(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await connection.get()

    connection.distrust()

    assert connection.is_stale
    assert await connection.get() is first
    assert store.looked_up == 2
    assert not connection.is_stale


@pytest.mark.parametrize("failure", [AirflowNotFoundException("gone"), RuntimeError("away"), ConfigurationError("no")])
async def test_a_later_look_up_that_fails_leaves_the_hook_as_it_was(
    store: ConnectionStore, connection: RenewedHook, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    first = await connection.get()
    client = await first.get_async_conn()
    store.clock.seconds = LIFETIME
    store.failures.append(failure)

    assert await connection.get() is first
    assert await first.get_async_conn() is client
    assert f"Connection apimart_default stays as it was looked up before: {failure}" in caplog.text

    store.api_key = "sk-second"
    store.clock.seconds = 2 * LIFETIME
    assert (await connection.get()).settings.api_key == "sk-second"


@pytest.mark.parametrize("failure", [AirflowNotFoundException("gone"), RuntimeError("away")])
async def test_a_first_look_up_that_fails_is_raised_and_can_be_tried_again(
    store: ConnectionStore, connection: RenewedHook, failure: Exception
) -> None:
    store.failures.append(failure)

    with pytest.raises(type(failure), match=str(failure)):
        await connection.get()

    assert (await connection.get()).settings.api_key == "sk-first"


async def test_a_connection_that_cannot_be_used_is_raised(store: ConnectionStore, connection: RenewedHook) -> None:
    store.extra = {"timeout": "soon"}

    with pytest.raises(ConfigurationError, match="timeout"):
        await connection.get()


async def test_closing_closes_the_client_and_a_later_look_makes_a_new_one(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await connection.get()
    await first.get_async_conn()

    await connection.aclose()
    await connection.aclose()

    assert store.gateway.times_closed == 1
    assert await connection.get() is not first
    assert store.looked_up == 2
