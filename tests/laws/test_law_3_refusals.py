"""Law 3: only the gateway's own documented error proves a refusal; everything else is an unknown outcome."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from laws.airflow_task import AirflowTask, age_record
from operators.task_instance import StateStore
from services.misbehaving_proxy import (
    HTML_PAGE,
    cutting_after,
    cutting_before,
    dripping,
    flooding,
    replacing,
)
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.misbehaving_proxy import MisbehavingProxy, ProxiedRequest
    from services.plain_gateway import PlainGateway

    Act = Callable[[ProxiedRequest], None]
    Connect = Callable[..., str]
    Describe = Callable[..., Callable[[], Any]]

SUBMITS = "/v1/images/"
DAY = 86_400

#: Responses to a paid call that the gateway has accepted, none of which is the gateway's own documented refusal.
NO_PROOFS: dict[str, Act] = {
    "503 of a load balancer": replacing(RawReply(503, {"message": "Service Unavailable"})),
    "503 page": replacing(RawReply(503, HTML_PAGE.format("Service Unavailable"))),
    "503 text": replacing(RawReply(503, "upstream connect error or disconnect/reset before headers")),
    "502 page": replacing(RawReply(502, HTML_PAGE.format("Bad Gateway"))),
    "524 page": replacing(RawReply(524, HTML_PAGE.format("A timeout occurred"))),
    "403 page of a firewall": replacing(RawReply(403, HTML_PAGE.format("Attention Required!"))),
    "404 page": replacing(RawReply(404, HTML_PAGE.format("404 Not Found"))),
    "413 page": replacing(RawReply(413, HTML_PAGE.format("Request Entity Too Large"))),
    "401 of a proxy": replacing(RawReply(401, {"message": "Unauthorized"})),
    "500 of the gateway": replacing(RawReply(500, {"error": {"code": 500, "message": "oops", "type": "server_error"}})),
    "page with 200": replacing(RawReply(200, HTML_PAGE.format("Please log in"))),
    "nothing": replacing(RawReply(200, b"")),
    "an object without an id": replacing(RawReply(200, {"ok": True})),
    "failure of a request, with its id": replacing(
        RawReply(200, {"id": "req-1", "status": "error", "message": "late"})
    ),
    "failed request": replacing(RawReply(200, {"id": "7f3a", "status": "failed", "error": "upstream timed out"})),
    "failed request in an envelope": replacing(RawReply(200, {"data": {"id": "7f3a", "status": "failed"}})),
    "a redirect": replacing(RawReply(302, b"", {"Location": "https://login.example/"})),
    "cut after the request": cutting_after(),
    "cut midway": cutting_after(80),
    "closed without a word": cutting_before(),
    "no end": flooding(64 * 1024 * 1024),
    "drips": dripping(),
}


class TestALostResponse:
    @pytest.mark.parametrize("act", [pytest.param(act, id=name) for name, act in NO_PROOFS.items()])
    def test_is_an_unknown_outcome_that_no_retry_buys_again(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
    ) -> None:
        connect(proxy.url, timeout=0.7)
        proxy.add_rule(act, method="POST", path=SUBMITS)
        make = image_operator(retries=2)

        for _ in range(3):
            with pytest.raises(SubmitOutcomeUnknownError) as caught:
                airflow_task.run(make)
            assert caught.value.charged == "unknown"
            airflow_task.begin_retry()

        submits = [request for request in proxy.requests if SUBMITS in request.target]
        assert len(submits) == 1
        assert len(gateway.purchases) <= 1

    @pytest.mark.parametrize("name", ["503 of a load balancer", "404 page", "cut after the request"])
    def test_names_its_key(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        behind_proxy: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        name: str,
    ) -> None:
        proxy.add_rule(NO_PROOFS[name], method="POST", path=SUBMITS)

        with pytest.raises(SubmitOutcomeUnknownError) as caught:
            airflow_task.run(image_operator(apimart_conn_id=behind_proxy))

        assert caught.value.idempotency_key == gateway.keys[0]
        assert str(gateway.keys[0]) in str(caught.value)


class TestARefusalOfTheGatewayItself:
    @pytest.mark.parametrize(
        "reply",
        [
            RawReply(429, {"error": {"code": 429, "message": "too many requests", "type": "rate_limit_error"}}),
            RawReply(503, {"error": {"code": 503, "message": "busy", "type": "service_unavailable"}}),
            RawReply(400, {"error": {"code": "get_channel_failed", "message": "Please wait", "type": "apimart_error"}}),
        ],
        ids=lambda reply: str(reply.status),
    )
    def test_for_now_is_submitted_again_with_the_same_key(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, reply: RawReply
    ) -> None:
        gateway.reply("submit", reply)

        result = airflow_task.run(image_operator(apimart_conn_id=direct))

        assert result["delivered"] == 1
        assert len(gateway.purchases) == 1
        assert len(set(gateway.keys)) == 1

    @pytest.mark.parametrize(
        "reply",
        [
            RawReply(401, {"error": {"code": "", "message": "invalid API key", "type": "apimart_error"}}),
            RawReply(402, {"error": {"code": 402, "message": "balance too low", "type": "payment_required"}}),
            RawReply(403, {"error": {"code": 403, "message": "no right to this model", "type": "permission_error"}}),
            RawReply(400, {"error": {"code": 400, "message": "bad size", "type": "invalid_request_error"}}),
            RawReply(200, {"code": 400, "error": {"code": 400, "message": "bad", "type": "invalid_request_error"}}),
        ],
        ids=lambda reply: str(reply.status),
    )
    def test_was_not_charged_and_is_open_for_the_next_try(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, reply: RawReply
    ) -> None:
        gateway.reply("submit", reply)
        make = image_operator(apimart_conn_id=direct)
        with pytest.raises(ApimartError) as caught:
            airflow_task.run(make)
        airflow_task.begin_retry()

        assert caught.value.charged == "no"
        assert not isinstance(caught.value, SubmitOutcomeUnknownError)
        assert airflow_task.run(make)["delivered"] == 1
        assert len(gateway.purchases) == 1


class TestAnUnknownOutcome:
    """Of a purchase that the gateway did accept."""

    @pytest.fixture
    def lost(self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe) -> str:
        """Lose a response, and return the key that went with the request."""
        gateway.reshape("submit", lambda _body: RawReply(502, HTML_PAGE.format("Bad Gateway")))
        with pytest.raises(SubmitOutcomeUnknownError):
            airflow_task.run(image_operator(apimart_conn_id=direct))
        airflow_task.begin_retry()
        return str(gateway.keys[0])

    def test_is_found_by_resubmit_while_the_key_lives(
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        result = airflow_task.run(image_operator(on_unknown_submit="resubmit"))

        assert gateway.keys == [lost, lost]
        assert result["task_ids"] == [gateway.purchases[0].task_id]

    @pytest.mark.parametrize("seconds", [23.5 * 3600, DAY + 60, 2 * DAY, -DAY])
    def test_is_not_submitted_again_with_a_key_that_has_died(  # fixtures
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe, seconds: float
    ) -> None:
        assert airflow_task.store is not None
        age_record(airflow_task.store, seconds, now=time.time())

        with pytest.raises(SubmitOutcomeUnknownError):
            airflow_task.run(image_operator(on_unknown_submit="resubmit"))

        assert gateway.keys == [lost]

    def test_in_a_record_of_0_1_is_not_submitted_again_as_its_age_is_not_known(
        self, gateway: PlainGateway, direct: str, image_operator: Describe
    ) -> None:
        store = StateStore()
        part = {"phase": "intended", "attempt": 0, "task_ids": [], "delivered": []}
        record = {"version": 1, "generation": 2, "fingerprint": "0" * 64, "parts": [part]}
        store.values["apimart_purchase"] = json.dumps(record)

        with pytest.raises(SubmitOutcomeUnknownError):
            AirflowTask(store=store, try_number=2).run(
                image_operator(apimart_conn_id=direct, on_unknown_submit="resubmit")
            )

        assert gateway.calls == []

    def test_is_handed_out_by_a_clear_where_the_gateway_honours_keys(
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        airflow_task.clear_task()

        result = airflow_task.run(image_operator())

        assert gateway.keys == [lost, lost]
        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.purchases) == 1

    def test_is_bought_by_a_clear_where_the_gateway_ignores_keys(
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        gateway.honours_keys = False
        airflow_task.clear_task()

        assert airflow_task.run(image_operator())["delivered"] == 1
        assert gateway.keys == [lost, lost]

    @pytest.mark.parametrize("why", ["changed request", "dead key", "idempotency_key_reused"])
    def test_takes_a_new_key_where_the_old_one_is_of_no_use(
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe, why: str
    ) -> None:
        assert airflow_task.store is not None
        if why == "dead key":
            age_record(airflow_task.store, 2 * DAY, now=time.time())
        if why.startswith("idempotency"):
            error = {"code": why, "message": "this key cannot be used", "type": "apimart_error"}
            gateway.reply("submit", RawReply(409, {"error": error}))
        airflow_task.clear_task()

        result = airflow_task.run(image_operator(prompt="a blue kite" if why == "changed request" else "a red kite"))

        assert result["delivered"] == 1
        assert gateway.keys[-1] != lost
        assert result["task_ids"] == [gateway.purchases[-1].task_id]

    def test_is_kept_where_the_gateway_does_not_know_its_result(
        self, gateway: PlainGateway, lost: str, airflow_task: AirflowTask, image_operator: Describe
    ) -> None:
        error = {"code": "idempotency_result_indeterminate", "message": "not known", "type": "apimart_error"}
        gateway.reply("submit", RawReply(409, {"error": error}))
        airflow_task.clear_task()

        with pytest.raises(SubmitOutcomeUnknownError, match=lost):
            airflow_task.run(image_operator())
        airflow_task.clear_task()
        result = airflow_task.run(image_operator())

        assert gateway.keys == [lost, lost, lost]
        assert result["task_ids"] == [gateway.purchases[0].task_id]
        assert len(gateway.purchases) == 1
