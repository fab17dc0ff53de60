from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from simulator.clients import fetch

from airflow_provider_apimart.simulator.images import render

if TYPE_CHECKING:
    import httpx
    from simulator.fixtures import Clock, Finish

    from airflow_provider_apimart.simulator import Simulator


def test_a_picture_is_served_to_anyone_until_it_expires(finish: Finish, clock: Clock) -> None:
    task = finish(size="16:9")
    [image] = task["result"]["images"]
    clock.now = image["expires_at"] - 1
    fresh = fetch(image["url"][0])
    clock.now = image["expires_at"] + 1
    expired = fetch(image["url"][0])

    assert fresh.headers["content-type"] == "image/png"
    with Image.open(BytesIO(fresh.content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (1536, 864))
    assert expired.status_code == 403


def test_format_compression_and_transparency_reach_the_picture(finish: Finish) -> None:
    jpeg = finish(model="gpt-image-2-official", output_format="jpeg", output_compression=40)
    clear = finish(model="gpt-image-1.5-official", background="transparent", size="2:3")
    answers = [fetch(task["result"]["images"][0]["url"][0]) for task in (jpeg, clear)]

    assert [answer.headers["content-type"] for answer in answers] == ["image/jpeg", "image/png"]
    with Image.open(BytesIO(answers[1].content)) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (1024, 1536))


def test_the_same_address_always_holds_the_same_picture(finish: Finish) -> None:
    task = finish(model="gpt-image-2-official", n=2)
    urls = [image["url"][0] for image in task["result"]["images"]]
    first = [fetch(url).content for url in urls]

    assert [fetch(url).content for url in urls] == first
    assert first[0] != first[1]


def test_an_address_that_was_never_given_out_holds_nothing(simulator: Simulator, finish: Finish) -> None:
    url = finish()["result"]["images"][0]["url"][0]

    assert fetch(url.replace("_0.png", "_1.png")).status_code == 404
    assert fetch(f"{simulator.url}/f/image/nothing.png").status_code == 404
    assert fetch(f"{simulator.url}/f/upload/nothing.png").status_code == 404


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_an_upload_is_answered_with_the_five_measured_keys(
    simulator: Simulator, client: httpx.Client, clock: Clock, image_format: str
) -> None:
    content = render("reference", 32, 32, image_format)
    files = {"file": ("reference.bin", content, "application/octet-stream")}
    answer = client.post(f"{simulator.url}/v1/uploads/images", files=files).json()
    served = fetch(answer["url"])

    assert list(answer) == ["url", "filename", "content_type", "bytes", "created_at"]
    assert (answer["filename"], answer["content_type"]) == ("reference.bin", f"image/{image_format}")
    assert (answer["bytes"], answer["created_at"]) == (len(content), int(clock.now))
    assert served.content == content
    clock.advance(72 * 3600)
    assert fetch(answer["url"]).status_code == 403


@pytest.mark.parametrize(
    ("files", "status", "message"),
    [
        ({"other": ("a.png", b"x", "image/png")}, 400, "missing or invalid file field: http: no such file"),
        (
            {"file": ("a.pdf", b"%PDF-1.7", "application/pdf")},
            400,
            "unsupported image type: application/pdf, allowed: jpeg, png, gif, webp",
        ),
        (
            {"file": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20_971_520), "image/png")},
            413,
            "file size 20971528 exceeds maximum 20971520 bytes",
        ),
    ],
)
def test_a_bad_upload_is_refused_without_a_code(
    simulator: Simulator, client: httpx.Client, files: dict[str, Any], status: int, message: str
) -> None:
    answer = client.post(f"{simulator.url}/v1/uploads/images", files=files)

    assert answer.status_code == status
    assert answer.json() == {"error": {"message": message, "type": "invalid_request_error"}}
