from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from plugins.ledgers import manifest_body
from plugins.page import Page, read
from plugins.reports import BOUGHT, PREFIX, STORED, image, images, purchase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from plugins.database import Database
    from services.seaweedfs import SeaweedFS


OF_DAG = "/apimart/gallery?dag_id=posters"
OF_RUN = f"{OF_DAG}&run_id=run"


def of_task(task_id: str, map_index: object = "%7BMAP_INDEX%7D") -> str:
    return f"{OF_RUN}&task_id={task_id}&map_index={map_index}"


async def show(client: httpx.AsyncClient, address: str, **filters: str) -> Page:
    return read(await client.get(address + "".join(f"&{name}={value}" for name, value in filters.items())))


async def show_all(client: httpx.AsyncClient, address: str) -> list[str]:
    """Return what the pictures of all pages show."""
    page = await show(client, address)
    shown = page.prompts
    while page.following:
        page = await show(client, page.following)
        shown += page.prompts
    return shown


@pytest.fixture
def posters(database: Database) -> Database:
    """A run that has bought three pictures and copied them."""
    database.add_run("posters")
    database.add_task("posters", "generate")
    database.add_task("posters", "copy", operator="ApimartToS3Operator")
    database.add_event("posters", "generate", BOUGHT, purchase([1, 2, 3]))
    database.add_event("posters", "copy", STORED, images([image(1), image(2), image(3)]))
    return database


@pytest.mark.usefixtures("posters")
@pytest.mark.parametrize("address", [OF_DAG, OF_RUN, of_task("copy"), of_task("generate")])
async def test_the_tabs_show_each_picture_once_with_its_facts(admin: httpx.AsyncClient, address: str) -> None:
    page = await show(admin, address)
    assert page.prompts == ["a lighthouse, 1", "a lighthouse, 2", "a lighthouse, 3"]
    assert [found["alt"] for found in page.all("img")] == page.prompts
    for fact in ("gpt-image-2", "1024 x 1536", "$0.0085", "6 h ago"):
        assert page.texts.count(fact) == 3, fact
    assert len(page.all("span", **{"class": "status stored"})) == 3
    assert len(page.all("h1")) == 1
    assert not page.all("p", id="refresh"), "nothing comes by itself"


@pytest.mark.usefixtures("posters")
async def test_a_purchase_is_shown_with_the_copy_that_another_task_made_of_it(admin: httpx.AsyncClient) -> None:
    page = await show(admin, of_task("generate"))
    asked = [parse_qs(urlsplit(found["src"]).query) for found in page.all("img")]
    assert [(it["task_id"], it["uri"]) for it in asked] == [
        (["copy"], [f"{PREFIX}/task_{number}-0.png"]) for number in (1, 2, 3)
    ]
    assert {tuple(it["size"]) for it in asked} == {("thumbnail",)}


async def test_a_purchase_that_nobody_copied_is_shown_by_its_url(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_run("posters")
    database.add_event("posters", "generate", BOUGHT, purchase([7]), map_index=4)
    page = await show(admin, of_task("generate", 4))
    [shown] = page.all("img")
    assert parse_qs(urlsplit(shown["src"]).query) == {
        "dag_id": ["posters"],
        "run_id": ["run"],
        "task_id": ["generate"],
        "map_index": ["4"],
        "picture": ["task_7-0"],
        "size": ["thumbnail"],
    }
    assert page.all("span", **{"class": "status bought"})


async def test_the_copy_of_a_mapped_purchase_is_found_among_thousands(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_run("posters")
    add_many(database, 500)
    database.add_event("posters", "generate", BOUGHT, purchase([7]), map_index=7)
    [shown] = (await show(admin, of_task("generate", 7))).all("img")
    assert parse_qs(urlsplit(shown["src"]).query)["uri"] == [f"{PREFIX}/task_7-0.png"]


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN])
async def test_a_purchase_without_a_copy_is_shown_beside_the_pictures(
    admin: httpx.AsyncClient, posters: Database, address: str
) -> None:
    posters.add_event("posters", "generate_more", BOUGHT, purchase([4, 5]))
    posters.add_event("posters", "copy_more", STORED, images([image(5)]))
    page = await show(admin, address)
    assert page.prompts == [f"a lighthouse, {number}" for number in (4, 5, 1, 2, 3)]
    assert page.all("h2", id="uncopied")
    assert len(page.all("span", **{"class": "status bought"})) == 1
    assert (await show(admin, address, text="lighthouse,%204")).prompts == ["a lighthouse, 4"]
    assert (await show(admin, address, status="stored")).prompts == [
        f"a lighthouse, {number}" for number in (5, 1, 2, 3)
    ]


