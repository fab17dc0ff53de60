from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from plugins.money import TODAY, days_ago, model, reported
from plugins.page import read
from plugins.reports import BOUGHT
from plugins.tables import read_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import httpx
    from plugins.database import Database

PROGRESS = {"schema_version": 1, "total": 10, "done": 3, "in_flight": 2, "failed": 0, "spent": 1.25, "currency": "USD"}


class Ledger:
    """Purchases, and the page that sums them up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        for dag_id in ("posters", "shots", "theirs"):
            database.add_run(dag_id)
        self._number = 0

    def buy(
        self,
        *models: dict[str, Any],
        dag_id: str = "posters",
        run_id: str = "run",
        name: str = "",
        at: datetime | None = None,
        told_at: datetime | None = None,
        **extra: Any,
    ) -> None:
        """Report a purchase, by default a new one of today."""
        self._number += 1
        told = reported(name or f"purchase-{self._number}", *models, at=at, **extra)
        self._database.add_event(dag_id, "buy", BOUGHT, told, run_id=run_id, at=told_at or at or days_ago(0))


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    from airflow_provider_apimart.plugins.web.purchase_events import _KEPT

    _KEPT.clear()
    yield Ledger(database)
    _KEPT.clear()


async def tables_of(client: httpx.AsyncClient, **filters: object) -> dict[str, list[list[str]]]:
    """Return the tables of the page, without their titles."""
    answer = await client.get("/apimart/spend", params={name: str(value) for name, value in filters.items()})
    assert answer.status_code == 200, answer.text
    return {name: rows[1:] for name, rows in read_tables(answer.text).items()}


async def costs_of(client: httpx.AsyncClient, **filters: object) -> list[str]:
    """Return what was spent today, in 7 and 30 days, and in the days that are asked for."""
    return [row[1] for row in (await tables_of(client, **filters))["totals"]]


@pytest.mark.usefixtures("ledger")
async def test_an_airflow_without_purchases_says_what_will_be_here(admin: httpx.AsyncClient) -> None:
    page = read(await admin.get("/apimart/spend"))
    assert page.all("section", id="empty")
    assert "No task has bought pictures since" in page.text
    assert "ApimartImageOperator" in page.text
    assert not page.all("canvas")


async def test_the_totals_are_those_of_today_of_7_and_of_30_days(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    for age in (0, 0, 6, 7, 29, 30):
        ledger.buy(model(0.5), at=days_ago(age))
    assert await costs_of(admin) == ["$1.00", "$1.50", "$2.50", "$2.50"]
    assert await costs_of(admin, since=TODAY - timedelta(60)) == ["$1.00", "$1.50", "$2.50", "$3.00"]


async def test_what_a_cleared_task_reports_again_is_not_the_money_of_today(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(2.0), name="same", at=days_ago(10))
    ledger.buy(model(2.0), name="same", at=days_ago(10), told_at=days_ago(0))
    ledger.buy(model(3.0), at=days_ago(45), told_at=days_ago(0))
    assert await costs_of(admin) == ["$0.00", "$0.00", "$2.00", "$2.00"]


async def test_figures_that_grow_count_once(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    for minutes, cost in ((30, 1.0), (20, 2.5), (10, 4.0)):
        ledger.buy(model(cost), name="dataset", told_at=days_ago(0) - timedelta(minutes=minutes))
    assert (await costs_of(admin))[0] == "$4.00"


async def test_costs_that_are_not_known_are_shown_as_such_and_never_as_0(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(1.2, pictures=12, unknown=1), model(None, name="other", unknown=2))
    tables = await tables_of(admin)
    assert tables["totals"][0][1:] == ["$1.20 and 3 of unknown cost", "13", "unknown"]
    assert [row[:2] for row in tables["by-model"]] == [
        ["gpt-image-2", "$1.20 and 1 of unknown cost"],
        ["other", "2 of unknown cost"],
    ]
    assert tables["over-time"][-1] == [
        str(TODAY),
        "$1.20 and 1 of unknown cost",
        "2 of unknown cost",
        "$1.20 and 3 of unknown cost",
    ]


async def test_it_is_said_what_was_bought_by_which_dag_with_which_model_and_connection(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(1.0, pictures=100), dag_id="posters")
    ledger.buy(model(3.0, name="flux", pictures=60), dag_id="shots", connection="second")
    tables = await tables_of(admin)
    assert [row[:4] for row in tables["by-dag"]] == [
        ["shots", "$3.00", "60", "20.0"],
        ["posters", "$1.00", "100", "100.0"],
    ]
    assert [row[:2] for row in tables["by-model"]] == [["flux", "$3.00"], ["gpt-image-2", "$1.00"]]
    assert [row[:2] for row in tables["by-connection"]] == [["second", "$3.00"], ["apimart_default", "$1.00"]]
    assert tables["totals"][0][1:] == ["$4.00", "160", "40.0"]


async def test_the_dearest_runs_come_first_and_lead_to_their_pictures(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    for number in range(12):
        ledger.buy(model(1.0 + number), run_id=f"run-{number}")
    ledger.buy(model(20.0), run_id="run-0")
    answer = await admin.get("/apimart/spend")
    runs = read_tables(answer.text)["dearest"][1:]
    assert [row[:3] for row in runs[:2]] == [["run-0", "posters", "$21.00"], ["run-11", "posters", "$12.00"]]
    assert len(runs) == 10
    assert read(answer).all("a", href="/apimart/gallery?dag_id=posters&run_id=run-0")


@pytest.mark.parametrize(
    ("by", "names"),
    [("model", ["flux", "gpt-image-2"]), ("dag", ["shots", "posters"]), ("connection", ["second", "apimart_default"])],
)
async def test_the_chart_is_made_of_a_table_with_what_was_chosen(
    ledger: Ledger, admin: httpx.AsyncClient, by: str, names: list[str]
) -> None:
    ledger.buy(model(1.0))
    ledger.buy(model(3.0, name="flux"), dag_id="shots", connection="second", at=days_ago(1))
    answer = await admin.get(f"/apimart/spend?by={by}&since={TODAY - timedelta(2)}")
    titles, *rows = read_tables(answer.text)["over-time"]
    assert titles == ["Day", *names, "Total"]
    assert rows == [
        [str(TODAY - timedelta(2)), "$0.00", "$0.00", "$0.00"],
        [str(TODAY - timedelta(1)), "$3.00", "$0.00", "$3.00"],
        [str(TODAY), "$0.00", "$1.00", "$1.00"],
    ]
    page = read(answer)
    assert [found["data-dollars"] for found in page.all("td") if "data-dollars" in found] == [
        "0",
        "0",
        "3.0",
        "0",
        "0",
        "1.0",
    ]
    assert len(page.all("canvas", role="img")) == 1


async def test_one_dag_can_be_chosen(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    ledger.buy(model(1.0))
    ledger.buy(model(3.0), dag_id="shots")
    assert (await costs_of(admin, dag_id="shots"))[0] == "$3.00"
    assert (await costs_of(admin, dag_id=" shots "))[0] == "$3.00"
    page = read(await admin.get("/apimart/spend?dag_id=absent"))
    assert "No task of absent has bought pictures" in page.text


async def test_days_can_be_chosen(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    for age in (0, 40, 50):
        ledger.buy(model(1.0 + age), at=days_ago(age))
    tables = await tables_of(admin, since=TODAY - timedelta(45), until=TODAY - timedelta(35))
    assert [row[1] for row in tables["by-model"]] == ["$41.00"]
    assert [row[2] for row in tables["dearest"]] == ["$41.00"]
    assert len(tables["over-time"]) == 11


async def test_days_without_purchases_are_told_from_an_airflow_without_any(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(1.0), at=days_ago(20))
    page = read(await admin.get(f"/apimart/spend?since={TODAY}"))
    assert "Nothing was bought in these days." in page.text
    assert not page.all("canvas")
    assert (await costs_of(admin, since=TODAY)) == ["$0.00", "$0.00", "$1.00", "$0.00"]


async def test_the_form_keeps_what_was_chosen_and_needs_no_script(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    ledger.buy(model(1.0), dag_id="shots")
    page = read(await admin.get("/apimart/spend?since=2026-01-02&dag_id=shots&by=dag"))
    [form] = page.all("form", **{"class": "filters"})
    assert form == {"class": "filters", "action": "/apimart/spend"}
    assert page.all("input", name="since", value="2026-01-02")
    assert page.all("input", name="dag_id", value="shots")
    assert page.all("option", value="dag", selected="")
    assert page.all("option", value="shots")
    assert all("dag_id=shots" in found["href"] for found in page.all("a") if "since" in found["href"])


async def test_a_stranger_sees_what_their_dag_has_spent_and_nothing_else(
    ledger: Ledger, signed_in: Callable[[str], httpx.AsyncClient]
) -> None:
    ledger.buy(model(5.0), run_id="secret-run", connection="secret-connection")
    ledger.buy(model(1.0), dag_id="theirs")
    stranger = signed_in("stranger")
    assert await costs_of(stranger) == ["$1.00"] * 4
    assert "secret" not in (await stranger.get("/apimart/spend")).text
    assert (await costs_of(signed_in("viewer")))[0] == "$6.00"


async def test_a_dag_that_the_caller_may_not_read_is_refused(
    ledger: Ledger, signed_in: Callable[[str], httpx.AsyncClient]
) -> None:
    ledger.buy(model(5.0))
    answer = await signed_in("stranger").get("/apimart/spend?dag_id=posters")
    assert answer.status_code == 403
    assert "5.00" not in answer.text


async def test_what_dag_authors_write_is_shown_as_text(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    attack = "<script>alert(1)</script>"
    ledger.buy(model(1.0, name=attack), connection=attack, run_id=attack)
    answer = await admin.get("/apimart/spend", params={"dag_id": "posters"})
    assert attack not in answer.text
    tables = read_tables(answer.text)
    assert tables["by-model"][1][0] == tables["by-connection"][1][0] == tables["dearest"][1][0] == attack
    assert attack not in (await admin.get("/apimart/spend", params={"dag_id": attack, "since": attack})).text


async def test_events_that_make_no_sense_are_counted_and_spoil_nothing(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(1.0))
    ledger.buy(model(1.0), currency="EUR")
    ledger.buy(model(1.0), bought_at=None)
    answer = await admin.get("/apimart/spend")
    assert read_tables(answer.text)["totals"][1][1] == "$1.00"
    assert "2 of the events of purchases could not be understood, and are in no sum." in read(answer).text


async def test_nothing_on_the_page_is_inline(ledger: Ledger, admin: httpx.AsyncClient) -> None:
    ledger.buy(model(1.0))
    page = read(await admin.get("/apimart/spend"))
    assert all(set(found) >= {"src"} for found in page.all("script"))
    assert not page.all("style")
    assert not [found for _, found in page.tags if any(name == "style" or name.startswith("on") for name in found)]


async def test_every_table_has_a_caption_and_titles_that_say_what_they_are_for(
    ledger: Ledger, admin: httpx.AsyncClient, database: Database
) -> None:
    ledger.buy(model(1.0))
    database.add_task("posters", "other", state="running")
    page = read(await admin.get("/apimart/spend"))
    assert len(page.all("caption")) == len(page.all("table")) == 7
    assert all(found["scope"] in {"row", "col"} for found in page.all("th"))
    labels = {found["aria-labelledby"] for found in page.all("div", role="region")}
    assert labels == {found["id"] for found in page.all("h2") if "id" in found}


@pytest.mark.usefixtures("ledger")
async def test_tasks_that_have_not_succeeded_are_named_with_what_they_say_they_have_spent(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_task("posters", "dataset", operator="ApimartImageDatasetOperator", state="deferred", progress=PROGRESS)
    database.add_task("posters", "decorated", operator="_ImagesDecoratedOperator", state="failed", progress=PROGRESS)
    database.add_task("posters", "image", map_index=4, state="failed")
    database.add_task("shots", "resumed", state="queued")
    database.add_task("shots", "done", state="success")
    database.add_task("shots", "foreign", operator="PythonOperator", state="failed")
    rows = (await tables_of(admin))["unaccounted"]
    assert [(row[0], row[1], row[3], row[5]) for row in rows] == [
        ("resumed", "shots", "queued", "unknown"),
        ("image [4]", "posters", "failed", "unknown"),
        ("decorated", "posters", "failed", "$1.25"),
        ("dataset", "posters", "deferred", "$1.25"),
    ]
    assert [row[0] for row in (await tables_of(admin, dag_id="shots"))["unaccounted"]] == ["resumed"]


@pytest.mark.usefixtures("ledger")
async def test_only_failures_of_the_chosen_days_are_named(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_task("posters", "failed-long-ago", state="failed", at=days_ago(50))
    database.add_task("posters", "failed-then", state="failed", at=days_ago(40))
    database.add_task("posters", "working-since-then", state="deferred", at=days_ago(40))
    database.add_task("posters", "working-since-today", state="deferred", at=days_ago(0))
    chosen = await tables_of(admin, since=TODAY - timedelta(45), until=TODAY - timedelta(35))
    assert {row[0] for row in chosen["unaccounted"]} == {"failed-then", "working-since-then"}


@pytest.mark.usefixtures("ledger")
async def test_of_very_many_unfinished_tasks_the_newest_are_asked_about(
    admin: httpx.AsyncClient, database: Database, queries: list[str]
) -> None:
    for index in range(30):
        state = "failed" if index % 2 else "deferred"
        database.add_task("posters", "buy", map_index=index, state=state, progress=PROGRESS)
    queries.clear()
    answer = await admin.get("/apimart/spend")
    assert len([query for query in queries if re.search(r"FROM xcom\b", query)]) == 20
    rows = read_tables(answer.text)["unaccounted"][1:]
    assert [row[0] for row in rows] == [f"buy [{index}]" for index in range(29, 9, -1)]
    assert "The newest 20 of 30 tasks" in answer.text


@pytest.mark.usefixtures("ledger")
async def test_a_progress_that_makes_no_sense_is_unknown(admin: httpx.AsyncClient, database: Database) -> None:
    for index, progress in enumerate(["much", {"spent": "much"}, {"spent": None}, {"spent": -1}, ["spent"]]):
        database.add_task("posters", "buy", map_index=index, state="failed", progress=progress)
    assert {row[5] for row in (await tables_of(admin))["unaccounted"]} == {"unknown"}


async def test_says_that_what_was_marked_as_success_or_cleared_is_nowhere(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_run("posters")
    database.add_task("posters", "buy", state="success", progress=PROGRESS)
    page = read(await admin.get("/apimart/spend"))
    assert page.all("section", id="empty")
    assert "Once somebody marks it as success, or clears it" in page.text


async def test_style_scripts_and_the_licence_of_the_chart_library_come_from_here(
    ledger: Ledger, admin: httpx.AsyncClient
) -> None:
    ledger.buy(model(1.0))
    page = read(await admin.get("/apimart/spend"))
    addresses = [*(found["src"] for found in page.all("script")), *(found["href"] for found in page.all("link"))]
    assert any(re.fullmatch(r"/apimart/static/chart-[\d.]+\.umd\.min\.js", address) for address in addresses)
    for address in addresses:
        assert (await admin.get(address)).status_code == 200, address
    licence = next(address for address in addresses if "chart-" in address).replace(".umd.min.js", ".LICENSE.txt")
    assert "The MIT License" in (await admin.get(licence)).text
