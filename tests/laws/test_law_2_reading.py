"""Law 2: reading never ends a purchase, whatever answers a status query or a download."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from services.misbehaving_proxy import (
    HTML_PAGE,
    MisbehavingProxy,
    answering,
    cutting_after,
    cutting_before,
    dripping,
    flooding,
    garbling_tls,
    replacing,
    rewriting,
)
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, RateLimitError, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from laws.airflow_task import AirflowTask
    from services.misbehaving_proxy import ProxiedRequest
    from services.plain_gateway import PlainGateway, PlainPurchase

    Act = Callable[[ProxiedRequest], None]
    Connect = Callable[..., str]
    Copy = Callable[..., dict[str, Any]]
    Describe = Callable[..., Callable[[], Any]]
    Stored = Callable[[], dict[str, bytes]]

TASKS = "/v1/tasks/"


def own(status: int, code: Any, message: str) -> RawReply:
    """Return an error as the gateway itself writes it."""
    return RawReply(status, {"error": {"code": code, "message": message, "type": "apimart_error"}})


def page(status: int, title: str) -> RawReply:
    """Return an error page of something between client and gateway."""
    return RawReply(status, HTML_PAGE.format(title))


#: What can come instead of a task's status.
TROUBLES = {
    "404 page": answering(page(404, "404 Not Found")),
    "403 page of a firewall": answering(page(403, "Attention Required! | Cloudflare")),
    "401 page": answering(page(401, "Authorization Required")),
    "502 page": answering(page(502, "Bad Gateway")),
    "524 page": replacing(page(524, "A timeout occurred")),
    "page with 200": answering(page(200, "Under maintenance")),
    "503 of a load balancer": answering(RawReply(503, {"message": "Service Unavailable"})),
    "wrong key": answering(own(401, "", "invalid API key (request id: 1)")),
    "400 expired key": answering(own(400, 400, "API key expired")),
    "empty balance": answering(own(402, 402, "balance too low")),
    "403 permissions": answering(own(403, 403, "Insufficient permissions")),
    "unknown id, once": answering(own(400, 400, "无效的任务ID")),
    "unknown or expired, once": answering(own(404, "task_not_found", "任务不存在或已过期")),
    "nothing at all": answering(RawReply(200, b"")),
    "an empty object": answering(RawReply(200, {})),
    "a number": answering(RawReply(200, b"42")),
    "failure with the id of a request": answering(RawReply(200, {"id": "req-1", "status": "error"})),
    "cancelled request": answering(RawReply(200, {"id": "7f3a", "state": "cancelled", "message": "client closed"})),
    "failure of a request in an envelope": answering(RawReply(200, {"data": {"id": "req-1", "status": "failed"}})),
    "cut before": cutting_before(),
    "cut midway": cutting_after(60),
    "a wrong length": rewriting(Content_Length="100000"),
}


class TestAStatusQuery:
    @pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in TROUBLES.items()])
    def test_that_is_answered_by_something_else_is_repeated(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
    ) -> None:
        connect(proxy.url, batch_polling="off")
        rule = proxy.add_rule(act, path=TASKS)

        result = airflow_task.run(image_operator())

        assert result["delivered"] == 1
        assert len(gateway.calls) == 1
        assert rule.fired == 1

    @pytest.mark.parametrize(
        "act", [pytest.param(TROUBLES[name], id=name) for name in ("404 page", "403 page of a firewall", "wrong key")]
    )
    @pytest.mark.parametrize("deferrable", [True, False])
    def test_is_repeated_where_both_endpoints_answer_so_for_a_while(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        behind_proxy: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
        deferrable: bool,
    ) -> None:
        proxy.add_rule(act, path=TASKS, times=2)

        result = airflow_task.run(image_operator(apimart_conn_id=behind_proxy, deferrable=deferrable))

        assert result["delivered"] == 1
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(TROUBLES[name], id=name)
            for name in (
                "404 page",
                "403 page of a firewall",
                "wrong key",
                "empty balance",
                "400 expired key",
                "cut before",
            )
        ],
    )
    def test_of_a_retry_costs_nothing_and_advises_nothing_that_costs(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        behind_proxy: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
    ) -> None:
        make = image_operator(apimart_conn_id=behind_proxy, timeout=1, poll_interval=0.3)
        airflow_task.run_until_deferred(make)
        airflow_task.begin_retry()
        rule = proxy.add_rule(act, path=TASKS, times=None)

        with pytest.raises(ApimartError) as caught:
            airflow_task.run(make)

        assert caught.value.retryable
        assert caught.value.charged != "no"
        assert gateway.purchases[0].task_id in str(caught.value)
        rule.times = 0
        airflow_task.begin_retry()
        assert airflow_task.run(make)["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize("batch_polling", ["auto", "off"])
    def test_survives_a_broken_tls_record(  # fixtures
        self,
        gateway: PlainGateway,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        batch_polling: str,
    ) -> None:
        authority = trustme.CA()
        certificate = tmp_path / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        with MisbehavingProxy(gateway.url, certificate) as proxy:
            rule = proxy.add_rule(garbling_tls(), path=TASKS, times=2)
            conn_id = connect(proxy.url, batch_polling=batch_polling)

            result = airflow_task.run(image_operator(apimart_conn_id=conn_id))

        assert rule.fired == 2
        assert result["delivered"] == 1

    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(dripping(), id="drips from the start"),
            pytest.param(dripping(from_body=True), id="drips its body"),
            pytest.param(flooding(64 * 1024 * 1024), id="never ends"),
        ],
    )
    def test_is_bounded_in_seconds_and_bytes(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
    ) -> None:
        connect(proxy.url, timeout=0.5)
        rule = proxy.add_rule(act, path=TASKS, times=2)

        result = airflow_task.run(image_operator())

        assert result["delivered"] == 1
        assert rule.fired == 2
        # The two that came to nothing, and a few that tell the result: nothing polled in a circle meanwhile.
        assert sum(TASKS in request.target for request in proxy.requests) < 12
        assert len(gateway.calls) == 1


class TestAKeyThatIsSwitchedWhileTasksWait:
    @pytest.mark.parametrize(
        "denial",
        [
            pytest.param(own(401, "", "invalid API key"), id="invalid"),
            pytest.param(own(403, 403, "Insufficient permissions"), id="not permitted"),
            pytest.param(own(400, 400, "无效的任务ID"), id="another account"),
            pytest.param(own(400, 400, "API key expired"), id="expired"),
        ],
    )
    def test_is_looked_up_again_at_the_first_denial(  # fixtures
        self,
        gateway: PlainGateway,
        connect: Connect,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        denial: RawReply,
    ) -> None:
        gateway.private_tasks = True
        make = image_operator(apimart_conn_id=direct)
        trigger = airflow_task.run_until_deferred(make)
        connect(gateway.url, password="sk-of-another-account", batch_polling="off")

        def deny() -> RawReply:
            connect(gateway.url)
            return denial

        gateway.reply("batch", deny)
        gateway.reply("task", deny)

        assert airflow_task.resume(make, airflow_task.event_of(trigger))["delivered"] == 1
        assert len(gateway.calls) == 1


class TestATaskThatIsCompletedWithoutPictures:
    @pytest.mark.parametrize(
        "view",
        [
            {"status": "completed", "result": {"images": []}},
            {"status": "completed", "result": None},
            {"status": "completed", "result": {"images": [{"url": ""}]}},
            {"status": "completed", "result": {"images": [{"url": [], "expires_at": 0}]}},
        ],
        ids=json.dumps,
    )
    def test_is_queried_again(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, view: Any
    ) -> None:
        gateway.life = ["processing", view, view, "completed"]

        result = airflow_task.run(image_operator(apimart_conn_id=direct))

        assert result["delivered"] == 1
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize(
        "item",
        [
            lambda item: {"id": item["id"], "status": "completed"},
            lambda item: {"task_id": item["id"], "status": "success", "progress": 100},
            lambda item: {**item, "result": {"images": []}},
        ],
    )
    def test_in_a_batch_is_queried_singly(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        item: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        gateway.reshape("batch", lambda body: {"data": [item(entry) for entry in body["data"]]}, times=50)

        result = airflow_task.run(image_operator(apimart_conn_id=direct, n=2))

        assert result["delivered"] == 2

    @pytest.mark.parametrize("deferrable", [True, False])
    def test_at_the_deadline_is_not_given_up(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, deferrable: bool
    ) -> None:
        gateway.life = [{"status": "completed", "result": {"images": []}}]
        make = image_operator(apimart_conn_id=direct, timeout=1, deferrable=deferrable)
        with pytest.raises(TaskError) as caught:
            airflow_task.run(make)
        gateway.life = ["completed"]
        airflow_task.begin_retry()

        assert caught.value.retryable
        assert gateway.purchases[0].task_id in str(caught.value)
        assert airflow_task.run(make)["delivered"] == 1
        assert len(gateway.calls) == 1


class TestAStatusWord:
    @pytest.mark.parametrize("word", ["done", "finished", "Success", "SUCCEEDED", "Complete", "succeed", " completed "])
    def test_that_plainly_means_finished_is_read_so(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, word: str
    ) -> None:
        gateway.life = [lambda purchase, at: {**at.usual_view(purchase), "status": word}]

        result = airflow_task.run(image_operator(apimart_conn_id=direct))

        assert result["delivered"] == 1
        assert result["status"] == "completed"

    @pytest.mark.parametrize("word", ["archived", "On Hold", "審査中"])
    def test_that_is_not_known_is_named_at_the_timeout(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, word: str
    ) -> None:
        gateway.life = [word]

        with pytest.raises(TaskError, match=f"(?i){word}") as caught:
            airflow_task.run(image_operator(apimart_conn_id=direct, timeout=1))

        assert caught.value.retryable
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize("word", ["expired", "Expired", "EXPIRED"])
    def test_that_says_expired_is_not_bought_again_by_itself(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, word: str
    ) -> None:
        gateway.life = [word]

        with pytest.raises(ApimartError, match=r"(?i)expired"):
            airflow_task.run_tries(image_operator(apimart_conn_id=direct, timeout=1, retries=2))

        assert len(gateway.calls) == 1


class TestASubmitResponse:
    @pytest.mark.parametrize(
        "shape",
        [
            pytest.param(lambda body: {**body, "error": {"code": "", "message": ""}}, id="beside an empty error"),
            pytest.param(lambda body: {**body, "error": None, "message": ""}, id="beside null"),
            pytest.param(lambda body: {**body, "code": 0}, id="code 0"),
            pytest.param(lambda body: {**body, "code": "success"}, id="code success"),
            pytest.param(lambda body: {"code": 200, "data": [{"taskId": identity(body)}]}, id="taskId"),
            pytest.param(lambda body: {"taskId": identity(body)}, id="taskId at the top"),
            pytest.param(lambda body: {"code": 200, "data": {"task": {"id": identity(body)}}}, id="in a task"),
            pytest.param(lambda body: {"code": 200, "data": {"data": [{"task_id": identity(body)}]}}, id="nested"),
            pytest.param(lambda body: {"result": {"task_id": identity(body), "status": "queued"}}, id="in a result"),
            pytest.param(lambda body: RawReply(200, b"\xef\xbb\xbf" + json.dumps(body).encode()), id="byte order mark"),
            pytest.param(lambda body: RawReply(202, body, {"Content-Type": "text/plain"}), id="as text"),
            pytest.param(lambda body: {**body, "task_ids": [identity(body)]}, id="twice, also in a list"),
            pytest.param(lambda body: {**body, "task": {"id": identity(body)}}, id="twice, also in a task"),
        ],
    )
    def test_that_holds_an_id_is_an_acceptance(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        shape: Callable[[Any], Any],
    ) -> None:
        gateway.reshape("submit", shape)

        result = airflow_task.run(image_operator(apimart_conn_id=direct))

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert result["delivered"] == 1
        assert result["cost"] == pytest.approx(0.0085)
        assert len(gateway.calls) == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content_Length": "100000"},
            {"Content_Length": "2000", "Content_Type": "text/plain"},
            {"Transfer_Encoding": "chunked", "Content_Length": "0"},
        ],
        ids=["a wrong length", "a wrong length and type", "chunks without an end"],
    )
    def test_that_is_whole_counts_though_its_connection_broke(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        headers: dict[str, str],
    ) -> None:
        def act(request: ProxiedRequest) -> None:
            if "Transfer_Encoding" not in headers:
                return rewriting(**headers)(request)
            body = request.forward().partition(b"\r\n\r\n")[2]
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            return request.send(head + f"{len(body):x}\r\n".encode() + body + b"\r\n")

        connect(proxy.url)
        proxy.add_rule(act, method="POST", path="/v1/images/")

        result = airflow_task.run(image_operator())

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.calls) == 1

    def test_that_names_one_task_for_several_requests_is_counted_once(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        gateway.reshape("submit", lambda _body: {"task_id": gateway.purchases[0].task_id}, times=3)

        result = airflow_task.run(image_operator(apimart_conn_id=direct, n=3))

        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert (result["status"], result["delivered"]) == ("partial", 1)
        assert result["cost"] == pytest.approx(0.0085)

    def test_that_holds_a_finished_picture_beside_an_id_is_the_picture(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        def at_once(_body: Any) -> dict[str, Any]:
            (purchase,) = gateway.purchases
            return {"id": "img-1", "status": "completed", "data": [{"url": gateway.issue(purchase)}]}

        gateway.reshape("submit", at_once)

        result = airflow_task.run(image_operator(apimart_conn_id=direct))

        assert [image["url"] for image in result["images"]] == [gateway.issue(gateway.purchases[0])]


def identity(body: Any) -> str:
    return str(body["data"][0]["task_id"])


class TestADownload:
    @pytest.mark.parametrize(
        "replies",
        [
            pytest.param([RawReply(404, "<Error>NoSuchKey</Error>")] * 3, id="404 three times"),
            pytest.param([RawReply(403, "<Error>AccessDenied</Error>")], id="403"),
            pytest.param([RawReply(410)], id="410"),
            pytest.param([RawReply(401)], id="401"),
            pytest.param([RawReply(503, "slow down")], id="503"),
            pytest.param([page(200, "Checking your browser")], id="a page with 200"),
        ],
    )
    def test_of_a_host_that_lags_is_repeated(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
        replies: list[RawReply],
    ) -> None:
        source = airflow_task.run(image_operator(apimart_conn_id=direct))
        gateway.reply("image", *replies)

        result = copy(source)

        assert [held["outcome"] for held in result["objects"]] == ["copied"]
        assert list(stored().values()) == [gateway.picture]

    def test_uses_the_fresh_url_where_the_old_one_is_dead(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
    ) -> None:
        source = airflow_task.run(image_operator(apimart_conn_id=direct))
        gateway.forget_urls()
        gateway.image_path = lambda purchase, _index: f"/moved/{purchase.task_id}.png?signature=2"

        copy(source)

        assert list(stored().values()) == [gateway.picture]

    @pytest.mark.parametrize(
        "answer",
        [
            page(200, "This link has expired"),
            RawReply(200, b""),
            RawReply(200, {"error": "expired"}),
            RawReply(500, "<Error>NoSuchBucket</Error>"),
            None,
        ],
        ids=["page with 200", "nothing", "JSON", "500", "no host"],
    )
    def test_uses_the_fresh_url_also_where_the_old_one_leads_to_something_else(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
        answer: RawReply | None,
    ) -> None:
        source = airflow_task.run(image_operator(apimart_conn_id=direct))
        if answer is None:
            source["images"][0]["url"] = "http://127.0.0.1:9/gone.png"
        gateway.reply("image", *[answer] * 4)
        gateway.image_path = lambda purchase, _index: f"/moved/{purchase.task_id}.png"

        copy(source)

        assert list(stored().values()) == [gateway.picture]

    @pytest.mark.parametrize(
        "reply",
        [
            own(401, "", "invalid API key"),
            own(402, 402, "balance too low"),
            own(400, 400, "无效的任务ID"),
            page(404, "404"),
        ],
        ids=["wrong key", "empty balance", "unknown id", "404 page"],
    )
    def test_of_an_id_that_cannot_be_read_now_may_be_tried_again(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        copy: Copy,
        stored: Stored,
        reply: RawReply,
    ) -> None:
        source = airflow_task.run(image_operator(apimart_conn_id=direct))
        for route in ("task", "batch"):
            gateway.reply(route, *[reply] * 8)

        with pytest.raises(ApimartError) as caught:
            copy(source["task_ids"])
        gateway.work_again()

        assert caught.value.retryable
        assert source["task_ids"][0] in str(caught.value)
        copy(source["task_ids"])
        assert list(stored().values()) == [gateway.picture]


class TestAPauseThatTheGatewayAsksFor:
    @pytest.mark.parametrize(
        ("headers", "least", "most"),
        [
            ({"Retry-After": "172800"}, 60, 3600),
            ({"Retry-After": "1e15"}, 60, 3600),
            (
                {"Retry-After": format_datetime(datetime.fromtimestamp(time.time() + 172_800, UTC), usegmt=True)},
                60,
                3600,
            ),
            pytest.param("behind", 110, 130, id="a clock behind"),
            pytest.param("ahead", 110, 130, id="a clock ahead"),
        ],
    )
    def test_is_bounded_and_measured_by_the_gateways_own_clock(
        self, gateway: PlainGateway, direct: str, headers: Any, least: float, most: float
    ) -> None:
        from airflow_provider_apimart.gateway.request import ImageRequest
        from airflow_provider_apimart.hooks.apimart import ApimartHook

        if isinstance(headers, str):
            skewed = datetime.fromtimestamp(time.time() + (86_400 if headers == "ahead" else -86_400), UTC)
            later = datetime.fromtimestamp(skewed.timestamp() + 120, UTC)
            headers = {"Date": format_datetime(skewed, usegmt=True), "Retry-After": format_datetime(later, usegmt=True)}
        refusal = own(429, 429, "too many requests")
        gateway.reply("submit", RawReply(429, refusal.body, headers))

        with ApimartHook(direct) as hook, pytest.raises(RateLimitError) as caught:
            hook.submit(ImageRequest(prompt="a red kite", model="gpt-image-2"))

        assert caught.value.retry_after is not None
        assert least <= caught.value.retry_after <= most
        assert gateway.purchases == []


def test_purchases_are_collected_though_their_responses_overtake_each_other(  # fixtures
    gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe
) -> None:
    def late(purchase: PlainPurchase, at: PlainGateway) -> dict[str, Any]:
        status = "completed" if purchase.polls > 4 - at.purchases.index(purchase) else "processing"
        return at.usual_view(purchase, status)

    gateway.life = [late]
    gateway.reshape("batch", lambda body: {"data": body["data"][::-1]}, times=9)

    result = airflow_task.run(image_operator(apimart_conn_id=direct, n=3))

    assert sorted(result["task_ids"]) == sorted(purchase.task_id for purchase in gateway.purchases)
    assert [image["task_id"] for image in result["images"]] == result["task_ids"]