@pytest.mark.parametrize("address", [of_task("generate", 250), f"{OF_DAG}&status=bought"])
async def test_the_copies_of_one_transfer_of_hundreds_are_found(
    admin: httpx.AsyncClient, database: Database, address: str
) -> None:
    listed = [image(number) for number in range(300)]
    database.add_run("posters")
    database.add_event("posters", "generate", BOUGHT, purchase([250]), map_index=250)
    database.add_task("posters", "copy", operator="ApimartToS3Operator", return_value={"objects": listed})
    database.add_event("posters", "copy", STORED, images(listed[:100], count=300))
    [shown] = (await show(admin, address)).all("img")
    assert parse_qs(urlsplit(shown["src"]).query)["uri"] == [f"{PREFIX}/task_250-0.png"]


async def test_a_task_that_is_not_ours_is_told_what_the_tab_is_for(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_run("posters")
    database.add_task("posters", "clean_up", operator="BashOperator", return_value={"images": [1]})
    database.add_event("posters", "clean_up", STORED, {"rows": 7})
    page = await show(admin, of_task("clean_up"))
    assert page.all("section", id="empty")
    assert "This tab shows the pictures that APIMart tasks buy" in page.text
    assert not page.all("img")
    assert not page.all("form")


async def test_a_mapped_task_shows_the_pictures_of_its_own_index(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_run("posters")
    for index in range(3):
        database.add_event("posters", "copy", STORED, images([image(index)]), map_index=index)
    assert (await show(admin, of_task("copy", 1))).prompts == ["a lighthouse, 1"]
    assert (await show(admin, OF_RUN)).prompts == [f"a lighthouse, {index}" for index in (2, 1, 0)]


async def test_what_is_still_being_generated_comes_first(admin: httpx.AsyncClient, posters: Database) -> None:
    for index, state in enumerate(["deferred", "running", "up_for_retry", "success", "queued"]):
        posters.add_task(
            "posters",
            "generate_more",
            map_index=index,
            state=state,
            took=None if state == "queued" else timedelta(0),
            rendered={"prompt": f"a harbour, {index}", "model": "gpt-image-2", "size": "2:3"},
        )
    page = await show(admin, OF_RUN)
    assert page.prompts[:3] == ["a harbour, 2", "a harbour, 1", "a harbour, 0"]
    assert len(page.prompts) == 6
    assert len(page.all("span", **{"class": "status running"})) == 3
    [control] = page.all("p", id="refresh")
    assert control["data-seconds"] == "15"
    assert page.all("input", type="checkbox"), "whoever is disturbed by it can stop it"


async def test_a_dataset_at_work_shows_how_far_it_is(admin: httpx.AsyncClient, database: Database) -> None:
    progress = {"total": 10_000, "done": 1_240, "in_flight": 198, "failed": 3, "spent": 10.54}
    database.add_run("posters")
    database.add_task(
        "posters", "dataset", operator="ApimartImageDatasetOperator", state="deferred", rendered={}, progress=progress
    )
    page = await show(admin, of_task("dataset"))
    assert page.all("progress", max="10000", value="1243")
    assert "1240 of 10000 done, 198 in flight, 3 failed" in page.text
    assert "$10.54 spent" in page.text


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN, of_task("generate", -1)])
async def test_a_paid_task_that_failed_is_shown_where_nothing_else_is(
    admin: httpx.AsyncClient, database: Database, address: str
) -> None:
    database.add_run("posters")
    database.add_task("posters", "generate", state="failed", rendered={"prompt": "a wreck"})
    page = await show(admin, address)
    assert page.prompts == ["a wreck"]
    assert "its log says what was charged" in page.text
    assert page.all("option", value="failed")


