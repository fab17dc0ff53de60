from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from plugins.page import read
from plugins.reports import BOUGHT, STORED, image, images, purchase

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from plugins.database import Database

ADDRESS = "/apimart/picture?dag_id=posters&run_id=run&task_id=copy&map_index=-1&uri=s3://bucket/pictures/task_2-0.png"
PURCHASED = "/apimart/picture?dag_id=posters&run_id=run&task_id=generate&map_index=-1&picture=task_2-0"


@pytest.fixture(autouse=True)
def _posters(database: Database) -> None:
    database.add_run("posters")
    database.add_event("posters", "generate", BOUGHT, purchase([1, 2]))
    listed = [image(1), image(2, resolution="2k", quality="high", size="2:3")]
    database.add_event("posters", "copy", STORED, images(listed))


async def test_a_picture_is_shown_in_full_with_its_facts(admin: httpx.AsyncClient) -> None:
    page = read(await admin.get(ADDRESS))
    [shown] = page.all("img")
    assert "size" not in parse_qs(urlsplit(shown["src"]).query), "the whole picture"
    assert shown["alt"] == "a lighthouse, 2"
    for fact in (
        "In S3",
        "s3://bucket/pictures/task_2-0.png",
        "task_2",
        "$0.0085",
        "model=gpt-image-2",
        "size=2:3",
        "resolution=2k",
        "quality=high",
        "1024 x 1536, 1.5 MB",
        "52 s",
        "posters, run, copy",
    ):
        assert fact in page.texts, fact


async def test_the_address_and_the_gateways_id_can_be_copied(admin: httpx.AsyncClient) -> None:
    page = read(await admin.get(ADDRESS))
    copied = [found["data-copy"] for found in page.all("button")]
    assert copied == [found["id"] for found in page.all("code") if "id" in found] == ["address", "gateway-task"]
    assert len(page.all("output", **{"aria-live": "polite"})) == len(copied), "it is said that it was copied"


async def test_a_picture_that_is_not_in_s3_yet_says_when_its_url_dies(
    admin: httpx.AsyncClient, database: Database
) -> None:
    bought = purchase([3])
    bought["images"][0] |= {"expires_at": 4_102_444_800, "cost": None}
    database.add_event("posters", "generate", BOUGHT, bought)
    page = read(await admin.get(PURCHASED.replace("task_2", "task_3")))
    assert "no copy was reported by this run" in page.texts
    assert "2100-01-01 00:00:00+00:00" in page.text
    assert page.texts[page.texts.index("Cost") + 1] == "unknown"
    assert not page.all("button", **{"data-copy": "address"})


async def test_a_purchase_that_was_copied_is_shown_from_s3(admin: httpx.AsyncClient) -> None:
    page = read(await admin.get(PURCHASED))
    assert "s3://bucket/pictures/task_2-0.png" in page.texts
    [shown] = page.all("img")
    assert parse_qs(urlsplit(shown["src"]).query)["task_id"] == ["copy"]


@pytest.mark.parametrize("address", ["/apimart/picture?dag_id=posters&uri=s3://b/k", ADDRESS + "&picture=task_1-0"])
async def test_a_picture_must_be_named_by_its_task_and_in_one_way(admin: httpx.AsyncClient, address: str) -> None:
    assert (await admin.get(address)).status_code == 422


async def test_a_picture_whose_url_has_died_is_not_asked_for_any_more(
    admin: httpx.AsyncClient, database: Database
) -> None:
    bought = purchase([3])
    bought["images"][0] |= {"expires_at": 1_776_835_126}
    database.add_event("posters", "generate", BOUGHT, bought)
    page = read(await admin.get(PURCHASED.replace("task_2", "task_3")))
    assert "URL expired, not in S3" in page.texts
    assert "URL expired" in page.texts
    assert not page.all("img")


async def test_leads_back_to_the_page_of_the_gallery_from_which_one_came(admin: httpx.AsyncClient) -> None:
    gallery = read(await admin.get("/apimart/gallery?dag_id=posters&text=lighthouse, 2"))
    page = read(await admin.get(gallery.all("img") and gallery.all("a")[1]["href"]))
    [back] = page.all("a", rel="up")
    assert back["href"] == "/apimart/gallery?dag_id=posters&text=lighthouse%2C+2"


@pytest.mark.parametrize("back", ["https://evil.example/", "javascript:alert(1)", "//evil.example/?a=b", "%0d%0aX: y"])
async def test_leads_nowhere_else(admin: httpx.AsyncClient, back: str) -> None:
    [link] = read(await admin.get(f"{ADDRESS}&back={back}")).all("a", rel="up")
    assert link["href"].startswith("/apimart/gallery?")


@pytest.mark.parametrize("address", [ADDRESS.replace("task_2", "task_9"), PURCHASED.replace("task_2", "task_9")])
async def test_what_the_task_has_not_reported_is_not_shown(admin: httpx.AsyncClient, address: str) -> None:
    answer = await admin.get(address)
    assert answer.status_code == 404
    assert "The task has not reported this picture." in answer.text


@pytest.mark.parametrize("address", [ADDRESS, PURCHASED])
@pytest.mark.parametrize(("who", "status"), [(None, 401), ("stranger", 403), ("viewer", 200)])
async def test_nobody_sees_what_airflow_would_not_show_them(
    signed_in: Callable[[str | None], httpx.AsyncClient], who: str | None, status: int, address: str
) -> None:
    answer = await signed_in(who).get(address)
    assert answer.status_code == status
    assert ("lighthouse" in answer.text) == (status == 200)
