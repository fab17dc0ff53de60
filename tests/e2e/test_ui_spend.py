"""The page about money, in a real browser, beside the gateway's own count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from airflow_provider_apimart.plugins.web.rendering import dollars
from airflow_provider_apimart.simulator import SimulatorSettings

if TYPE_CHECKING:
    from e2e.examples import Examples
    from e2e.visitors import Visitors
    from playwright.sync_api import FrameLocator
    from services.airflow import AirflowComponents
    from services.browser import Visitor
    from services.fab import FabApiServer

    from airflow_provider_apimart.simulator import Simulator

PAGE = "APIMart spend"
READABLE = "apimart_scheduled_picture"


def open_page(visitor: Visitor) -> FrameLocator:
    """Open the page from the menu, and choose days that hold all of it, whatever time it is."""
    visitor.open("/plugin/apimart-spend")
    frame = visitor.plugin(PAGE)
    today = datetime.now(UTC).date()
    frame.get_by_label("From", exact=True).fill((today - timedelta(days=1)).isoformat())
    frame.get_by_role("button", name="Show", exact=True).click()
    expect(frame.locator("#sum-4")).to_contain_text((today - timedelta(days=1)).isoformat())
    return frame


def figures(frame: FrameLocator, row: str) -> list[str]:
    return frame.locator(row).locator("td").all_inner_texts()


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("username", ["admin", "viewer"])
def test_the_total_is_what_the_gateway_has_charged(visitors: Visitors, gateway: Simulator, username: str) -> None:
    frame = open_page(visitors.sign_in(username))

    cost, pictures, _ = figures(frame, "#sum-4")

    stats = gateway.stats()
    assert cost == dollars(stats["cost"])
    assert int(pictures) == stats["submits"]["accepted"]


@pytest.mark.usefixtures("examples")
def test_the_chart_is_drawn_from_the_figures_below_it(visitors: Visitors) -> None:
    visitor = visitors.sign_in("admin")
    frame = open_page(visitor)

    canvas = frame.locator("#chart canvas")
    expect(canvas).to_be_visible()
    colours = canvas.evaluate(
        """canvas => {
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const colours = Array.from({length: pixels.length / 4}, (_, i) => pixels.slice(4 * i, 4 * i + 3).join());
            return new Set(colours).size;
        }"""
    )
    assert colours > 5
    visitor.screenshot("spend")
    visitor.choose_appearance("Dark Mode")
    visitor.screenshot("spend-dark")


def test_the_figures_of_one_dag_are_a_click_away(visitors: Visitors, examples: Examples) -> None:
    frame = open_page(visitors.sign_in("viewer"))

    frame.get_by_role("link", name=examples.taskflow.dag_id, exact=True).click()

    expect(frame.get_by_role("heading", name=f"Spend of {examples.taskflow.dag_id}")).to_be_visible()
    assert figures(frame, "#sum-4")[1] == "6"


@pytest.mark.usefixtures("examples")
def test_the_balance_is_told_to_those_who_may_read_the_connection(visitors: Visitors, gateway: Simulator) -> None:
    button = "Show balance of apimart_default"
    admin = open_page(visitors.sign_in("admin"))

    admin.get_by_role("button", name=button).click()

    expect(admin.locator(".balance output")).to_contain_text(
        f"{SimulatorSettings().balance - gateway.stats()['cost']:,.2f} left"
    )
    viewer = open_page(visitors.sign_in("viewer"))
    expect(viewer.get_by_role("button", name=button)).to_have_count(0)


def test_behind_fab_one_sees_the_money_of_the_dags_that_one_may_read(
    visitors: Visitors, examples: Examples, airflow: AirflowComponents, fab: FabApiServer
) -> None:
    fab.add_reader("accountant", dag_id=READABLE)
    frame = open_page(visitors.sign_in("accountant", at=fab.home))

    assert figures(frame, "#sum-4")[1] == str(len(airflow.api.dag_runs(READABLE)))
    expect(frame.get_by_role("link", name=examples.mapped.dag_id)).to_have_count(0)
