"""The hook of a poller that lives for days."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.exceptions import AirflowNotFoundException
from triggers.polling import ConnectionStore
from triggers.task_gateway import TaskGateway

from airflow_provider_apimart.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_apimart.hooks.apimart import ApimartHook
    from airflow_provider_apimart.triggers.connection import RenewedHook

LIFETIME = 300


@pytest.fixture
def store() -> ConnectionStore:
    return ConnectionStore(TaskGateway())


@pytest.fixture
def connection(store: ConnectionStore) -> RenewedHook:
    return store.renewed_hook()


async def renewed(connection: RenewedHook) -> ApimartHook:
    """Return the hook after a look-up, and have it open a client."""
    await connection.renew()
    hook = connection.current
    assert hook is not None
    await hook.aget_task("task_000")
    return hook


async def test_a_connection_is_fresh_for_its_lifetime(store: ConnectionStore, connection: RenewedHook) -> None:
    assert connection.is_stale
    assert connection.current is None

    await renewed(connection)
    store.clock.seconds = LIFETIME - 1
    assert not connection.is_stale

    store.clock.seconds = LIFETIME
    assert connection.is_stale


async def test_a_connection_that_has_not_changed_keeps_its_client(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await renewed(connection)
    store.clock.seconds = LIFETIME

    assert await renewed(connection) is first
    assert store.gateway.times_closed == 0
    assert store.looked_up == 2


@pytest.mark.parametrize("changed", ["api_key", "extra"])
async def test_what_has_changed_counts_from_the_next_look_up_on(
    store: ConnectionStore, connection: RenewedHook, changed: str
) -> None:
    first = await renewed(connection)
    setattr(store, changed, {"api_key": "sk-second", "extra": {"timeout": 5}}[changed])

    second = await renewed(connection)

    assert second is not first
    assert (second.settings.api_key, second.settings.timeout) == (
        ("sk-second", 30) if changed == "api_key" else ("sk-first", 5)
    )
    assert store.gateway.times_closed == 1, "the old client"


async def test_a_hook_that_was_replaced_is_closed_when_its_last_request_has_ended(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await renewed(connection)
    async with connection.lease(first):
        async with connection.lease(first):
            store.api_key = "sk-second"
            await renewed(connection)
            assert store.gateway.times_closed == 0
        assert store.gateway.times_closed == 0

    assert store.gateway.times_closed == 1


async def test_a_connection_that_is_distrusted_is_looked_up_at_once_but_not_all_the_time(
    connection: RenewedHook, store: ConnectionStore
) -> None:
    await renewed(connection)
    connection.distrust()
    assert connection.is_stale

    await renewed(connection)
    connection.distrust()
    assert connection.seconds_until_stale == 10

    store.clock.seconds = 100
    connection.distrust()
    assert connection.is_stale


@pytest.mark.parametrize("failure", [AirflowNotFoundException("gone"), RuntimeError("away"), ConfigurationError("no")])
async def test_a_later_look_up_that_fails_leaves_the_hook_as_it_was_and_is_tried_again_soon(
    store: ConnectionStore, connection: RenewedHook, failure: Exception
) -> None:
    first = await renewed(connection)
    store.clock.seconds = LIFETIME
    store.failures.append(failure)

    with pytest.raises(type(failure)):
        await connection.renew()

    assert connection.current is first
    assert connection.seconds_until_stale == 10
    store.api_key = "sk-second"
    assert (await renewed(connection)).settings.api_key == "sk-second"


async def test_a_distrusted_connection_that_cannot_be_looked_up_is_not_looked_up_at_every_answer(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    await renewed(connection)
    connection.distrust()
    store.failures.append(RuntimeError("away"))
    with pytest.raises(RuntimeError):
        await connection.renew()

    connection.distrust()

    assert connection.seconds_until_stale == 10


@pytest.mark.parametrize("failure", [AirflowNotFoundException("gone"), RuntimeError("away"), ConfigurationError("no")])
async def test_a_first_look_up_that_fails_is_raised_and_due_again_after_a_growing_pause(
    store: ConnectionStore, connection: RenewedHook, failure: Exception
) -> None:
    pauses = []
    store.failures += [failure] * 3
    for _ in range(3):
        with pytest.raises(type(failure), match=str(failure)):
            await connection.renew()
        pauses.append(connection.seconds_until_stale)

    assert pauses == [1, 2, 4]
    assert (await renewed(connection)).settings.api_key == "sk-first"


async def test_a_connection_that_cannot_be_used_is_raised(store: ConnectionStore, connection: RenewedHook) -> None:
    store.extra = {"timeout": "soon"}

    with pytest.raises(ConfigurationError, match="timeout"):
        await connection.renew()


async def test_closing_closes_the_client_and_a_later_look_up_makes_a_new_one(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    first = await renewed(connection)

    await connection.aclose()
    await connection.aclose()

    assert store.gateway.times_closed == 1
    assert connection.is_stale
    assert await renewed(connection) is not first


async def test_a_client_that_cannot_be_closed_properly_harms_nobody(
    store: ConnectionStore, connection: RenewedHook
) -> None:
    await renewed(connection)
    store.gateway.close_error = OSError("TLS shutdown")

    await connection.aclose()

    assert connection.current is None
