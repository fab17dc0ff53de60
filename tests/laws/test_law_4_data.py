"""Law 4: responses are data: URLs byte for byte, values tolerantly, and what is not understood in a quotation."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from services.plain_gateway import RawReply, picture_bytes

from airflow_provider_apimart.exceptions import ApimartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.plain_gateway import PlainGateway, PlainPurchase

    Copy = Callable[..., dict[str, Any]]
    Describe = Callable[..., Callable[[], Any]]
    Stored = Callable[[], dict[str, bytes]]
    View = Callable[[PlainPurchase, PlainGateway], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("direct")

API_KEY = "sk-laws-0123456789abcdef"


class TestAUrl:
    @pytest.mark.parametrize(
        "path",
        [
            "/files/sk-ii-essence-of-skin.png",
            "/files/Bearer%20market-at-noon.png",
            "/files/picture.png?token=sk-0123456789abcdef",
            f"/files/{API_KEY}.png",
            "/files/a%2fb%2Fc.png",
            "/files/a+b~c.png?sig=a%2Bb%3D&sig2=a+b",
            "/files/[1](2).png?list[]=1",
            "/files//double//slashes.png",
            "/files/./up/../down.png",
            "/files/%7Eencoded%2dneedlessly.png?x=%41",
            "/files/größe-图片.png?größe=1",
            "/files/pipe|quote'.png?a=b|c",
            "/files/picture.png?empty=&bare&=nameless&&",
        ],
    )
    def test_reaches_xcom_and_host_as_it_was_given(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
        path: str,
    ) -> None:
        gateway.image_path = lambda _purchase, _index: path

        result = airflow_task.run(image_operator())
        copy(result)

        assert [image["url"] for image in result["images"]] == [gateway.url + path]
        assert gateway.downloads == ["".join(char if char.isascii() else quote(char) for char in path)]
        assert list(stored().values()) == [gateway.picture]

    @pytest.mark.parametrize("target", ["/real/a%2fb.png?sig=a%2Bb", "/real/~a+[1].png", "/real/a/../b.png"])
    def test_of_a_redirect_is_followed_as_it_was_given(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
        target: str,
    ) -> None:
        gateway.image_path = lambda _purchase, _index: target
        result = airflow_task.run(image_operator())
        gateway.reply("image", RawReply(302, b"", {"Location": gateway.url + target}))
        result["images"][0]["url"] = f"{gateway.url}/elsewhere.png"

        copy(result)

        assert gateway.downloads == ["/elsewhere.png", target]
        assert list(stored().values()) == [gateway.picture]

    @pytest.mark.parametrize("path", ["/u/sk-ii-essence.png", "/u/a%2fb.png?s=sk-0123456789", "/u/größe+~.png"])
    def test_of_an_upload_is_returned_as_it_was_given(self, gateway: PlainGateway, path: str) -> None:
        from airflow_provider_apimart.hooks.apimart import ApimartHook

        gateway.reshape("upload", lambda body: {**body, "url": gateway.url + path})

        with ApimartHook() as hook:
            assert hook.upload_image(picture_bytes()) == gateway.url + path


def view_of(**fields: Any) -> View:
    """Return a view that replaces fields of a completed task; ``URL`` in their JSON stands for the picture's URL."""

    def view(purchase: PlainPurchase, gateway: PlainGateway) -> dict[str, Any]:
        url = gateway.issue(purchase)
        replaced = json.loads(json.dumps(fields).replace("URL", url))
        shown = {**gateway.usual_view(purchase), **replaced}
        return {name: value for name, value in shown.items() if value != "ABSENT"}

    return view


PNG = base64.b64encode(picture_bytes()).decode()
SHAPES = {
    "url as text": view_of(result={"images": [{"url": "URL"}]}),
    "url as a list": view_of(result={"images": [{"url": ["URL"]}]}),
    "images as texts": view_of(result={"images": ["URL"]}),
    "image": view_of(result={"image": "URL"}),
    "image as an object": view_of(result={"image": {"image_url": "URL"}}),
    "result as a list": view_of(result=[{"url": "URL"}]),
    "result as a list of texts": view_of(result=["URL"]),
    "result as text": view_of(result="URL"),
    "result as JSON text": view_of(result=json.dumps({"images": [{"url": ["URL"]}]})),
    "result with data": view_of(result={"data": [{"url": "URL"}]}),
    "output": view_of(result="ABSENT", output=["URL"]),
    "output as text": view_of(result=None, output="URL"),
    "images at the top": view_of(result="ABSENT", images=[{"url": "URL"}]),
    "url at the top": view_of(result="ABSENT", url="URL"),
    "data": view_of(result="ABSENT", data=[{"url": "URL"}]),
    "images in data": view_of(result=None, data={"images": [{"url": "URL"}]}),
    "result_url": view_of(result="ABSENT", result_url="URL"),
    "b64_json": view_of(result={"images": [{"b64_json": PNG}]}),
    "data of b64_json": view_of(result={"data": [{"b64_json": PNG}]}),
    "a data URI": view_of(result={"images": [{"url": f"data:image/png;base64,{PNG}"}]}),
    "a data URI in a list": view_of(result={"images": [{"url": [f"data:image/png;base64,{PNG}"]}]}),
}


