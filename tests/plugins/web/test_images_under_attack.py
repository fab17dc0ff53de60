"""
What somebody who is signed in may try with the route of pictures.

The API server reaches stores and networks that they do not reach. It must not read there for them what this provider
has not put there for them to see.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from plugins.drawings import drawn
from plugins.ledgers import entry
from plugins.page import Page
from plugins.reports import BOUGHT, STORED, images, purchase
from services.s3_proxy import S3Rule
from transfers.http_server import Answer, HttpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from plugins.database import Database
    from plugins.web.conftest import ImageHost, Store

    Client = httpx.AsyncClient

COPY = {"dag_id": "posters", "run_id": "run", "task_id": "copy", "map_index": "-1"}
#: In nothing that is answered.
SECRET = b"the secret in the object"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(document.cookie)</script></svg>"


async def ask(client: Client, uri: str = "", **parameters: str) -> httpx.Response:
    answer = await client.get("/apimart/image", params={**COPY, "uri": uri, **parameters})
    assert SECRET not in answer.content
    return answer


def read_error(answer: httpx.Response) -> str:
    """Return what the page says of an error."""
    page = Page()
    page.feed(answer.text)
    return next(text for text in page.texts if text.startswith("The picture"))


def was_asked(store: Store) -> bool:
    return bool(store.looks.seen or store.reads.seen)


class TestRights:
    async def test_nobody_sees_a_picture_without_a_login(
        self, signed_in: Callable[[str | None], Client], posters: Store
    ) -> None:
        answer = await ask(signed_in(None), posters.store("pictures/1.png", drawn()))

        assert answer.status_code == 401
        assert not was_asked(posters)

    async def test_nobody_sees_a_picture_of_a_dag_that_they_may_not_read(
        self, signed_in: Callable[[str | None], Client], posters: Store
    ) -> None:
        answer = await ask(signed_in("stranger"), posters.store("pictures/1.png", drawn()))

        assert answer.status_code == 403
        assert not was_asked(posters)

    async def test_a_right_to_the_dag_without_its_xcoms_is_not_enough(
        self, signed_in: Callable[[str | None], Client], posters: Store
    ) -> None:
        answer = await ask(signed_in("onlooker"), posters.store("pictures/1.png", drawn()))

        assert answer.status_code == 403
        assert not was_asked(posters)

    @pytest.mark.parametrize(("who", "status"), [(None, 401), ("stranger", 403)])
    async def test_rights_are_checked_also_when_the_browser_has_the_picture(
        self, signed_in: Callable[[str | None], Client], posters: Store, who: str | None, status: int
    ) -> None:
        uri = posters.store("pictures/1.png", drawn())
        seen = await ask(signed_in("admin"), uri, size="thumbnail")

        client = signed_in(who)
        client.headers["If-None-Match"] = seen.headers["etag"]

        assert (await ask(client, uri, size="thumbnail")).status_code == status

    async def test_a_dag_that_one_may_read_opens_no_pictures_of_another(
        self, signed_in: Callable[[str | None], Client], database: Database, posters: Store
    ) -> None:
        database.add_task("theirs", "copy", operator="ApimartToS3Operator")
        database.add_event("theirs", "copy", STORED, posters.reported("theirs/1.png", prefix="theirs"))
        uri = posters.store("pictures/1.png", drawn())

        answer = await ask(signed_in("stranger"), uri, dag_id="theirs")

        assert answer.status_code == 404
        assert not was_asked(posters)

    @pytest.mark.parametrize("prefix", ["", "pictures"])
    async def test_a_folder_in_common_opens_no_pictures_of_another_dag(
        self, signed_in: Callable[[str | None], Client], database: Database, posters: Store, prefix: str
    ) -> None:
        database.add_task("theirs", "copy", operator="ApimartToS3Operator")
        database.add_event("theirs", "copy", STORED, posters.reported("pictures/2.png", prefix=prefix))
        theirs, another = posters.put("pictures/2.png", drawn()), posters.store("pictures/1.png", drawn())

        assert (await ask(signed_in("stranger"), theirs, dag_id="theirs")).status_code == 200
        assert (await ask(signed_in("stranger"), another, dag_id="theirs")).status_code == 404

    async def test_a_dataset_in_a_common_folder_opens_no_pictures_of_another_dag(
        self, signed_in: Callable[[str | None], Client], database: Database, posters: Store
    ) -> None:
        rendered = {"s3_bucket": posters.bucket, "s3_prefix": "", "aws_conn_id": posters.conn_id}
        database.add_task("theirs", "copy", operator="ApimartImageDatasetOperator", state="deferred", rendered=rendered)
        theirs, another = (posters.put(f"images/{number}.png", drawn()) for number in (1, 2))
        posters.note("", entry(run_id="theirs/run", objects=({"uri": theirs},)))
        posters.note("", entry(run_id="posters/run", id="sku-2", objects=({"uri": another},)))

        assert (await ask(signed_in("stranger"), theirs, dag_id="theirs")).status_code == 200
        assert (await ask(signed_in("stranger"), another, dag_id="theirs")).status_code == 404

    @pytest.mark.parametrize(
        "other", [{"task_id": "another"}, {"run_id": "another"}, {"map_index": "0"}, {"dag_id": "theirs"}]
    )
    async def test_no_other_task_instance_gives_the_right(
        self, admin: Client, database: Database, posters: Store, other: dict[str, str]
    ) -> None:
        database.add_run("posters", "another")
        database.add_task("posters", "another", operator="ApimartToS3Operator")
        uri = posters.store("pictures/1.png", drawn())

        assert (await ask(admin, uri, **other)).status_code == 404
        assert not was_asked(posters)

    @pytest.mark.parametrize("wildcard", ["~", "%", "*", "co_y"])
    async def test_a_wildcard_stands_for_no_task(self, admin: Client, posters: Store, wildcard: str) -> None:
        uri = posters.store("pictures/1.png", drawn())

        assert (await ask(admin, uri, task_id=wildcard)).status_code == 404
        assert not was_asked(posters)


class TestStores:
    @pytest.mark.parametrize(
        "key",
        [
            "private/1.png",
            "pictures2/1.png",
            "pictures",
            "pictures/",
            "pictures/../private/1.png",
            "pictures/./../private/1.png",
            "pictures/..",
        ],
    )
    async def test_nothing_outside_of_what_the_task_has_reported_is_asked_for(
        self, admin: Client, posters: Store, key: str
    ) -> None:
        posters.put("private/1.png", drawn())
        posters.put("pictures2/1.png", drawn())
        # Also where somebody has added to what the task lists.
        posters.report("pictures/1.png", key)

        assert (await ask(admin, posters.uri(key))).status_code == 404
        assert not was_asked(posters)

    async def test_an_object_beside_the_pictures_that_the_task_lists_is_not_asked_for(
        self, admin: Client, posters: Store
    ) -> None:
        posters.report("pictures/1.png")

        assert (await ask(admin, posters.put("pictures/2.png", drawn()))).status_code == 404
        assert not was_asked(posters)

    async def test_no_other_bucket_is_asked(self, admin: Client, posters: Store) -> None:
        for bucket in ("another", f"{posters.bucket}2", f"{posters.bucket}/..", ""):
            assert (await ask(admin, f"s3://{bucket}/pictures/1.png")).status_code == 404
        assert not was_asked(posters)

    @pytest.mark.parametrize(
        "uri", ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "/etc/passwd", "pictures/1.png"]
    )
    async def test_what_is_no_object_is_unknown(self, admin: Client, posters: Store, uri: str) -> None:
        assert (await ask(admin, uri)).status_code == 404
        assert not was_asked(posters)

    @pytest.mark.parametrize("size", ["full", "thumbnail"])
    @pytest.mark.parametrize("body", [drawn(), SECRET], ids=["picture", "text"])
    async def test_an_object_that_the_transfer_did_not_write_is_not_read(
        self, admin: Client, posters: Store, body: bytes, size: str
    ) -> None:
        uri = posters.store("pictures/payroll.png", body, {"owner": "accounting"})

        answer = await ask(admin, uri, size=size)

        assert answer.status_code == 404
        assert "no picture of this provider in that place" in answer.text
        assert posters.reads.seen == 0

    async def test_an_object_that_takes_the_place_of_a_picture_meanwhile_is_not_shown(
        self, admin: Client, posters: Store
    ) -> None:
        uri = posters.store("pictures/1.png", drawn())
        posters.proxy.clear_rules()
        replacing = S3Rule(
            "/", "HEAD", "pass", notify=lambda: posters.put("pictures/1.png", drawn(size=(7, 7)), {}) and None
        )
        posters.proxy.add_rule(replacing)

        answer = await ask(admin, uri)

        assert replacing.fired == 1
        assert answer.status_code == 404

    async def test_the_ledger_and_other_files_beside_the_pictures_are_not_shown(
        self, admin: Client, posters: Store
    ) -> None:
        for key in (
            "pictures/ledger/ledger.jsonl.gz",
            "pictures/ledger/log/00000001.jsonl.gz",
            "pictures/manifest.jsonl",
        ):
            assert (await ask(admin, posters.store(key, SECRET, {}))).status_code == 404
        assert posters.reads.seen == 0

    async def test_an_event_that_somebody_has_made_by_hand_gives_no_right(self, admin: Client, posters: Store) -> None:
        posters.report("pictures/1.png")
        found = await admin.get("/api/v2/assets", params={"name_pattern": STORED, "only_active": False})
        [asset] = found.json()["assets"]
        extra = {
            **posters.reported("private/1.png", prefix="private"),
            **{f"source_{name}": value for name, value in COPY.items()},
        }
        made = await admin.post("/api/v2/assets/events", json={"asset_id": asset["id"], "extra": extra})
        assert made.status_code == 200

        assert (await ask(admin, posters.put("private/1.png", drawn()))).status_code == 404
        assert not was_asked(posters)

    async def test_an_xcom_that_somebody_has_edited_gives_no_right_to_a_store(
        self, admin: Client, database: Database, posters: Store
    ) -> None:
        uri = posters.put("private/1.png", drawn())
        held = {"uri": uri, "task_id": "task_1", "index": 0, "url": uri}
        database.add_task("posters", "edited", return_value={"objects": [held], "images": [held]})

        assert (await ask(admin, uri, task_id="edited")).status_code == 404
        assert (await ask(admin, picture="task_1-0", task_id="edited")).status_code == 404
        assert not was_asked(posters)

    async def test_template_fields_of_other_operators_give_no_right(
        self, admin: Client, database: Database, posters: Store
    ) -> None:
        rendered = {"s3_bucket": posters.bucket, "s3_prefix": "private", "aws_conn_id": posters.conn_id}
        database.add_task("posters", "delete", operator="S3DeleteObjectsOperator", rendered=rendered)

        assert (await ask(admin, posters.put("private/1.png", drawn()), task_id="delete")).status_code == 404
        assert not was_asked(posters)


class TestContents:
    @pytest.mark.parametrize("size", ["full", "thumbnail"])
    @pytest.mark.parametrize(
        "body",
        [
            SVG,
            b"<!doctype html><script>alert(1)</script>",
            b"%PDF-1.7",
            b"",
            drawn("GIF"),
            drawn("PNG")[:-20],
            b"\x89PNG\r\n\x1a\n" + SVG,
        ],
        ids=["svg", "html", "pdf", "empty", "gif", "truncated png", "svg with the beginning of a png"],
    )
    async def test_what_is_no_whole_raster_picture_is_refused_whatever_its_metadata_say(
        self, admin: Client, posters: Store, body: bytes, size: str
    ) -> None:
        uri = posters.store("pictures/1.png", body, ContentType="image/png")

        answer = await ask(admin, uri, size=size)

        assert answer.status_code == 415
        assert b"<script>" not in answer.content
        assert b"alert" not in answer.content
        assert b"PDF" not in answer.content

    async def test_a_picture_that_is_larger_than_64_mib_is_not_read(self, admin: Client, posters: Store) -> None:
        uri = posters.store("pictures/1.png", bytes(64 * 1024 * 1024 + 1))

        answer = await ask(admin, uri)

        assert answer.status_code == 415
        assert "of up to 64 MiB" in answer.text
        assert posters.reads.seen == 0

    async def test_a_script_behind_a_picture_is_still_a_picture(self, admin: Client, posters: Store) -> None:
        body = drawn("PNG")[:-12] + b"\0\0\0\x20tEXt" + b"<script>alert(1)</script>".ljust(36) + drawn("PNG")[-12:]

        answer = await ask(admin, posters.store("pictures/1.html", body, ContentType="text/html"))

        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].endswith('.png"')


class TestGateways:
    async def ask(self, client: Client, picture: str = "task_1-0", size: str = "full") -> httpx.Response:
        return await ask(client, task_id="generate", picture=picture, size=size)

    async def test_a_url_into_the_servers_own_network_is_not_fetched(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought(gateway="https://api.apimart.ai")

        answer = await self.ask(admin)

        assert answer.status_code == 502
        assert read_error(answer) == "The picture could not be had from where it is. The API server's log says why."
        assert image_host.requests == []

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/1.png", "http://localhost:9/1.png", "http://nowhere.invalid/"])
    async def test_a_url_tells_nothing_of_the_servers_own_network(
        self, admin: Client, bought: Callable[..., None], url: str
    ) -> None:
        bought(url, gateway="https://api.apimart.ai")

        answer = await self.ask(admin)

        assert answer.status_code == 502
        assert read_error(answer) == "The picture could not be had from where it is. The API server's log says why."

    @pytest.mark.parametrize("status", [500, 503, 400, 451, 302])
    async def test_nothing_is_told_of_what_the_image_host_answers(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost, status: int
    ) -> None:
        bought()
        image_host.answer = Answer.holding(SECRET, status)

        answer = await self.ask(admin)

        assert answer.status_code == 502
        assert read_error(answer) == "The picture could not be had from where it is. The API server's log says why."

    async def test_nothing_is_told_of_what_is_no_picture(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        image_host.answer = Answer.holding(b"root:x:0:0:root")

        assert "root" not in (await self.ask(admin)).text

    async def test_another_port_of_a_local_gateways_host_is_not_fetched(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought(gateway="http://127.0.0.1:9")

        assert (await self.ask(admin)).status_code == 502
        assert image_host.requests == []

    async def test_a_redirect_of_a_local_gateway_leads_nowhere_else_in_its_network(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        with HttpServer(lambda _: Answer.holding(drawn())) as another:
            image_host.answer = Answer(status=302, headers={"Location": another.url()})

            assert (await self.ask(admin)).status_code == 502
            assert another.requests == []

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::ffff:127.0.0.1]", "127.1", "[::]", "2130706433"])
    async def test_a_gateway_on_a_private_host_opens_that_host_alone(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost, host: str
    ) -> None:
        bought(image_host.url(host=host))

        assert (await self.ask(admin)).status_code == 502
        assert image_host.requests == []

    @pytest.mark.parametrize(
        "url",
        [
            "file:///etc/passwd",
            "ftp://127.0.0.1/1.png",
            "data:image/png;base64,%%%",
            "http://[::1/1.png",
            "http://127.0.0.1:99999/1.png",
            "",
            "//",
            "http://",
        ],
    )
    async def test_what_is_no_url_of_a_picture_is_not_fetched(
        self, admin: Client, bought: Callable[..., None], url: str
    ) -> None:
        bought(url or "None")

        assert (await self.ask(admin)).status_code == 502

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/"])
    async def test_a_redirect_leads_nowhere_but_to_the_web(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost, target: str
    ) -> None:
        bought()
        image_host.answer = Answer(status=302, headers={"Location": target})

        assert (await self.ask(admin)).status_code == 502
        assert len(image_host.requests) == 1

    async def test_the_image_host_learns_nothing_of_who_looks(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        admin.headers["Authorization"] = f"Bearer {admin.cookies['_token']}"

        assert (await self.ask(admin)).status_code == 200

        [request] = image_host.requests
        assert set(request.headers) <= {"host", "user-agent", "accept", "accept-encoding"}

    async def test_html_from_an_image_host_is_not_passed_on(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        image_host.answer = Answer.holding(SVG, Content_Type="image/svg+xml")

        answer = await self.ask(admin)

        assert answer.status_code == 415
        assert b"alert" not in answer.content

    async def test_a_picture_without_end_is_given_up(
        self, admin: Client, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        sent = []

        def pieces() -> Any:
            while len(sent) < 2000:
                sent.append(1)
                yield bytes(64 * 1024)

        image_host.answer = Answer(pieces(), length=None)

        answer = await self.ask(admin)

        assert answer.status_code == 415
        assert len(sent) < 2000

    async def test_a_picture_that_no_purchase_tells_of_is_not_fetched(
        self, admin: Client, database: Database, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        listed = [{"task_id": "task_9", "index": 0, "url": image_host.url()}]
        database.add_task("posters", "another", return_value={"images": listed})

        for task_id, picture in (("another", "task_9-0"), ("generate", "task_9-0"), ("generate", image_host.url())):
            assert (await ask(admin, task_id=task_id, picture=picture)).status_code == 404
        assert image_host.requests == []

    async def test_the_connection_is_the_one_that_the_purchase_names(
        self, admin: Client, database: Database, image_host: ImageHost, connect: Callable[[str], str]
    ) -> None:
        database.add_run("posters")
        listed = [{"task_id": "task_1", "index": 0, "url": image_host.url()}]
        unknown = f"apimart_{secrets.token_hex(4)}"
        connect("http://127.0.0.1:9")
        database.add_task("posters", "generate", return_value={"images": listed, "connection": "apimart_default"})
        database.add_event("posters", "generate", BOUGHT, purchase([1], connection=unknown))

        answer = await self.ask(admin)

        assert answer.status_code == 502
        assert unknown not in answer.text
        assert image_host.requests == []

    async def test_a_picture_of_s3_is_no_purchase(
        self, admin: Client, database: Database, bought: Callable[..., None], image_host: ImageHost
    ) -> None:
        bought()
        database.add_task(
            "posters", "copied", return_value={"images": [{"task_id": "task_1", "index": 0, "url": image_host.url()}]}
        )
        database.add_event("posters", "copied", STORED, images([], task_ids=["task_1"]))

        assert (await ask(admin, task_id="copied", picture="task_1-0")).status_code == 404
        assert image_host.requests == []
