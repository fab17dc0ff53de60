"""Airflow's own pages in a real browser: what every page of the plugin is shown in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imagesize
import pytest
from e2e.examples import GENERATING
from playwright.sync_api import expect

if TYPE_CHECKING:
    from e2e.visitors import Visitors
    from services.airflow import AirflowComponents
    from services.fab import FabApiServer

READABLE = "apimart_scheduled_picture"


@pytest.fixture
def _dags_are_read(airflow: AirflowComponents) -> None:
    for dag_id in GENERATING:
        airflow.api.wait_for_dag(dag_id)


@pytest.mark.usefixtures("_dags_are_read")
@pytest.mark.parametrize("username", ["admin", "viewer"])
def test_a_user_signs_in_and_sees_the_dags(visitors: Visitors, username: str) -> None:
    visitor = visitors.sign_in(username)

    visitor.open("/dags")

    for dag_id in GENERATING:
        expect(visitor.page.get_by_role("link", name=dag_id, exact=True)).to_be_visible()
    assert imagesize.get(visitor.screenshot(f"dags-as-{username}")) == (1280, 800)


def test_a_viewer_may_look_but_not_start_anything(visitors: Visitors) -> None:
    visitor = visitors.sign_in("viewer")
    dag = f"{visitor.url}/api/v2/dags/{READABLE}"

    looked = visitor.page.request.get(dag)
    started = visitor.page.request.post(f"{dag}/dagRuns", data={"logical_date": None})

    assert (looked.status, started.status) == (200, 403)


def test_who_has_not_signed_in_is_asked_to(visitors: Visitors) -> None:
    visitor = visitors.visit()

    visitor.open("/dags")

    expect(visitor.page.get_by_role("button", name="Sign in")).to_be_visible()
    visitor.page.wait_for_load_state("networkidle")
    assert all("401 (Unauthorized)" in problem for problem in visitor.observation.take_problems())


def test_dark_mode_is_a_class_that_a_user_chooses_and_the_browser_remembers(visitors: Visitors) -> None:
    visitor = visitors.sign_in("admin")
    visitor.open("/")
    html = visitor.page.locator("html")
    expect(html).to_have_class("light")

    visitor.choose_appearance("Dark Mode")

    expect(html).to_have_class("dark")
    visitor.open("/dags")
    expect(html).to_have_class("dark")


def test_dark_mode_follows_the_system_until_a_user_chooses(visitors: Visitors) -> None:
    visitor = visitors.sign_in("viewer", dark=True)

    visitor.open("/")

    expect(visitor.page.locator("html")).to_have_class("dark")


def test_behind_fab_and_under_a_path_a_user_sees_the_one_dag_that_they_may_read(
    visitors: Visitors, fab: FabApiServer
) -> None:
    fab.add_reader("reader", dag_id=READABLE)
    visitor = visitors.sign_in("reader", at=fab.home)

    visitor.open("/dags")

    expect(visitor.page.get_by_role("link", name=READABLE, exact=True)).to_be_visible()
    for dag_id in set(GENERATING) - {READABLE}:
        expect(visitor.page.get_by_role("link", name=dag_id, exact=True)).to_have_count(0)


def test_a_request_that_aims_beyond_this_machine_is_noticed_and_fails(visitors: Visitors) -> None:
    visitor = visitors.visit()
    visitor.open("/auth/login/")

    with (
        visitor.page.expect_event("requestfailed", lambda request: "example.org" in request.url),
        visitor.page.expect_console_message(lambda message: "net::ERR_NAME_NOT_RESOLVED" in message.text),
    ):
        visitor.page.evaluate("fetch('http://example.org/', {mode: 'no-cors'}).catch(() => null)")

    assert visitor.observation.hosts == {"127.0.0.1", "example.org"}
    assert "net::ERR_NAME_NOT_RESOLVED" in " ".join(visitor.observation.take_problems())
    visitor.observation.hosts.remove("example.org")