@pytest.mark.parametrize("view", [pytest.param(view, id=name) for name, view in SHAPES.items()])
def test_a_picture_is_found_and_stored_wherever_it_plainly_stands(  # fixtures
    gateway: PlainGateway,
    airflow_task: AirflowTask,
    image_operator: Describe,
    copy: Copy,
    stored: Stored,
    view: View,
) -> None:
    gateway.life = [view]

    result = airflow_task.run(image_operator())
    copy(result)

    assert result["delivered"] == 1
    assert list(stored().values()) == [gateway.picture]


@pytest.mark.parametrize(
    "data", [lambda url: [{"url": url}], lambda url: {"url": url}, lambda url: url], ids=["list", "object", "text"]
)
def test_a_picture_is_found_in_the_data_of_a_task_without_an_envelope(
    gateway: PlainGateway,
    connect: Callable[..., str],
    airflow_task: AirflowTask,
    image_operator: Describe,
    data: Callable[[str], Any],
) -> None:
    connect(gateway.url, batch_polling="off")
    url = "https://pictures.example/kite.png"
    gateway.reshape("task", lambda body: {"id": body["data"]["id"], "status": "completed", "data": data(url)})

    result = airflow_task.run(image_operator())

    assert [image["url"] for image in result["images"]] == [url]


@pytest.mark.parametrize("task_id", ["task_für-1", "任务-1", "task 1", "task_1\n2"])
def test_a_task_is_stored_whatever_its_id_is(
    gateway: PlainGateway,
    airflow_task: AirflowTask,
    image_operator: Describe,
    copy: Copy,
    stored: Stored,
    task_id: str,
) -> None:
    result = airflow_task.run(image_operator())
    renaming = json.dumps(result).replace(gateway.purchases[0].task_id, json.dumps(task_id)[1:-1])
    source = json.loads(renaming)
    source["images"][0]["url"] = result["images"][0]["url"]

    outcomes = [copy(source, s3_key="kite.{ext}")["objects"][0]["outcome"] for _ in range(2)]

    assert outcomes == ["copied", "skipped"]
    assert list(stored().values()) == [gateway.picture]


SOON = int(time.time()) + 3600


class TestAValue:
    @pytest.mark.parametrize(
        ("given", "read"),
        [
            pytest.param(SOON * 1000, SOON, id="milliseconds"),
            pytest.param(str(SOON), SOON, id="text"),
            pytest.param(f"{SOON}000", SOON, id="milliseconds as text"),
            pytest.param(float(SOON), SOON, id="float"),
            pytest.param(datetime.fromtimestamp(SOON, UTC).isoformat(), SOON, id="ISO"),
            pytest.param(datetime.fromtimestamp(SOON, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), SOON, id="ISO with Z"),
            *(pytest.param(value, None, id=repr(value)) for value in (0, None, "", "ABSENT", "soon", -1, True, {})),
        ],
    )
    def test_expires_at_is_read_from_any_form_and_assumed_where_there_is_none(  # fixtures
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        given: Any,
        read: int | None,
    ) -> None:
        image = {"url": "URL"} if given == "ABSENT" else {"url": "URL", "expires_at": given}
        gateway.life = [view_of(result={"images": [image]})]

        result = airflow_task.run(image_operator())
        # The report of a picture that could not be copied tells the time in words.
        with pytest.raises(ApimartError, match=result["task_ids"][0]):
            copy(result, max_bytes=10)

        expires_at = result["images"][0]["expires_at"]
        if read is not None:
            assert expires_at == read
        else:
            assert expires_at is None or abs(expires_at - time.time()) < 2 * 86_400

    @pytest.mark.parametrize(
        ("fields", "cost"),
        [
            ({"cost": "0.0085", "credits_cost": "0.085", "created": "1789806894", "progress": "100%"}, 0.0085),
            ({"cost": 0.0085, "progress": "100 %", "completed": 1789806901000, "actual_time": "7"}, 0.0085),
            ({"cost": None, "credits_cost": "", "progress": None, "actual_time": "seven"}, None),
            ({"cost": "ABSENT", "credits_cost": "ABSENT", "created": "ABSENT", "completed": "ABSENT"}, None),
            ({"cost": {"usd": 1}, "credits_cost": [], "progress": [100], "usage": "none"}, None),
        ],
    )
    def test_number_is_read_from_text_and_unknown_is_never_zero(
        self,
        gateway: PlainGateway,
        airflow_task: AirflowTask,
        image_operator: Describe,
        fields: dict[str, Any],
        cost: float | None,
    ) -> None:
        gateway.life = [view_of(**fields)]

        result = airflow_task.run(image_operator())

        assert (result["delivered"], result["cost"]) == (1, cost)


@pytest.mark.parametrize(
    ("fields", "quoted"),
    [
        ({"result": {"picture_id": "pic-2481-harbour"}}, "pic-2481-harbour"),
        ({"result": "see the console, job 2481"}, "job 2481"),
        ({"result": {"images": [{"asset": "asset-77"}]}}, "asset-77"),
        ({"result": None, "artifacts": ["artifact-12"]}, "artifact-12"),
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_what_cannot_be_understood_is_quoted_in_the_error(  # fixtures
    gateway: PlainGateway,
    airflow_task: AirflowTask,
    image_operator: Describe,
    fields: dict[str, Any],
    quoted: str,
    deferrable: bool,
) -> None:
    gateway.life = [view_of(**fields)]

    with pytest.raises(ApimartError) as caught:
        airflow_task.run(image_operator(timeout=1, deferrable=deferrable))

    assert quoted in str(caught.value)
    assert caught.value.retryable
