"""The bytes of pictures, through Airflow's own application, from a real S3 server and from image hosts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from operators.task_instance import TaskInstance
from plugins.drawings import decoded, drawn, two_halves
from plugins.ledgers import entry, manifest_body
from plugins.reports import BOUGHT, STORED, purchase

from airflow_provider_apimart.plugins.web.images import content_disposition

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from plugins.database import Database
    from plugins.web.conftest import ImageHost, Store

    from airflow_provider_apimart.simulator import Simulator

    Client = httpx.AsyncClient

FORMATS = [("PNG", "image/png", "png"), ("JPEG", "image/jpeg", "jpg"), ("WEBP", "image/webp", "webp")]
COPY = {"dag_id": "posters", "run_id": "run", "task_id": "copy", "map_index": "{MAP_INDEX}"}
GENERATE = {**COPY, "task_id": "generate"}


async def ask(client: Client, uri: str = "", size: str = "full", **parameters: str) -> httpx.Response:
    """Ask for a picture that ``copy`` has stored."""
    return await client.get("/apimart/image", params={**COPY, "uri": uri, "size": size, **parameters})


async def ask_for_bought(client: Client, size: str = "full", picture: str = "task_1-0") -> httpx.Response:
    """Ask for a picture that ``generate`` has bought."""
    return await client.get("/apimart/image", params={**GENERATE, "picture": picture, "size": size})


@pytest.mark.parametrize(("file_format", "content_type", "ext"), FORMATS)
async def test_a_picture_in_s3_is_sent_as_it_is(
    admin: Client, posters: Store, file_format: str, content_type: str, ext: str
) -> None:
    body = drawn(file_format)

    answer = await ask(admin, posters.store(f"pictures/task_1-0.{ext}", body))

    assert answer.status_code == 200
    assert answer.content == body
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["content-disposition"] == f'inline; filename="task_1-0.{ext}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(("file_format", "_content_type", "ext"), FORMATS)
async def test_a_thumbnail_is_a_small_webp(
    admin: Client, posters: Store, file_format: str, _content_type: str, ext: str
) -> None:
    answer = await ask(admin, posters.store(f"pictures/1.{ext}", two_halves(file_format, size=(960, 640))), "thumbnail")

    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-disposition"] == f'inline; filename="1.{ext}.webp"'.replace(".webp.webp", ".webp")
    assert decoded(answer.content).size == (480, 320)


async def test_a_viewer_sees_pictures_too(signed_in: Callable[[str], Client], posters: Store) -> None:
    assert (await ask(signed_in("viewer"), posters.store("pictures/1.png", drawn()))).status_code == 200


async def test_the_content_tells_the_type_whatever_the_store_says(admin: Client, posters: Store) -> None:
    body = drawn("PNG")

    answer = await ask(admin, posters.store("pictures/1.html", body, ContentType="text/html", ContentEncoding="gzip"))

    assert answer.content == body
    assert answer.headers["content-type"] == "image/png"
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-disposition"] == 'inline; filename="1.html.png"'


async def test_a_picture_of_many_pieces_arrives_whole(admin: Client, posters: Store) -> None:
    body = drawn("PNG", size=(1400, 1000), compress_level=0)
    assert len(body) > 4 * 1024 * 1024

    assert (await ask(admin, posters.store("pictures/1.png", body))).content == body


async def test_the_pictures_of_a_dataset_that_is_still_being_worked_on_are_shown(
    admin: Client, database: Database, posters: Store
) -> None:
    rendered = {"s3_bucket": posters.bucket, "s3_prefix": "/campaign/", "aws_conn_id": posters.conn_id}
    database.add_task(
        "posters", "buy", operator="ApimartImageDatasetOperator", state="deferred", rendered={"prompts": [], **rendered}
    )
    bought, another = (posters.put(f"campaign/images/{number}.png", drawn()) for number in (1, 2))
    elsewhere = posters.put("elsewhere/1.png", drawn())
    posters.note("campaign", entry(run_id="posters/run", objects=({"uri": bought}, {"uri": elsewhere})))
    posters.note("campaign", entry(run_id="theirs/run", id="sku-2", objects=({"uri": another},)))

    assert (await ask(admin, bought, task_id="buy")).status_code == 200
    assert (await ask(admin, another, task_id="buy")).status_code == 404
    assert (await ask(admin, elsewhere, task_id="buy")).status_code == 404


async def test_a_ledger_that_cannot_be_read_opens_nothing(admin: Client, database: Database, posters: Store) -> None:
    rendered = {"s3_bucket": posters.bucket, "s3_prefix": "broken", "aws_conn_id": posters.conn_id}
    database.add_task("posters", "buy", operator="ApimartImageDatasetOperator", state="deferred", rendered=rendered)
    posters.put("broken/ledger/ledger.jsonl", b"no ledger\n", {})

    answer = await ask(admin, posters.put("broken/images/1.png", drawn()), task_id="buy")

    assert answer.status_code == 502
    assert "no ledger" not in answer.text


async def test_the_pictures_of_a_finished_dataset_are_those_of_its_manifest(
    admin: Client, database: Database, posters: Store
) -> None:
    keys = [f"campaign/images/{number}.png" for number in (1, 2, 3)]
    uris = [posters.put(key, drawn()) for key in keys]
    body = manifest_body(json.loads(entry(objects=({"uri": uri},)).to_line()) for uri in uris[:2])
    manifest = posters.put("campaign/ledger/manifests/1.jsonl.gz", body, {})
    extra = posters.reported(keys[0], prefix="campaign", count=2, manifest=manifest)
    database.add_event("posters", "buy", STORED, extra)

    assert [(await ask(admin, uri, task_id="buy")).status_code for uri in uris] == [200, 200, 404]


async def test_of_many_pictures_the_transfers_xcom_lists_those_that_its_event_does_not(
    admin: Client, database: Database, posters: Store, queries: list[str]
) -> None:
    uris = [posters.put(f"pictures/{number}.png", drawn()) for number in (1, 2, 3)]
    listed = [{"uri": uri, "task_id": "task_1", "index": 0} for uri in uris[:2]]
    database.add_task("posters", "many", operator="ApimartToS3Operator", return_value={"objects": listed})
    database.add_event("posters", "many", STORED, posters.reported("pictures/1.png", count=2))

    assert [(await ask(admin, uri, task_id="many")).status_code for uri in uris] == [200, 200, 404]
    asked = []
    for uri in uris[:2]:
        needed = []
        # Some queries are for what is kept for a while: on a slow machine, that ends between any two pictures.
        for _ in range(4):
            queries.clear()
            assert (await ask(admin, uri, task_id="many")).status_code == 200
            needed.append(len(queries))
        asked.append(min(needed))
    assert asked[0] == asked[1], "the XCom is read once, and not for each picture"


async def test_a_mapped_task_instance_has_pictures_of_its_own(
    admin: Client, database: Database, posters: Store
) -> None:
    for map_index in (0, 1):
        extra = posters.reported(f"mapped/{map_index}/1.png", prefix="mapped")
        database.add_task("posters", "mapped", map_index=map_index, operator="ApimartToS3Operator")
        database.add_event("posters", "mapped", STORED, extra, map_index=map_index)
    uri = posters.put("mapped/1/1.png", drawn())

    assert (await ask(admin, uri, task_id="mapped", map_index="1")).status_code == 200
    assert (await ask(admin, uri, task_id="mapped", map_index="0")).status_code == 404


async def test_what_the_transfer_has_copied_is_shown(
    admin: Client, database: Database, posters: Store, simulator: Simulator, apimart_connection: str
) -> None:
    from airflow_provider_apimart.operators.image import ApimartImageOperator
    from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

    pace = {"initial_delay": 0, "poll_interval": 0.1, "deferrable": False, "durable": False}
    generate = ApimartImageOperator(
        task_id="generate", prompt="a lighthouse", apimart_conn_id=apimart_connection, **pace
    )
    result = generate.execute(TaskInstance(task_id="generate").context)
    copy = ApimartToS3Operator(
        task_id="copy",
        source=result,
        s3_bucket=posters.bucket,
        s3_key="pictures/{task_id}-{index}.{ext}",
        apimart_conn_id=apimart_connection,
        aws_conn_id=posters.conn_id,
    )
    [held] = copy.execute(TaskInstance(task_id="copy").context)["objects"]
    listed = purchase([1], connection=apimart_connection, task_ids=result["task_ids"])
    database.add_task("posters", "generate", return_value=result)
    database.add_event("posters", "generate", BOUGHT, listed)
    assert simulator.stats()

    delivered = await ask_for_bought(admin, picture=f"{held['task_id']}-{held['index']}")
    posters.report(held["uri"].removeprefix(posters.uri("")))
    stored = await ask(admin, held["uri"])

    assert stored.status_code == delivered.status_code == 200
    assert stored.content == delivered.content
    assert len(stored.content) == held["bytes"]


async def test_a_picture_that_is_in_no_store_comes_from_the_gateway(
    admin: Client, bought: Callable[..., None], image_host: ImageHost
) -> None:
    bought()

    full, small = await ask_for_bought(admin), await ask_for_bought(admin, "thumbnail")

    assert full.content == drawn()
    assert full.headers["content-disposition"] == 'inline; filename="task_1-0.png"'
    assert decoded(small.content).format == "WEBP"
    assert [request.path for request in image_host.requests] == ["/1.png", "/1.png"]


async def test_a_picture_whose_url_has_died_is_gone_in_words(
    admin: Client, bought: Callable[..., None], image_host: ImageHost
) -> None:
    from transfers.http_server import Answer

    bought()
    image_host.answer = Answer(status=404)

    answer = await ask_for_bought(admin)

    assert answer.status_code == 410
    assert "its URL has died" in answer.text
    assert len(image_host.requests) == 1


async def test_an_image_host_that_fails_is_asked_twice(
    admin: Client, bought: Callable[..., None], image_host: ImageHost
) -> None:
    from transfers.http_server import Answer

    bought()
    image_host.answer = Answer(status=503)

    assert (await ask_for_bought(admin)).status_code == 502
    assert len(image_host.requests) == 2


@pytest.mark.parametrize("size", ["full", "thumbnail"])
async def test_a_browser_that_has_the_picture_is_told_so(admin: Client, posters: Store, size: str) -> None:
    uri = posters.store("pictures/1.png", drawn())
    first = await ask(admin, uri, size)
    reads = posters.reads.seen

    admin.headers["If-None-Match"] = f'W/"another", {first.headers["etag"]}'
    second = await ask(admin, uri, size)

    assert second.status_code == 304
    assert second.content == b""
    assert posters.reads.seen == reads
    for header in ("etag", "cache-control", "vary"):
        assert second.headers[header] == first.headers[header]
    assert first.headers["cache-control"] == "private, max-age=300"
    assert first.headers["vary"] == "Authorization, Cookie"


async def test_a_picture_and_its_thumbnail_are_told_apart(admin: Client, posters: Store) -> None:
    uri = posters.store("pictures/1.png", drawn())

    admin.headers["If-None-Match"] = (await ask(admin, uri, "thumbnail")).headers["etag"]

    assert (await ask(admin, uri, "full")).status_code == 200


async def test_a_picture_that_was_written_over_is_seen(admin: Client, posters: Store) -> None:
    first = await ask(admin, posters.store("pictures/1.png", drawn(size=(40, 40))), "thumbnail")

    admin.headers["If-None-Match"] = first.headers["etag"]
    second = await ask(admin, posters.store("pictures/1.png", drawn(size=(60, 60))), "thumbnail")

    assert second.status_code == 200
    assert decoded(second.content).size == (60, 60)


async def test_a_thumbnail_is_made_once_and_its_object_looked_at_each_time(admin: Client, posters: Store) -> None:
    uri = posters.store("pictures/1.png", drawn())

    answers = [await ask(admin, uri, "thumbnail") for _ in range(3)]

    assert len({answer.content for answer in answers}) == 1
    assert (posters.looks.seen, posters.reads.seen) == (3, 1)


async def test_a_page_full_of_thumbnails_asks_the_store_for_each_of_them_once(admin: Client, posters: Store) -> None:
    keys = [f"pictures/{number}.png" for number in range(24)]
    posters.report(*keys)
    uris = [posters.put(key, drawn(size=(600, 400 + number))) for number, key in enumerate(keys)]

    answers = await asyncio.gather(*(ask(admin, uri, "thumbnail") for uri in uris))

    assert [answer.status_code for answer in answers] == [200] * 24
    assert (posters.looks.seen, posters.reads.seen) == (24, 24)


async def test_those_who_ask_for_a_thumbnail_at_the_same_time_share_it(admin: Client, posters: Store) -> None:
    uri = posters.store("pictures/1.png", drawn(size=(600, 399)))

    answers = await asyncio.gather(*(ask(admin, uri, "thumbnail") for _ in range(6)))

    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.content for answer in answers}) == 1
    assert posters.reads.seen == 1


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("task_1-0.png", 'inline; filename="task_1-0.png"'),
        ("task_1-0", 'inline; filename="task_1-0.png"'),
        ('a"; filename="evil.html', 'inline; filename="a_filename_evil.html.png"'),
        ("a\r\nSet-Cookie: b=c.png", 'inline; filename="a_Set-Cookie_b_c.png"'),
        ("чайка ☕.png", 'inline; filename="_.png"'),
        ("", 'inline; filename=".png"'),
        ("a" * 300, f'inline; filename="{"a" * 100}.png"'),
    ],
)
def test_the_name_of_the_file_is_plain_whatever_the_key_is(name: str, header: str) -> None:
    assert content_disposition(name, "png") == header


@pytest.mark.parametrize(
    "changed",
    [
        {"uri": ""},
        {"picture": "task_1-0"},
        {"task_id": ""},
        {"run_id": ""},
        {"dag_id": ""},
        {"size": "huge"},
    ],
)
async def test_a_request_that_names_no_picture_is_refused(
    admin: Client, posters: Store, changed: dict[str, Any]
) -> None:
    answer = await ask(admin, **{"uri": posters.uri("pictures/1.png"), **changed})

    assert answer.status_code == 422
    assert posters.looks.seen == 0