async def test_failed_tasks_come_after_the_pictures(admin: httpx.AsyncClient, posters: Database) -> None:
    posters.add_task("posters", "generate_more", state="failed", rendered={"prompt": "a wreck"})
    assert (await show(admin, OF_RUN)).prompts == [*(f"a lighthouse, {number}" for number in (1, 2, 3)), "a wreck"]


async def test_failed_tasks_are_found_by_their_status(admin: httpx.AsyncClient, posters: Database) -> None:
    posters.add_task("posters", "generate_more", state="failed", rendered={"prompt": "a wreck"})
    page = await show(admin, OF_RUN, status="failed")
    assert page.prompts == ["a wreck"]
    assert "The task failed; its log says what was charged." in page.text
    assert not page.all("img")


@pytest.mark.usefixtures("posters")
@pytest.mark.parametrize(
    ("text", "found"),
    [("LIGHTHOUSE, 2", ["a lighthouse, 2"]), ("task_3-0.png", ["a lighthouse, 3"]), ("harbour", [])],
)
async def test_a_text_is_looked_for_in_all_that_is_known(admin: httpx.AsyncClient, text: str, found: list[str]) -> None:
    page = await show(admin, OF_RUN, text=text)
    assert page.prompts == found
    assert bool(found) != ("Nothing matches." in page.text)


async def test_pages_follow_each_other_without_a_gap_while_new_pictures_come_in(
    admin: httpx.AsyncClient, database: Database
) -> None:
    database.add_run("posters")
    for event in range(3):
        listed = [image(100 * event + number) for number in range(20)]
        database.add_event("posters", "copy", STORED, images(listed), map_index=event)
    page = await show(admin, OF_RUN)
    shown = list(page.prompts)
    database.add_event("posters", "late", STORED, images([image(999)]), at=database.began_at + timedelta(days=1))
    while page.following:
        page = await show(admin, page.following)
        shown += page.prompts
    assert shown == [f"a lighthouse, {100 * event + number}" for event in (2, 1, 0) for number in range(20)]


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN, of_task("copy")])
async def test_a_task_that_was_cleared_shows_its_pictures_once(
    admin: httpx.AsyncClient, posters: Database, address: str
) -> None:
    posters.add_event("posters", "copy", STORED, images([image(1), image(4), image(3)]))
    page = await show(admin, address, status="stored")
    assert page.prompts == [f"a lighthouse, {number}" for number in (1, 4, 3, 2)], "the second is in no newer report"


async def test_so_do_tasks_whose_pictures_fill_pages(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_run("posters")
    for _ in range(2):
        for index in range(60):
            database.add_event("posters", "copy", STORED, images([image(index)]), map_index=index)
    shown = await show_all(admin, OF_RUN)
    assert shown == [f"a lighthouse, {index}" for index in range(59, -1, -1)]


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN])
async def test_a_dataset_that_was_cleared_shows_its_rows_once(
    admin: httpx.AsyncClient, dataset: Database, bucket: str, aws_connection: str, address: str
) -> None:
    manifest = f"s3://{bucket}/ledger/manifests/m.jsonl"
    listed = [image(number, uri=f"s3://bucket/pictures/images/{number}.png") for number in range(4, 100)]
    for _ in range(2):
        dataset.add_event(
            "posters", "dataset", STORED, images(listed, count=149, manifest=manifest, aws_connection=aws_connection)
        )
    shown = await show_all(admin, address)
    assert len(shown) == len(set(shown))


