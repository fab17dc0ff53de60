from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi import HTTPException, Request
from plugins.people import AuthManagerByDag, token_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from plugins.database import Database

    Client = httpx.AsyncClient

GALLERY = "/apimart/gallery?dag_id=posters"


@pytest.fixture
def renewals(database: Database) -> list[str]:
    """Whose session Airflow wanted to renew, each time; there is a DAG ``posters``."""
    database.add_run("posters")
    AuthManagerByDag.renewals.clear()
    return AuthManagerByDag.renewals


async def test_whatever_airflow_raises_is_an_answer() -> None:
    from airflow_provider_apimart.plugins.lazy_app import AIRFLOW
    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

    async def broken(*_: Any) -> None:
        raise RuntimeError("the database is on fire")

    async with AirflowApi(Request({"type": "http", "headers": [], AIRFLOW: broken})) as api:
        with pytest.raises(HTTPException) as caught:
            await api.get("/dags")

    assert caught.value.status_code == 502
    assert caught.value.detail == "Airflow's API answered /dags with HTTP 500."


async def test_a_page_renews_the_session_once_however_often_it_asks(admin: Client, renewals: list[str]) -> None:
    answer = await admin.get(GALLERY)

    assert answer.status_code == 200
    assert renewals == ["admin"]


async def test_a_page_is_shown_to_whom_the_renewed_session_stands_for(
    signed_in: Callable[[str], Client], renewals: list[str]
) -> None:
    client = signed_in("returner")

    answer = await client.get(GALLERY)

    assert answer.status_code == 200
    assert renewals == ["returner"]
    assert "_token=" in answer.headers["set-cookie"]


@pytest.mark.parametrize(("who", "status"), [("viewer", 200), ("stranger", 403)])
async def test_a_token_in_the_header_counts_and_not_the_session(
    signed_in: Callable[[str | None], Client], renewals: list[str], who: str, status: int
) -> None:
    for client in (signed_in(None), signed_in("admin")):
        answer = await client.get(GALLERY, headers={"Authorization": f"bearer {token_of(who)}"})
        assert answer.status_code == status
    assert renewals == ["admin"], "the session that came along, by the page's own request"


async def test_what_a_proxy_in_front_of_airflow_wants_to_know_is_no_login(
    signed_in: Callable[[str | None], Client], renewals: list[str]
) -> None:
    basic = {"Authorization": "Basic dXNlcjp3b3Jk"}

    assert (await signed_in("viewer").get(GALLERY, headers=basic)).status_code == 200
    assert (await signed_in(None).get(GALLERY, headers=basic)).status_code == 401
    assert renewals == ["viewer"]


@pytest.mark.parametrize("who", ["viewer", "stranger"])
async def test_other_cookies_may_hold_anything(
    signed_in: Callable[[str | None], Client], renewals: list[str], who: str
) -> None:
    cookie = b"name=J\xc3\xbcrgen \xff; _token=" + token_of(who).encode()

    answer = await signed_in(None).get(GALLERY, headers=[(b"cookie", cookie)])

    assert answer.status_code == (200 if who == "viewer" else 403)
    assert renewals == [who]
