from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from plugins.page import read
from plugins.reports import BOUGHT, STORED, image, images, purchase

if TYPE_CHECKING:
    import httpx
    from plugins.database import Database

ADDRESS = "/apimart/gallery?dag_id=posters"


@pytest.fixture(autouse=True)
def _posters(database: Database) -> None:
    database.add_run("posters")


def bought(**facts: Any) -> dict[str, Any]:
    """Return what a task says that has bought a picture."""
    said = purchase([1])
    said["images"][0] |= facts
    return said


async def test_a_picture_whose_url_has_died_is_not_asked_for_any_more(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_event("posters", "generate", BOUGHT, bought(expires_at=time.time() - 1))
    page = read(await admin.get(ADDRESS))
    assert "URL expired, not in S3" in page.texts
    assert not page.all("img")
    assert page.all("p", **{"class": "prompt"}) == [{"class": "prompt", "title": "a lighthouse, 1"}]
    [link] = page.all("a")
    assert "picture=task_1-0" in link["href"], "its facts are still there"


async def test_who_hears_the_page_is_told_each_prompt_once(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_event("posters", "copy", STORED, images([image(1)]))
    page = read(await admin.get(ADDRESS))
    assert [found["alt"] for found in page.all("img")] == page.prompts
    assert [found["title"] for found in page.all("p", **{"aria-hidden": "true"})] == page.prompts


@pytest.mark.parametrize(("cost", "told"), [(0.0085, "$0.0085"), (0.0, "$0.00"), (None, "cost unknown")])
async def test_a_picture_tells_its_cost_or_that_nobody_knows_it(
    admin: httpx.AsyncClient, database: Database, cost: float | None, told: str
) -> None:
    database.add_event("posters", "generate", BOUGHT, bought(cost=cost))
    assert told in read(await admin.get(ADDRESS)).texts


async def test_so_does_a_task_that_has_failed(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_task("posters", "generate", state="failed", rendered={"prompt": "a wreck"})
    page = read(await admin.get(f"{ADDRESS}&status=failed"))
    assert page.prompts == ["a wreck"]
    assert "cost unknown" in page.texts


@pytest.mark.parametrize(
    "task",
    [
        {"operator": "ApimartImageOperator", "rendered": {"prompt": "a harbour"}},
        {
            "operator": "ApimartImageDatasetOperator",
            "progress": {"total": 9, "done": 3, "in_flight": 1, "failed": 2, "spent": 0.02},
        },
    ],
)
async def test_what_is_not_finished_has_a_bar_with_a_name_and_no_cost_yet(
    admin: httpx.AsyncClient, database: Database, task: dict[str, Any]
) -> None:
    database.add_task("posters", "generate", state="deferred", **{"rendered": {}, **task})
    page = read(await admin.get(ADDRESS))
    [bar] = page.all("progress")
    assert bar["aria-label"]
    assert "cost unknown" not in page.texts