async def test_a_search_goes_on_where_it_left_off(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_run("posters")
    add_many(database, 700)
    page = await show(admin, OF_RUN, text="lighthouse,%203.")
    assert page.prompts == []
    assert "Nothing among the newest pictures matches." in page.text
    assert page.following is not None
    assert (await show(admin, page.following)).prompts == ["a lighthouse, 3."]


async def test_a_transfer_of_many_pictures_shows_them_all(admin: httpx.AsyncClient, database: Database) -> None:
    listed = [image(number) for number in range(130)]
    database.add_run("posters")
    database.add_task("posters", "copy", operator="ApimartToS3Operator", return_value={"objects": listed})
    database.add_event("posters", "copy", STORED, images(listed[:100], count=130))
    shown = await show_all(admin, OF_RUN)
    assert shown == [it["prompt"] for it in listed]


@pytest.mark.parametrize(
    "malformed", ["s3://bucket/1.png", None, {"uri": 7}, {"uri": "s3://bucket/1.png", "cost": "much"}]
)
@pytest.mark.parametrize("where", ["event", "XCom"])
async def test_a_picture_of_which_nothing_can_be_made_out_is_left_out(
    admin: httpx.AsyncClient, database: Database, malformed: object, where: str
) -> None:
    listed = [image(2), malformed]
    database.add_run("posters")
    if where == "XCom":
        database.add_task("posters", "copy", operator="ApimartToS3Operator", return_value={"objects": listed})
        listed = []
    database.add_event("posters", "copy", STORED, images(listed, count=2))
    page = await show(admin, OF_RUN)
    assert page.prompts == ["a lighthouse, 2"]
    assert "1 of 2 pictures of copy are shown: what the task has reported of the others" in page.text


async def test_says_when_the_rest_of_many_pictures_is_gone(admin: httpx.AsyncClient, database: Database) -> None:
    database.add_run("posters")
    database.add_event("posters", "copy", STORED, images([image(1)], count=130))
    page = await show(admin, OF_RUN)
    assert page.prompts == ["a lighthouse, 1"]
    assert "1 of 130 pictures of copy are shown: the task's XCom is not there any more" in page.text


def line(number: int, *, run_id: str = "posters/run", **changes: object) -> dict[str, object]:
    return {
        "row": number,
        "id": f"row-{number}",
        "status": "copied",
        "prompt": f"a lighthouse, {number}",
        "model": "gpt-image-2",
        "size": "1:1",
        "resolution": None,
        "quality": None,
        "cost": 0.0085,
        "task_ids": [f"task_{number}"],
        "objects": [{"uri": f"s3://bucket/pictures/images/{number}.png", "width": 8, "height": 8, "bytes": 1}],
        "error": None,
        "run_id": run_id,
        "intended_at": "2026-11-22T09:00:00.000Z",
        "updated_at": "2026-11-22T09:00:52.000Z",
        **changes,
    }


async def test_a_manifest_that_cannot_be_read_leaves_what_the_event_lists(
    admin: httpx.AsyncClient, database: Database, bucket: str, aws_connection: str
) -> None:
    database.add_run("posters")
    extra = images([image(1)], manifest=f"s3://{bucket}/absent.jsonl", aws_connection=aws_connection)
    database.add_event("posters", "dataset", STORED, extra)
    page = await show(admin, OF_RUN)
    assert page.prompts == ["a lighthouse, 1"]
    assert "1 of 1 pictures of dataset are shown:" in page.text


@pytest.mark.parametrize("content", [b"no json", b"[1]\n", b'{"id": "sku-1"}\n', b'{"objects": 1, "updated_at": 1}\n'])
async def test_neither_does_one_that_is_none_break_the_page(
    admin: httpx.AsyncClient,
    database: Database,
    s3_server: SeaweedFS,
    bucket: str,
    aws_connection: str,
    content: bytes,
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="m.jsonl", Body=content)
    database.add_run("posters")
    extra = images([image(1)], manifest=f"s3://{bucket}/m.jsonl", aws_connection=aws_connection)
    database.add_event("posters", "dataset", STORED, extra)
    page = await show(admin, OF_RUN)
    s3_server.client().delete_object(Bucket=bucket, Key="m.jsonl")
    assert page.prompts == ["a lighthouse, 1"]
    assert "is not a manifest that this release can read" in page.text


@pytest.fixture
def dataset(database: Database, s3_server: SeaweedFS, bucket: str, aws_connection: str) -> Iterator[Database]:
    """
    A dataset of a hundred and fifty rows.

    The first failed. The second was bought by an earlier run, which came to its end, the third by one that did not, the
    fourth by another DAG.
    """
    lines = [line(number) for number in range(150)]
    lines[0] |= {"status": "failed", "objects": [], "error": {"code": "moderation", "message": "Refused for its words"}}
    lines[1] |= {"run_id": "posters/before"}
    lines[2] |= {"run_id": "posters/killed"}
    lines[3] |= {"run_id": "other/before"}
    manifests = {
        "ledger/manifests/before.jsonl.gz": manifest_body(lines[1:2]),
        "ledger/manifests/m.jsonl.gz": manifest_body(lines),
    }
    for (key, body), run_id in zip(manifests.items(), ("before", "run"), strict=True):
        s3_server.client().put_object(Bucket=bucket, Key=key, Body=body)
        database.add_run("posters", run_id)
        extra = images([], count=149, manifest=f"s3://{bucket}/{key}", aws_connection=aws_connection)
        database.add_event("posters", "dataset", STORED, extra, run_id=run_id)
    database.add_task("posters", "dataset", operator="ApimartImageDatasetOperator")
    yield database
    for key in manifests:
        s3_server.client().delete_object(Bucket=bucket, Key=key)


@pytest.mark.usefixtures("dataset")
async def test_a_dataset_shows_every_row_in_its_order(admin: httpx.AsyncClient) -> None:
    assert "Refused for its words" in (await show(admin, OF_RUN)).text
    shown = await show_all(admin, OF_RUN)
    assert shown == [f"a lighthouse, {number}" for number in range(150)]


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN, of_task("dataset")])
async def test_a_small_dataset_shows_the_rows_that_failed_too(
    admin: httpx.AsyncClient, dataset: Database, bucket: str, address: str
) -> None:
    dataset.clear()
    dataset.add_run("posters")
    manifest = f"s3://{bucket}/ledger/manifests/m.jsonl.gz"
    dataset.add_event("posters", "dataset", STORED, images([image(2)], manifest=manifest, aws_connection="aws_default"))
    page = await show(admin, address, status="failed")
    assert page.prompts == ["a lighthouse, 0"]


