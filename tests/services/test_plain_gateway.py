"""The second gateway and the proxy do what tests rely on."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
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
    holding,
    replacing,
    rewriting,
)
from services.plain_gateway import PlainGateway, RawReply, picture_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.misbehaving_proxy import ProxiedRequest


@pytest.fixture
def gateway() -> Iterator[PlainGateway]:
    with PlainGateway() as gateway:
        yield gateway


@pytest.fixture
def proxy(gateway: PlainGateway) -> Iterator[MisbehavingProxy]:
    with MisbehavingProxy(gateway.url) as proxy:
        yield proxy


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=1) as client:
        yield client


def buy(client: httpx.Client, url: str, *, key: str = "k", prompt: str = "a kite") -> httpx.Response:
    headers = {"Authorization": "Bearer sk-1", "Idempotency-Key": key}
    return client.post(f"{url}/v1/images/generations", json={"prompt": prompt, "n": 1}, headers=headers)


def task_id_of(response: httpx.Response) -> str:
    return str(response.json()["data"][0]["task_id"])


class TestTheGateway:
    def test_sells_a_picture_and_serves_it(self, gateway: PlainGateway, client: httpx.Client) -> None:
        task_id = task_id_of(buy(client, gateway.url))
        task = client.get(f"{gateway.url}/v1/tasks/{task_id}").json()["data"]
        (url,) = task["result"]["images"][0]["url"]

        assert client.get(url).content == picture_bytes()
        assert task["status"] == "completed"
        assert gateway.downloads == [urlsplit(url).path]
        assert gateway.queries == [(task_id,)]

    def test_repeats_its_response_to_a_key_only_where_it_honours_keys(
        self, gateway: PlainGateway, client: httpx.Client
    ) -> None:
        first, again = buy(client, gateway.url), buy(client, gateway.url)
        other = buy(client, gateway.url, prompt="a boat")
        gateway.honours_keys = False
        third = buy(client, gateway.url)

        assert task_id_of(first) == task_id_of(again)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert other.status_code == 409
        assert task_id_of(third) != task_id_of(first)
        assert (len(gateway.calls), len(gateway.purchases)) == (4, 2)

    def test_accepts_nothing_where_a_reply_is_scripted_and_everything_where_it_is_reshaped(
        self, gateway: PlainGateway, client: httpx.Client
    ) -> None:
        gateway.reply("submit", RawReply(402, {"error": {"code": 402, "message": "top up"}}))
        gateway.reshape("submit", lambda body: {"taskId": body["data"][0]["task_id"]})

        refused, reshaped = buy(client, gateway.url), buy(client, gateway.url)

        assert refused.status_code == 402
        assert reshaped.json() == {"taskId": gateway.purchases[0].task_id}
        assert (len(gateway.calls), len(gateway.purchases)) == (2, 1)

    def test_serves_a_url_at_exactly_its_bytes(self, gateway: PlainGateway) -> None:
        gateway.image_path = lambda _purchase, _index: "//a%2fb/../[é].png?sig=a+b%2B"
        gateway.handle("POST", "/v1/images/generations", {}, b'{"prompt": "a kite"}')
        issued = "//a%2fb/../[%C3%A9].png?sig=a+b%2B"
        gateway.view(gateway.purchases[0])
        statuses = []
        for target in (issued, issued.replace("%2f", "%2F"), issued.replace("%2B", "+")):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
            connection.putrequest("GET", target)
            connection.endheaders()
            statuses.append(connection.getresponse().status)
            connection.close()

        assert statuses == [200, 403, 403]
        assert gateway.downloads[0] == issued


class TestTheProxy:
    def test_passes_requests_on_unchanged(
        self, gateway: PlainGateway, proxy: MisbehavingProxy, client: httpx.Client
    ) -> None:
        assert task_id_of(buy(client, proxy.url)) == gateway.purchases[0].task_id
        assert [request.target for request in proxy.forwarded] == ["/v1/images/generations"]

    @pytest.mark.parametrize(
        ("act", "accepted", "status"),
        [
            pytest.param(answering(RawReply(404, HTML_PAGE.format("404"))), 0, 404, id="answers itself"),
            pytest.param(replacing(RawReply(524, HTML_PAGE.format("524"))), 1, 524, id="replaces"),
            pytest.param(cutting_before(), 0, None, id="cuts before"),
            pytest.param(cutting_after(), 1, None, id="cuts after"),
            pytest.param(cutting_after(40), 1, None, id="cuts midway"),
            pytest.param(dripping(pause=2), 1, None, id="drips"),
            pytest.param(rewriting(Content_Length="5"), 1, 200, id="rewrites"),
        ],
    )
    def test_misbehaves_once(
        self,
        gateway: PlainGateway,
        proxy: MisbehavingProxy,
        client: httpx.Client,
        act: Callable[[ProxiedRequest], None],
        accepted: int,
        status: int | None,
    ) -> None:
        proxy.add_rule(act, method="POST")

        try:
            seen = buy(client, proxy.url).status_code
        except httpx.TransportError:
            seen = None

        assert seen == status
        assert len(gateway.purchases) == len(proxy.forwarded) == accepted
        assert buy(client, proxy.url).status_code == 200

    def test_lets_one_response_overtake_another(
        self, gateway: PlainGateway, proxy: MisbehavingProxy, client: httpx.Client
    ) -> None:
        released = threading.Event()
        proxy.add_rule(holding(released))
        held: list[Any] = []

        def buy_first() -> None:
            with httpx.Client(trust_env=False) as other:
                held.append(buy(other, proxy.url, key="1"))

        thread = threading.Thread(target=buy_first)
        thread.start()
        while not gateway.purchases:
            pass
        second = buy(client, proxy.url, key="2")
        assert held == []
        released.set()
        thread.join()

        assert task_id_of(held[0]) < task_id_of(second)

    def test_floods(self, proxy: MisbehavingProxy, client: httpx.Client) -> None:
        proxy.add_rule(flooding(1_000_000))

        assert len(json.loads(client.get(f"{proxy.url}/v1/tasks/1").content)) > 400_000

    def test_speaks_tls_and_breaks_it(self, gateway: PlainGateway, tmp_path: Path) -> None:
        authority = trustme.CA()
        certificate = tmp_path / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with (
            MisbehavingProxy(gateway.url, certificate) as proxy,
            httpx.Client(verify=context, trust_env=False) as client,
        ):
            proxy.add_rule(garbling_tls())
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                buy(client, proxy.url)
            assert buy(client, proxy.url).status_code == 200
