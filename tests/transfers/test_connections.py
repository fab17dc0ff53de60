"""How connections are made, shared, bounded and given up."""

from __future__ import annotations

import base64
import gc
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import urllib3
from transfers.http_server import Answer, HttpServer

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.transfers.connections import HttpConnections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from transfers.conftest import Certificates
    from transfers.http_server import Request

    Environment = Callable[..., None]

BODY = b"the body"


def always(answer: Answer) -> Callable[[Request], Answer]:
    return lambda _: answer


def contexts() -> int:
    """Return how many TLS contexts there are."""
    gc.collect()
    return sum(issubclass(type(held), ssl.SSLContext) for held in gc.get_objects())


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer(always(Answer.holding(BODY))) as server:
        yield server


@pytest.fixture
def tls_server(certificates: Certificates) -> Iterator[HttpServer]:
    with HttpServer(always(Answer.holding(BODY)), certificate=certificates.server) as server:
        yield server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Set environment variables, where no proxy was named and no host excepted from it."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


class TestConnections:
    def test_are_used_again(self, server: HttpServer) -> None:
        with closing(HttpConnections(at_once=2)) as connections:
            bodies = [connections.request("GET", server.url()).data for _ in range(3)]

        assert bodies == [BODY] * 3
        assert server.connections() == 1

    def test_are_no_more_to_one_host_than_allowed(self) -> None:
        at_once = threading.Semaphore(2)

        def answer(_: Request) -> Answer:
            assert at_once.acquire(blocking=False), "a third request came while two were being answered"
            both_are_here.wait()
            at_once.release()
            return Answer.holding(BODY)

        both_are_here = threading.Barrier(2, timeout=300)
        with (
            HttpServer(answer) as server,
            closing(HttpConnections(at_once=2)) as connections,
            ThreadPoolExecutor(6) as threads,
        ):
            statuses = list(threads.map(lambda _: connections.request("GET", server.url()).status, range(6)))

        assert statuses == [200] * 6
        assert server.connections() == 2

    def test_are_all_closed_at_the_end(self, server: HttpServer) -> None:
        connections = HttpConnections(at_once=4)
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: connections.request("GET", server.url()), range(8)))

        assert server.open_connections() == server.connections()
        connections.close()
        assert server.open_connections() == 0
        assert [answer.status for answer in answers] == [200] * 8  # Though somebody still refers to them.

    def test_share_one_tls_context(self, tls_server: HttpServer, certificates: Certificates) -> None:
        before = contexts()
        with closing(HttpConnections(verify=str(certificates.authority), at_once=4)) as connections:
            urls = [tls_server.url(), tls_server.url().replace("127.0.0.1", "localhost")] * 4
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(lambda url: connections.request("GET", url), urls))

            assert tls_server.connections() >= 2
            assert contexts() == before + 1


class TestARequest:
    def test_is_sent_once_whatever_comes_back(self, server: HttpServer) -> None:
        server.answer = always(Answer(status=503))

        with closing(HttpConnections(at_once=1)) as connections:
            assert connections.request("GET", server.url()).status == 503

        assert len(server.requests) == 1

    def test_is_sent_once_when_the_answer_is_lost(self) -> None:
        with HttpServer(always(Answer((b"half",), 8))) as server, closing(HttpConnections(at_once=1)) as connections:
            with pytest.raises(urllib3.exceptions.ProtocolError):
                connections.request("GET", server.url())

            assert len(server.requests) == 1

    def test_is_not_redirected(self, server: HttpServer) -> None:
        server.answer = always(Answer(status=302, headers={"Location": server.url("/elsewhere")}))

        with closing(HttpConnections(at_once=1)) as connections:
            assert connections.request("GET", server.url()).status == 302

        assert [request.path for request in server.requests] == ["/picture.png"]


class TestTls:
    def test_accepts_the_authorities_of_a_file(self, tls_server: HttpServer, certificates: Certificates) -> None:
        with closing(HttpConnections(verify=str(certificates.authority), at_once=1)) as connections:
            assert connections.request("GET", tls_server.url()).data == BODY

    def test_accepts_the_authorities_that_the_environment_names(
        self, tls_server: HttpServer, certificates: Certificates, environment: Environment
    ) -> None:
        environment(SSL_CERT_FILE=str(certificates.authority))

        with closing(HttpConnections(at_once=1)) as connections:
            assert connections.request("GET", tls_server.url()).data == BODY

    def test_refuses_another_authority(self, tls_server: HttpServer, certificates: Certificates) -> None:
        for verify in (True, str(certificates.another_authority)):
            with (
                closing(HttpConnections(verify=verify, at_once=1)) as connections,
                pytest.raises(urllib3.exceptions.SSLError, match="certificate verify failed"),
            ):
                connections.request("GET", tls_server.url())

        assert tls_server.requests == []

    def test_refuses_the_certificate_of_another_host(self, certificates: Certificates) -> None:
        with (
            HttpServer(always(Answer.holding(BODY)), certificate=certificates.server_elsewhere) as server,
            closing(HttpConnections(verify=str(certificates.authority), at_once=1)) as connections,
            pytest.raises(urllib3.exceptions.SSLError, match="certificate is not valid for"),
        ):
            connections.request("GET", server.url())

    def test_accepts_anything_only_where_that_is_wanted_and_warns(self, tls_server: HttpServer) -> None:
        with (
            closing(HttpConnections(verify=False, at_once=1)) as connections,
            pytest.warns(urllib3.exceptions.InsecureRequestWarning),
        ):
            assert connections.request("GET", tls_server.url()).data == BODY

    @pytest.mark.parametrize("content", [None, b"no certificate"], ids=["missing", "unreadable"])
    def test_names_a_file_of_authorities_that_cannot_be_used(self, tmp_path: Path, content: bytes | None) -> None:
        file = tmp_path / "authorities.pem"
        if content is not None:
            file.write_bytes(content)

        with pytest.raises(ConfigurationError, match=r"authorities\.pem"):
            HttpConnections(verify=str(file), at_once=1)


