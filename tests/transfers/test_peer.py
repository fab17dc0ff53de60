"""Who is refused before anything is sent. That the right ones are, of all addresses: ``test_download.py``."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import urllib3
from transfers.http_server import Answer, HttpServer

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers.address import ImageRefusedError
from airflow_provider_apimart.transfers.connections import HttpConnections, pool_classes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("allowed", [False, "127.0.0.1:9"])
def test_a_private_host_is_told_nothing_whatever_its_name_led_to_before(
    listener: socket.socket, scheme: str, allowed: bool | str
) -> None:
    port = listener.getsockname()[1]
    with (
        closing(HttpConnections(at_once=1, allow_private=allowed)) as connections,
        pytest.raises(TransferError, match=r"localhost leads to the private address 127\.0\.0\.1") as caught,
    ):
        connections.request("GET", f"{scheme}://localhost:{port}/a.png?signature=secret")

    connection, _ = listener.accept()
    with connection:
        assert connection.recv(1) == b""
    assert isinstance(caught.value, ImageRefusedError)
    assert "secret" not in str(caught.value)


def test_a_private_host_that_is_allowed_is_asked() -> None:
    with HttpServer(lambda _: Answer.holding(b"the body")) as server:
        for allowed in (True, f"127.0.0.1:{server.port}"):
            with closing(HttpConnections(at_once=1, allow_private=allowed)) as connections:
                assert connections.request("GET", server.url()).data == b"the body"


def test_a_proxy_may_be_private(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HttpServer(lambda _: Answer.holding(b"the body")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        with closing(HttpConnections(at_once=1, allow_private=False)) as connections:
            assert connections.request("GET", "http://image-host.example/a.png").data == b"the body"


def test_what_is_checked_is_the_host_of_the_url_and_where_it_led() -> None:
    checked = []
    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = pool_classes(lambda *found: checked.append(found))
    with HttpServer(lambda _: Answer.holding(b"the body")) as server:
        for _ in range(2):
            assert manager.request("GET", f"http://localhost:{server.port}/").data == b"the body"
        manager.clear()

        assert checked == [("localhost", server.port, "127.0.0.1")], "each connection once"