@pytest.mark.usefixtures("dataset")
async def test_a_dag_shows_a_row_with_the_run_that_bought_it_if_that_has_told_of_it(admin: httpx.AsyncClient) -> None:
    assert (await show(admin, OF_RUN)).prompts[:4] == [f"a lighthouse, {number}" for number in (0, 1, 2, 3)]
    assert await show_all(admin, OF_DAG) == [f"a lighthouse, {number}" for number in (0, *range(2, 150), 1)]


async def test_a_dag_shows_the_rows_of_a_growing_dataset_on_the_page_of_the_run_that_bought_them(
    admin: httpx.AsyncClient, database: Database, s3_server: SeaweedFS, bucket: str, aws_connection: str
) -> None:
    keys = []
    for run_id, rows in (("first", 30), ("second", 60)):
        lines = [line(number, run_id=f"posters/{'first' if number < 30 else 'second'}") for number in range(rows)]
        keys.append(f"growing/manifests/{rows}.jsonl.gz")
        s3_server.client().put_object(Bucket=bucket, Key=keys[-1], Body=manifest_body(lines))
        listed = [image(number, **it["objects"][0]) for number, it in enumerate(lines)]
        extra = images(listed, manifest=f"s3://{bucket}/{keys[-1]}", aws_connection=aws_connection)
        database.add_run("posters", run_id)
        database.add_event("posters", "dataset", STORED, extra, run_id=run_id)

    shown = await show_all(admin, OF_DAG)

    for key in keys:
        s3_server.client().delete_object(Bucket=bucket, Key=key)
    assert shown == [f"a lighthouse, {number}" for number in (*range(30, 60), *range(30))]


