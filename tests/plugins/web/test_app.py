from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from plugins.database import Database

ROUTES = {
    "/apimart/gallery": "?dag_id=posters",
    "/apimart/picture": "?dag_id=posters&run_id=run&task_id=copy&uri=s3://bucket/a.png",
    "/apimart/image": "?dag_id=posters&run_id=run&task_id=copy&uri=s3://bucket/a.png",
    "/apimart/spend": "",
    "/apimart/balance": "?conn_id=apimart_default",
    "/apimart/static/{name}": "",
}


def test_every_route_is_among_those_that_are_tested_here() -> None:
    from airflow_provider_apimart.plugins.web.app import create_app

    assert {f"/apimart{route.path}" for route in create_app().routes} == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_no_route_answers_without_a_login(
    signed_in: Callable[[str | None], httpx.AsyncClient], database: Database, route: str, method: str
) -> None:
    database.add_run("posters")
    address = route.format(name="style.css") + ROUTES[route]
    answer = await signed_in(None).request(method, address)
    assert answer.status_code == (401 if method == "GET" else 405)
    assert "posters" not in answer.text


@pytest.mark.parametrize("token", ["", "nonsense", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."])
async def test_a_forged_session_opens_nothing(signed_in: Callable[[str | None], httpx.AsyncClient], token: str) -> None:
    client = signed_in(None)
    for headers in ({"Cookie": f"_token={token}"}, {"Authorization": f"Bearer {token}"}):
        answer = await client.get("/apimart/static/style.css", headers=headers)
        assert answer.status_code in {401, 403}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("who", [None, "admin"])
async def test_every_answer_forbids_what_the_pages_do_not_need(
    signed_in: Callable[[str | None], httpx.AsyncClient], route: str, who: str | None
) -> None:
    answer = await signed_in(who).get(route.format(name="style.css") + ROUTES[route])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private")
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("base-uri") == "'none'"
    assert set(policy) == {"img-src", "style-src", "script-src", "connect-src", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'self'"}


async def test_style_and_scripts_have_their_types(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/apimart/static/style.css")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    answer = await admin.get("/apimart/static/theme.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("name", ["style.css", "theme.js", "chart-4.6.1.umd.min.js"])
async def test_a_file_is_kept_by_the_browser_and_asked_after_for_each_page(admin: httpx.AsyncClient, name: str) -> None:
    first = await admin.get(f"/apimart/static/{name}")
    again = await admin.get(f"/apimart/static/{name}", headers={"If-None-Match": first.headers["etag"]})
    changed = await admin.get(f"/apimart/static/{name}", headers={"If-None-Match": '"of the release before"'})

    assert (first.status_code, again.status_code, changed.status_code) == (200, 304, 200)
    assert again.content == b""
    assert first.content == changed.content
    for answer in (first, again):
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["etag"] == first.headers["etag"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["absent.js", "..%2Fapp.py", "%2e%2e/app.py", "..%2F..%2Fapimart.py"])
async def test_no_other_file_is_served(admin: httpx.AsyncClient, name: str) -> None:
    assert (await admin.get(f"/apimart/static/{name}")).status_code == 404


async def test_an_error_is_a_page_that_says_what_happened(
    signed_in: Callable[[str | None], httpx.AsyncClient],
) -> None:
    answer = await signed_in("stranger").get("/apimart/gallery?dag_id=posters")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "You may not see this in Airflow." in answer.text
