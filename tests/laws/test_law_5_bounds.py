"""Law 5: everything is bounded: requests, waits, pauses, what a run keeps, and messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from services.misbehaving_proxy import dripping, flooding
from services.plain_gateway import RawReply

from airflow_provider_apimart.exceptions import ApimartError, InvalidRequestError, SubmitOutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from laws.airflow_task import AirflowTask
    from services.misbehaving_proxy import MisbehavingProxy, ProxiedRequest
    from services.plain_gateway import PlainGateway

    Act = Callable[[ProxiedRequest], None]
    Connect = Callable[..., str]
    Copy = Callable[..., dict[str, Any]]
    Describe = Callable[..., Callable[[], Any]]

#: Characters of the longest message that a log, a database column and a reader can take.
LONGEST_MESSAGE = 5_000
MIB = 1024 * 1024


class TestManyPictures:
    @pytest.mark.parametrize(("model", "n"), [("gpt-image-2", 40), ("gpt-image-2", 200), ("gpt-image-2-official", 200)])
    def test_are_recorded_in_groups(  # fixtures
        self,
        gateway: PlainGateway,
        direct: str,
        airflow_task: AirflowTask,
        image_operator: Describe,
        model: str,
        n: int,
    ) -> None:
        airflow_task.run_until_deferred(image_operator(apimart_conn_id=direct, model=model, n=n))

        assert airflow_task.store is not None
        written = [len(json.dumps(value)) for value in airflow_task.store.history]
        assert sum(purchase.call.body["n"] for purchase in gateway.purchases) == n
        assert len(written) < 60
        assert max(written) < 40_000
        assert sum(written) < MIB

    @pytest.mark.parametrize("n", [501, 1_000_000, "100000", 10**30])
    def test_beyond_reason_are_refused_by_name(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, n: Any
    ) -> None:
        with pytest.raises(InvalidRequestError, match=r"n=.*500"):
            airflow_task.run(image_operator(lambda: {"n": n}, apimart_conn_id=direct))
        with pytest.raises(InvalidRequestError, match=r"n=.*500"):
            image_operator(n=n)()

        assert gateway.calls == []


class TestASubmit:
    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(dripping(), id="drips from the start"),
            pytest.param(dripping(from_body=True), id="drips its body"),
            pytest.param(flooding(64 * MIB), id="never ends"),
        ],
    )
    def test_ends_after_the_connections_timeout(  # fixtures
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        connect: Connect,
        airflow_task: AirflowTask,
        image_operator: Describe,
        act: Act,
    ) -> None:
        connect(proxy.url, timeout=0.5)
        proxy.add_rule(act, path="/v1/images/")

        with pytest.raises(SubmitOutcomeUnknownError):
            airflow_task.run(image_operator())

        # A response that drips for a minute was left long before.
        assert len(gateway.calls) <= 1
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("call", ["get_balance", "get_price", "get_task"])
def test_a_response_without_end_is_left(
    proxy: MisbehavingProxy, connect: Connect, gateway: PlainGateway, call: str
) -> None:
    from airflow_provider_apimart.hooks.apimart import ApimartHook

    connect(proxy.url, timeout=5)
    proxy.add_rule(flooding(64 * MIB), times=1)
    given = {"get_balance": (), "get_price": ("gpt-image-2",), "get_task": ("task_1",)}[call]

    with ApimartHook() as hook:
        try:
            getattr(hook, call)(*given)
        except ApimartError as error:
            # Reading it again was in vain too: this gateway does not know task_1.
            assert len(str(error)) < LONGEST_MESSAGE  # noqa: PT017 - it need not fail

    assert 1 <= len(proxy.requests) <= 5
    assert gateway.calls == []


class TestAMessage:
    LONG = "the kiln was cold. " * 50_000

    @pytest.mark.parametrize(
        "view",
        [
            {"status": "failed", "error": {"code": "task_failed", "message": LONG}},
            {"status": "failed", "error": LONG},
            {"status": "failed", "error": {"code": LONG, "message": f"<html>{LONG}"}},
            {"status": LONG},
            {"status": "completed", "result": {"unknown": LONG}},
            {"status": "completed", "result": None, "quote": f"first line\n{LONG}"},
            {"status": "completed", "result": None, "quote": LONG},
        ],
        ids=["message", "text", "code", "status word", "result", "lines", "quote"],
    )
    def test_about_a_task_is_short(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, view: Any
    ) -> None:
        gateway.life = [view]

        with pytest.raises(ApimartError) as caught:
            airflow_task.run(image_operator(apimart_conn_id=direct, timeout=1))

        assert len(str(caught.value)) < LONGEST_MESSAGE
        assert "\n" not in str(caught.value)
        assert gateway.purchases[0].task_id in str(caught.value)

    @pytest.mark.parametrize(
        "reply",
        [
            RawReply(400, {"error": {"code": 400, "message": LONG, "type": "invalid_request_error"}}),
            RawReply(502, f"<html>{LONG}</html>"),
            RawReply(401, {"error": {"code": LONG, "message": LONG, "type": LONG}}),
        ],
        ids=lambda reply: str(reply.status),
    )
    def test_about_a_submit_is_short(
        self, gateway: PlainGateway, direct: str, airflow_task: AirflowTask, image_operator: Describe, reply: RawReply
    ) -> None:
        gateway.reply("submit", reply)

        with pytest.raises(ApimartError) as caught:
            airflow_task.run(image_operator(apimart_conn_id=direct))

        assert len(str(caught.value)) < LONGEST_MESSAGE


@pytest.mark.parametrize(
    "host",
    [
        "https://user:hunter2-secret@api.apimart.ai",
        "htps://user:hunter2-secret@api.apimart.ai",
        "https://user:hunter2-secret@api.apimart.ai:443x",
        "user:hunter2-secret@",
        "https://sk-hunter2secret/v1?region=eu",
        "https://[sk-hunter2-secret",
    ],
)
def test_a_host_with_a_typo_shows_no_secret(
    connect: Connect, airflow_task: AirflowTask, image_operator: Describe, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    connect(host, timeout=0.5)

    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, it must not tell
        airflow_task.run(image_operator())

    shown = f"{caught.value!r} {caught.value.__cause__!r} {capsys.readouterr()}"
    assert "hunter2" not in shown


@pytest.mark.parametrize("key", ["apimart.0123456789abcdef.ABCDEF", "sk-laws-0123456789abcdef"])
@pytest.mark.parametrize("room", [8, 16, 20])
def test_a_message_that_is_cut_shows_no_part_of_the_key(
    gateway: PlainGateway, connect: Connect, airflow_task: AirflowTask, image_operator: Describe, key: str, room: int
) -> None:
    connect(gateway.url, password=key)
    text = "x" * (297 - room) + key
    gateway.reply("submit", RawReply(400, {"error": {"message": text, "type": "invalid_request_error"}}))

    with pytest.raises(ApimartError) as caught:
        airflow_task.run(image_operator())

    assert "xxx***" in str(caught.value)
    assert key[:8] not in str(caught.value)