async def test_a_dataset_that_has_not_changed_since_shows_each_row_once(
    admin: httpx.AsyncClient, database: Database, s3_server: SeaweedFS, bucket: str, aws_connection: str
) -> None:
    """Runs that change nothing report the manifest that is there already."""
    lines = [line(0, run_id="posters/first"), line(1, run_id="posters/second"), line(2, run_id="posters/deleted")]
    bodies = {"first": manifest_body(lines[:1]), "second": manifest_body(lines), "third": manifest_body(lines)}
    keys = {"first": "still/manifests/1.jsonl.gz", "second": "still/manifests/2.jsonl.gz"}
    keys["third"] = keys["second"]
    for run_id, body in bodies.items():
        s3_server.client().put_object(Bucket=bucket, Key=keys[run_id], Body=body)
        database.add_run("posters", run_id)
        extra = images([], count=2, manifest=f"s3://{bucket}/{keys[run_id]}", aws_connection=aws_connection)
        database.add_event("posters", "dataset", STORED, extra, run_id=run_id)

    shown = [await show_all(admin, OF_DAG), await show_all(admin, OF_RUN.replace("run_id=run", "run_id=third"))]

    for key in set(keys.values()):
        s3_server.client().delete_object(Bucket=bucket, Key=key)
    assert shown[0] == [f"a lighthouse, {number}" for number in (2, 1, 0)]
    assert shown[1] == [f"a lighthouse, {number}" for number in (0, 1, 2)]


@pytest.mark.usefixtures("dataset")
async def test_the_failed_rows_of_a_dataset_are_found_by_their_status(admin: httpx.AsyncClient) -> None:
    page = await show(admin, OF_RUN, status="failed")
    assert page.prompts == ["a lighthouse, 0"]
    assert not (await show(admin, OF_RUN, status="stored", text="lighthouse,%200")).prompts


def add_many(database: Database, count: int) -> None:
    """As a mapped transfer of as many pictures leaves them: the last is the newest."""
    database.add_events(
        [
            {
                "source_dag_id": "posters",
                "source_task_id": "copy",
                "source_run_id": "run",
                "source_map_index": index,
                "extra": images([image(index, prompt=f"a lighthouse, {index}.")]),
                "timestamp": database.began_at + timedelta(seconds=index),
            }
            for index in range(count)
        ],
        STORED,
    )


@pytest.mark.parametrize("address", [OF_DAG, OF_RUN])
async def test_the_first_page_of_ten_thousand_pictures_needs_as_many_queries_as_that_of_thirty(
    admin: httpx.AsyncClient, database: Database, queries: list[str], address: str
) -> None:
    counts = []
    for count in (30, 10_000):
        database.clear()
        database.add_run("posters")
        add_many(database, count)
        needed = []
        # Some queries are for what is kept for a while: on a slow machine, that ends between any two pages.
        for _ in range(4):
            queries.clear()
            page = await show(admin, address)
            assert page.prompts == [f"a lighthouse, {index}." for index in range(count - 1, count - 25, -1)]
            needed.append(len(queries))
        counts.append(min(needed))
    assert counts[0] == counts[1] < 40


@pytest.mark.usefixtures("posters")
@pytest.mark.parametrize(("who", "status"), [(None, 401), ("stranger", 403), ("viewer", 200), ("admin", 200)])
@pytest.mark.parametrize(
    "address", [OF_DAG, OF_RUN, of_task("copy"), f"{OF_DAG}&status=bought", f"{OF_DAG}&after=x~1~1"]
)
async def test_nobody_sees_what_airflow_would_not_show_them(
    signed_in: Callable[[str | None], httpx.AsyncClient], who: str | None, status: int, address: str
) -> None:
    answer = await signed_in(who).get(address)
    assert answer.status_code == status
    assert ("lighthouse" in answer.text) == (status == 200)


async def test_what_a_prompt_says_is_text_and_nothing_else(admin: httpx.AsyncClient, database: Database) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
    database.add_run("posters")
    database.add_event("posters", "copy", STORED, images([image(1, prompt=evil)]))
    page = await show(admin, OF_RUN, text="%22%3E%3Cscript%3E")
    assert page.all("input", type="search")[0]["value"] == '"><script>'
    page = await show(admin, OF_RUN)
    assert page.prompts == [evil]
    assert [found.get("src") for found in page.all("script")] == [
        "/apimart/static/theme.js",
        "/apimart/static/refresh.js",
    ]
    assert len(page.all("img")) == 1
