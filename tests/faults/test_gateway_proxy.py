"""The proxy before a gateway, and the shapes in which it can answer."""

from __future__ import annotations

import base64
import json
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from faults.gateway_proxy import GatewayProxy, GatewayRule
from faults.response_shapes import SHAPES, SUBMIT_SHAPES
from services.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "http://127.0.0.1:1/f/image/1.png"
RUNNING = {"id": "task_2", "status": "in_progress", "progress": 10}
COMPLETED = {
    "id": "task_1",
    "status": "completed",
    "progress": 100,
    "cost": 0.0085,
    "result": {"images": [{"url": [URL], "expires_at": 1_776_835_126}]},
}
ACCEPTED = {"code": 200, "data": [{"status": "submitted", "task_id": "task_1"}]}


class PlainUpstream(HTTPServer):
    """A gateway with one answer, which counts what reaches it."""

    received = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: PlainUpstream

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received += 1
        body = json.dumps(ACCEPTED if "generations" in self.path else {"code": 200, "data": [COMPLETED]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[PlainUpstream]:
    server = PlainUpstream(("127.0.0.1", 0), _Handler)
    with serving(server):
        yield server


def submit(proxy: GatewayProxy) -> httpx.Response:
    return httpx.post(f"{proxy.url}/v1/images/generations", json={"prompt": "a kite"}, trust_env=False)


def query(proxy: GatewayProxy) -> httpx.Response:
    return httpx.post(f"{proxy.url}/v1/tasks/batch", json={"task_ids": ["task_1"]}, trust_env=False)


def test_a_page_is_answered_without_the_gateway_and_only_as_often_as_it_says(upstream: PlainUpstream) -> None:
    rule = GatewayRule(on=("submit",), action="page", status=524)
    with GatewayProxy(upstream.url, [rule]) as proxy:
        page, accepted = submit(proxy), submit(proxy)

    assert (page.status_code, page.text[:15]) == (524, "<!DOCTYPE html>")
    assert accepted.json() == ACCEPTED
    assert (upstream.received, rule.fired) == (1, 1)


def test_a_page_may_hide_that_the_gateway_has_accepted(upstream: PlainUpstream) -> None:
    rule = GatewayRule(on=("submit",), action="page", status=503, body={"message": "no"}, forwards=True)
    with GatewayProxy(upstream.url, [rule]) as proxy:
        assert submit(proxy).json() == {"message": "no"}

    assert upstream.received == 1


def test_a_response_is_cut_or_drips(upstream: PlainUpstream) -> None:
    rules = [GatewayRule(on=("submit",), action="cut"), GatewayRule(on=("batch",), action="drip", seconds=0.02)]
    with GatewayProxy(upstream.url, rules) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            submit(proxy)
        assert query(proxy).json()["data"] == [COMPLETED]

    assert [rule.fired for rule in rules] == [1, 1]


def test_a_pause_is_a_date_by_the_clock_of_the_same_response(upstream: PlainUpstream) -> None:
    rule = GatewayRule(on=("submit",), action="busy", offset=3600.0, retry_after=60.0)
    with GatewayProxy(upstream.url, [rule]) as proxy:
        headers = submit(proxy).headers

    date, until = (parsedate_to_datetime(headers[name]) for name in ("Date", "Retry-After"))
    assert (until - date).total_seconds() == 60


def test_another_shape_counts_only_where_it_changes_something(upstream: PlainUpstream) -> None:
    rule = GatewayRule(on=("submit", "batch"), action="reshape", shape="status done", times=None)
    with GatewayProxy(upstream.url, [rule]) as proxy:
        assert submit(proxy).json() == ACCEPTED
        assert query(proxy).json()["data"] == [{**COMPLETED, "status": "done"}]

    assert rule.fired == 1


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - set(SUBMIT_SHAPES)))
def test_a_shape_changes_completed_tasks_in_both_answers(shape: str) -> None:
    def reshaped(data: Any) -> bytes:
        body = json.dumps({"code": 200, "data": data}).encode()
        return SHAPES[shape](body, lambda _url: b"picture")

    alone, both = reshaped(COMPLETED), reshaped([COMPLETED, RUNNING])

    assert json.loads(both)["data"] != [COMPLETED, RUNNING]
    assert (json.loads(alone)["data"] != COMPLETED) == (shape != "id and status only")
    assert json.loads(both)["data"][1]["status"] == "in_progress"


@pytest.mark.parametrize("shape", sorted(SUBMIT_SHAPES))
def test_a_shape_of_an_accepted_submit_still_holds_the_id(shape: str) -> None:
    body = json.dumps(ACCEPTED).encode()

    reshaped = SUBMIT_SHAPES[shape](body, lambda _url: b"")

    assert reshaped != body
    assert b'"task_1"' in reshaped


def test_a_picture_comes_within_the_answer() -> None:
    body = SHAPES["b64_json"](json.dumps({"data": COMPLETED}).encode(), lambda _url: b"picture")

    (image,) = json.loads(body)["data"]["result"]["images"]
    assert base64.b64decode(image["b64_json"]) == b"picture"
