from __future__ import annotations

import asyncio
import json
from threading import Event
from typing import TYPE_CHECKING

import pytest
from plugins.money import days_ago, model, reported
from plugins.page import read
from plugins.reports import BOUGHT
from transfers.http_server import Answer, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from plugins.database import Database
    from transfers.http_server import Request

    from airflow_provider_apimart.simulator import Simulator

KEY = "sk-the-key-of-the-account"
BALANCE = {"remain_balance": 1234.5, "used_balance": 7}


class Gateway:
    """
    A gateway that tells balances, or what a test wants.

    :param open: whether it answers at all, for now.
    """

    def __init__(self) -> None:
        self.status = 200
        self.body: object = BALANCE
        self.open = Event()
        self.open.set()
        self.server = HttpServer(self._answer)

    @property
    def calls(self) -> int:
        return len(self.server.requests)

    def _answer(self, request: Request) -> Answer:
        assert request.path == "/v1/balance"
        self.open.wait(30)
        # A gateway that repeats what it was sent is the worst that can be.
        body = json.dumps(self.body).replace("<key>", request.headers["authorization"])
        return Answer.holding(body.encode(), self.status, Connection="close")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    with gateway.server:
        yield gateway


@pytest.fixture
def connection(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, database: Database) -> Iterator[str]:
    """A connection of the environment, which Airflow's API does not know."""
    from airflow_provider_apimart.plugins.web.balance import _QUESTIONS

    database.add_run("posters")
    settings = {"conn_type": "apimart", "host": f"http://127.0.0.1:{gateway.server.port}", "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_PAYING", json.dumps(settings))
    yield "paying"
    _QUESTIONS.clear()


async def ask(client: httpx.AsyncClient, conn_id: str) -> tuple[int, str]:
    """Return the status and the message of an answer, which never holds the key."""
    answer = await client.get("/apimart/balance", params={"conn_id": conn_id})
    assert KEY not in answer.text + str(answer.headers)
    return answer.status_code, answer.json()["message"]


async def test_the_balance_is_told_with_its_time(admin: httpx.AsyncClient, connection: str) -> None:
    answer = await admin.get(f"/apimart/balance?conn_id={connection}")
    assert answer.status_code == 200
    assert answer.json()["message"] == "1,234.50 left"
    assert answer.json()["at"].endswith("+00:00")
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_key_without_a_limit_is_told_as_such(
    admin: httpx.AsyncClient, connection: str, gateway: Gateway
) -> None:
    gateway.body = {"unlimited_quota": True}
    assert await ask(admin, connection) == (200, "No limit")


async def test_the_connection_may_be_one_of_airflows_database(
    admin: httpx.AsyncClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the API server's program sets it.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    stored = {"connection_id": "stored", "conn_type": "apimart", "host": simulator.url, "password": KEY}
    assert (await admin.post("/api/v2/connections", json=stored)).status_code == 201
    status, message = await ask(admin, "stored")
    await admin.delete("/api/v2/connections/stored")
    assert status == 200
    assert message.endswith(" left")


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("stranger", 403)])
async def test_who_may_not_read_the_connection_learns_nothing_and_the_gateway_is_not_asked(
    signed_in: Callable[[str], httpx.AsyncClient], connection: str, gateway: Gateway, who: str, status: int
) -> None:
    assert await ask(signed_in(who), connection) == (status, "You may not see this in Airflow.")
    assert await ask(signed_in("admin"), connection) == (200, "1,234.50 left")
    assert await ask(signed_in(who), connection) == (status, "You may not see this in Airflow.")
    assert gateway.calls == 1


async def test_nobody_gets_an_answer_without_a_login(
    signed_in: Callable[[str | None], httpx.AsyncClient], connection: str, gateway: Gateway
) -> None:
    assert (await signed_in(None).get(f"/apimart/balance?conn_id={connection}")).status_code == 401
    assert gateway.calls == 0


async def test_the_gateway_is_asked_once_a_minute_however_many_people_look(
    admin: httpx.AsyncClient, connection: str, gateway: Gateway
) -> None:
    answers = await asyncio.gather(*(ask(admin, connection) for _ in range(6)))
    assert {*answers, await ask(admin, connection)} == {(200, "1,234.50 left")}
    assert gateway.calls == 1


async def test_a_gateway_that_takes_its_time_is_not_asked_twice_and_its_answer_is_not_lost(
    connection: str, gateway: Gateway
) -> None:
    from airflow_provider_apimart.plugins.web.balance import find_balance

    gateway.open.clear()
    told = await find_balance(connection, patience=0.05)
    assert (told.status, told.message) == (504, "The gateway has not answered yet. Ask again in a minute.")
    gateway.open.set()
    assert (await find_balance(connection)).message == "1,234.50 left"
    assert gateway.calls == 1


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": {"message": "Invalid <key>"}}, "The gateway refuses the connection's key."),
        (404, {"error": {"message": "no /v1/balance for <key>"}}, "This gateway tells no balance."),
        (
            400,
            {"error": {"message": "<key> is strange"}},
            "The gateway did not tell the balance. Is the key right? The API server's log has its words.",
        ),
    ],
)
async def test_an_error_is_told_in_words_of_our_own_and_asked_again_the_next_time(
    admin: httpx.AsyncClient,
    connection: str,
    gateway: Gateway,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: object,
    message: str,
) -> None:
    gateway.status, gateway.body = status, body
    assert await ask(admin, connection) == (502, message)
    assert KEY not in caplog.text
    gateway.status, gateway.body = 200, BALANCE
    assert await ask(admin, connection) == (200, "1,234.50 left")


@pytest.mark.usefixtures("connection")
@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        (
            {"conn_type": "http", "host": "http://127.0.0.1:9", "password": KEY},
            404,
            "This is no connection of type apimart.",
        ),
        (
            {"conn_type": "apimart", "host": "http://127.0.0.1:9", "password": ""},
            502,
            "The connection cannot be used: the API server's log says why.",
        ),
        (None, 404, "The API server finds no connection of this name."),
    ],
)
async def test_what_is_no_usable_connection_is_told_as_such(
    admin: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    gateway: Gateway,
    settings: dict[str, str] | None,
    status: int,
    message: str,
) -> None:
    if settings:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(settings))
    assert await ask(admin, "other") == (status, message)
    assert gateway.calls == 0


@pytest.mark.parametrize("name", ["", ".", "..", "team/paying", "/", "../connections"])
async def test_a_name_that_airflow_cannot_be_asked_for_is_refused_and_not_looked_up(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, gateway: Gateway, name: str
) -> None:
    settings = {"conn_type": "apimart", "host": f"http://127.0.0.1:{gateway.server.port}", "password": KEY}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(settings))
    assert await ask(admin, name) == (404, "Airflow cannot be asked for a connection of such a name.")
    assert gateway.calls == 0


async def test_the_page_offers_it_to_those_who_may_ask_and_asks_nothing_by_itself(
    signed_in: Callable[[str], httpx.AsyncClient], database: Database, connection: str, gateway: Gateway
) -> None:
    extra = reported("a", model(1.0), connection=connection)
    database.add_event("posters", "buy", BOUGHT, extra, at=days_ago(0))
    for who, offered in {"admin": [connection], "viewer": []}.items():
        page = read(await signed_in(who).get("/apimart/spend"))
        assert connection in page.text
        assert [found["value"] for found in page.all("input", name="conn_id")] == offered
    assert gateway.calls == 0
