"""The tabs with the pictures, in a real browser, of runs that a real Airflow has made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest
from e2e.deferral import wait_until_deferred
from e2e.examples import BUCKET
from playwright.sync_api import expect

if TYPE_CHECKING:
    from e2e.examples import Clock, Examples
    from e2e.visitors import Visitors
    from playwright.sync_api import FrameLocator, Locator
    from services.airflow import AirflowComponents
    from services.browser import Visitor
    from services.dag_run import DagRun
    from services.fab import FabApiServer


TAB = "Images"
READABLE = "apimart_scheduled_picture"


def of_dag(run: DagRun) -> str:
    return f"/dags/{run.dag_id}/plugin/apimart-images-dag"


def of_run(run: DagRun) -> str:
    return f"/dags/{run.dag_id}/runs/{run.run_id}/plugin/apimart-images-run"


def of_task(run: DagRun, task_id: str, map_index: int | None = None) -> str:
    mapped = "" if map_index is None else f"/mapped/{map_index}"
    return f"/dags/{run.dag_id}/runs/{run.run_id}/tasks/{task_id}{mapped}/plugin/apimart-images"


def open_tab(visitor: Visitor, path: str) -> FrameLocator:
    visitor.open(path)
    frame = visitor.plugin(TAB)
    expect(frame.locator("main")).to_be_visible()
    return frame


def widths(frame: FrameLocator, count: int) -> list[int]:
    """Return how wide the pictures of a page really are, when all are loaded."""
    pictures = frame.locator("main img")
    expect(pictures).to_have_count(count)
    return [loaded_width(picture) for picture in pictures.all()]


def loaded_width(picture: Locator) -> int:
    picture.scroll_into_view_if_needed()
    width: int = picture.evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    return width


def take_picture(visitor: Visitor, frame: FrameLocator, name: str) -> None:
    """Take a picture of the top of a gallery."""
    frame.get_by_role("searchbox", name="Text").scroll_into_view_if_needed()
    visitor.screenshot(name)


@pytest.mark.usefixtures("examples")
def test_somebody_starts_a_dag_and_watches_its_picture_come(
    visitors: Visitors, airflow: AirflowComponents, clock: Clock
) -> None:
    visitor = visitors.sign_in("admin")
    visitor.open(f"/dags/{READABLE}")
    visitor.page.get_by_role("button", name="Trigger").first.click()
    visitor.page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    visitor.page.wait_for_url("**/runs/**")
    run = airflow.api.dag_runs(READABLE)[-1]
    assert run.run_id in unquote(visitor.page.url)
    wait_until_deferred(airflow, run)

    frame = open_tab(visitor, of_run(run))
    expect(frame.locator("progress")).to_be_visible()
    visitor.screenshot("generating")
    page = frame.locator("body")
    page.evaluate("body => { body.isTheSame = true; }")
    clock.advance(600)
    run.wait(while_waiting=airflow.require_alive)

    # It comes into the page that is there, in which whoever reads or hears it keeps their place.
    assert widths(frame, 1)[0] > 0
    assert page.evaluate("body => body.isTheSame")
    expect(frame.get_by_role("checkbox")).to_be_hidden()


@pytest.mark.usefixtures("examples")
def test_whoever_is_disturbed_by_what_is_new_can_stop_it(
    visitors: Visitors, airflow: AirflowComponents, clock: Clock
) -> None:
    run = airflow.api.trigger(READABLE)
    wait_until_deferred(airflow, run)
    visitor = visitors.sign_in("viewer")
    visitor.page.clock.install()
    visitor.open(f"/apimart/gallery?dag_id={run.dag_id}&run_id={quote(run.run_id)}")
    switch = visitor.page.get_by_role("checkbox", name="Show what is new")
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))

    switch.uncheck()
    visitor.page.clock.run_for(60_000)
    assert asked == []

    switch.check()
    with visitor.page.expect_request("**/apimart/gallery?*"):
        visitor.page.clock.run_for(15_000)
    clock.advance(600)
    run.wait(while_waiting=airflow.require_alive)


@pytest.mark.parametrize("username", ["admin", "viewer"])
def test_each_tab_shows_the_pictures_themselves(visitors: Visitors, examples: Examples, username: str) -> None:
    visitor = visitors.sign_in(username)
    mapped, scheduled, dataset = examples.mapped, examples.scheduled, examples.taskflow

    for path, count in (
        (of_dag(mapped), 12),
        (of_run(mapped), 12),
        (of_task(mapped, "generate", 3), 1),
        (of_task(mapped, "copy_to_s3"), 12),
        (of_task(scheduled, "generate"), 1),
        (of_run(dataset), 6),
        (of_task(dataset, "posters"), 6),
    ):
        frame = open_tab(visitor, path)
        assert all(width > 0 for width in widths(frame, count)), path

    frame = open_tab(visitor, of_run(mapped))
    widths(frame, 12)
    take_picture(visitor, frame, f"gallery-as-{username}")


def test_somebody_looks_for_a_picture_opens_it_and_goes_back(visitors: Visitors, examples: Examples) -> None:
    visitor = visitors.sign_in("admin")
    frame = open_tab(visitor, of_run(examples.mapped))
    prompts = frame.locator(".prompt").all_inner_texts()
    wanted = prompts[7]

    frame.get_by_role("searchbox", name="Text").fill(wanted)
    frame.get_by_role("button", name="Filter").click()
    expect(frame.locator(".card")).to_have_count(prompts.count(wanted))
    frame.get_by_role("link", name=wanted).first.click()

    expect(frame.get_by_role("heading", name=wanted)).to_be_visible()
    shown = frame.locator("article img")
    assert loaded_width(shown) >= 512
    for fact in ("S3 address", "Gateway task", "Cost", "Request", "Took"):
        expect(frame.locator("dt", has_text=fact)).to_be_visible()
    expect(frame.locator("#address")).to_have_text(re.compile(f"^s3://{BUCKET}/products/"))
    visitor.screenshot("picture")

    frame.get_by_role("link", name="Back to the pictures").click()
    expect(frame.get_by_role("searchbox", name="Text")).to_have_value(wanted)
    frame.get_by_role("link", name="Show all").click()
    expect(frame.locator(".card")).to_have_count(12)


def test_who_is_asked_to_approve_pictures_sees_them(visitors: Visitors, examples: Examples) -> None:
    run = examples.approved
    visitor = visitors.sign_in("admin")
    visitor.open(f"/dags/{run.dag_id}/runs/{run.run_id}/tasks/approve/required_actions")

    pictures = visitor.page.locator("img[src*='/apimart/image']")

    expect(pictures).to_have_count(2)
    assert all(loaded_width(picture) > 0 for picture in pictures.all())
    expect(visitor.page.get_by_text("0.0170 USD")).to_be_visible()
    visitor.screenshot("approval")


def test_a_status_for_which_there_is_nothing_says_so(visitors: Visitors, examples: Examples) -> None:
    visitor = visitors.sign_in("viewer")
    frame = open_tab(visitor, of_run(examples.mapped))

    frame.get_by_label("Status").select_option("Failed")
    frame.get_by_role("button", name="Filter").click()

    expect(frame.get_by_text("Nothing matches.")).to_be_visible()


def test_a_task_that_buys_nothing_gets_a_quiet_page(visitors: Visitors, examples: Examples) -> None:
    visitor = visitors.sign_in("viewer")
    frame = open_tab(visitor, of_task(examples.mapped, "read_prompts"))

    expect(frame.get_by_role("heading", name="No APIMart images here")).to_be_visible()


def test_the_keyboard_is_enough(visitors: Visitors, examples: Examples) -> None:
    visitor = visitors.sign_in("admin")
    frame = open_tab(visitor, of_run(examples.mapped))

    frame.get_by_role("searchbox", name="Text").focus()
    for _ in range(3):
        visitor.page.keyboard.press("Tab")
    focused = frame.locator(":focus")
    expect(focused).to_have_attribute("href", re.compile("/apimart/picture"))
    visitor.page.keyboard.press("Enter")

    expect(frame.get_by_role("link", name="Back to the pictures")).to_be_visible()


def test_the_page_follows_airflows_dark_mode(visitors: Visitors, examples: Examples) -> None:
    visitor = visitors.sign_in("admin")
    frame = open_tab(visitor, of_run(examples.mapped))
    body = frame.locator("body")
    expect(body).to_have_css("color", "rgb(24, 24, 27)")

    visitor.choose_appearance("Dark Mode")

    expect(body).to_have_css("color", "rgb(244, 244, 245)")
    widths(frame, 12)
    take_picture(visitor, frame, "gallery-dark")


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("page", ["gallery?dag_id=apimart_mapped_prompts", "spend"])
def test_nothing_is_cut_off_on_a_narrow_screen(visitors: Visitors, page: str) -> None:
    visitor = visitors.sign_in("admin")
    visitor.page.set_viewport_size({"width": 390, "height": 844})
    visitor.open(f"/apimart/{page}")

    overflow = visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")

    assert overflow <= 0


def test_what_one_may_not_read_in_airflow_is_not_shown_either(
    visitors: Visitors, examples: Examples, fab: FabApiServer
) -> None:
    name = "reader-of-one-dag"
    fab.add_reader(name, dag_id=READABLE)
    reader = visitors.sign_in(name, at=fab.home)

    frame = open_tab(reader, of_run(examples.scheduled))
    assert widths(frame, 1)[0] > 0

    foreign = f"{reader.url}/apimart/gallery?dag_id={examples.mapped.dag_id}"
    answer = reader.page.request.get(foreign)
    assert answer.status == 403
    assert "lighthouse" not in answer.text()

    stranger = visitors.visit()
    for path in ("gallery?dag_id=x", "spend", "static/style.css"):
        assert stranger.page.request.get(f"{stranger.url}/apimart/{path}").status == 401