class TestAProxy:
    @pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
    def test_is_used_where_the_environment_names_it(self, environment: Environment, variable: str) -> None:
        with HttpServer(always(Answer.holding(BODY))) as proxy:
            environment(**{variable: proxy.url("")})
            with closing(HttpConnections(at_once=1)) as connections:
                assert connections.request("GET", "http://image-host.invalid/a.png").data == BODY

        assert [request.path for request in proxy.requests] == ["http://image-host.invalid/a.png"]

    def test_is_not_used_for_another_scheme(self, server: HttpServer, environment: Environment) -> None:
        environment(https_proxy="http://127.0.0.1:1")

        with closing(HttpConnections(at_once=1)) as connections:
            assert connections.request("GET", server.url()).data == BODY

    def test_may_be_named_without_a_scheme(self, environment: Environment) -> None:
        with HttpServer(always(Answer.holding(BODY))) as proxy:
            environment(http_proxy=f"127.0.0.1:{proxy.port}")
            with closing(HttpConnections(at_once=1)) as connections:
                assert connections.request("GET", "http://image-host.invalid/a.png").data == BODY

    def test_only_passes_on_what_is_encrypted(
        self, tls_server: HttpServer, certificates: Certificates, environment: Environment
    ) -> None:
        with HttpServer(always(Answer())) as proxy:
            environment(https_proxy=proxy.url(""))
            with closing(HttpConnections(verify=str(certificates.authority), at_once=1)) as connections:
                bodies = [connections.request("GET", tls_server.url()).data for _ in range(2)]

        assert bodies == [BODY, BODY]
        assert [request.method for request in proxy.requests] == ["CONNECT"]

    @pytest.mark.parametrize("no_proxy", ["127.0.0.1", "elsewhere.example,127.0.0.1", "*"])
    def test_is_not_used_for_a_host_that_needs_none(
        self, server: HttpServer, environment: Environment, no_proxy: str
    ) -> None:
        environment(http_proxy="http://127.0.0.1:1", no_proxy=no_proxy)

        with closing(HttpConnections(at_once=1)) as connections:
            assert connections.request("GET", server.url()).data == BODY
            assert connections.request("GET", server.url().replace("//", "//user:word@")).data == BODY

    def test_alone_gets_its_credentials(
        self, tls_server: HttpServer, certificates: Certificates, environment: Environment
    ) -> None:
        with HttpServer(always(Answer())) as proxy:
            address = proxy.url("").replace("//", "//us%40er:pass%3Aword@")
            environment(http_proxy=address, https_proxy=address)
            with closing(HttpConnections(verify=str(certificates.authority), at_once=1)) as connections:
                connections.request("GET", "http://image-host.invalid/a.png")
                connections.request("GET", tls_server.url())

        expected = "Basic " + base64.b64encode(b"us@er:pass:word").decode()
        assert [request.headers["proxy-authorization"] for request in proxy.requests] == [expected] * 2
        assert "proxy-authorization" not in tls_server.requests[0].headers

    @pytest.mark.parametrize(
        "address", ["http://user:word@127.0.0.1:1", "http://user:word@127.0.0.1:port", "socks5://user:word@127.0.0.1"]
    )
    def test_that_cannot_be_used_is_an_error_without_its_credentials(
        self, environment: Environment, address: str
    ) -> None:
        environment(http_proxy=address)

        with closing(HttpConnections(at_once=1)) as connections, pytest.raises(urllib3.exceptions.HTTPError) as caught:
            connections.request("GET", "http://image-host.invalid/a.png")

        assert "word" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    def test_that_refuses_is_an_error_without_its_credentials(
        self, tls_server: HttpServer, environment: Environment
    ) -> None:
        with HttpServer(always(Answer(status=407))) as proxy:
            environment(https_proxy=proxy.url("").replace("//", "//user:word@"))
            with (
                closing(HttpConnections(at_once=1)) as connections,
                pytest.raises(urllib3.exceptions.HTTPError) as caught,
            ):
                connections.request("GET", tls_server.url())

        assert "407" in str(caught.value)
        assert "word" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"

    def test_is_taken_from_the_environment_of_the_moment(self, server: HttpServer, environment: Environment) -> None:
        with closing(HttpConnections(at_once=1)) as connections:
            connections.request("GET", server.url())
        with HttpServer(always(Answer.holding(BODY))) as proxy:
            environment(http_proxy=proxy.url(""))
            with closing(HttpConnections(at_once=1)) as connections:
                connections.request("GET", server.url())

        assert len(server.requests) == len(proxy.requests) == 1
