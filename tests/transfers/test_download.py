"""Which addresses a picture may come from, and how it is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from airflow_provider_apimart.exceptions import TransferError
from airflow_provider_apimart.transfers._address import check_address
from airflow_provider_apimart.transfers._download import Downloader

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE = [
    "http://127.0.0.1/latest/meta-data",
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.7/a.png",
    "http://192.168.1.1/a.png",
    "http://[::1]/a.png",
    "http://[fe80::1]/a.png",
    "http://localhost/a.png",
    "http://0.0.0.0/a.png",
    "http://[::ffff:127.0.0.1]/a.png",
]
#: Public, written as numbers so that no test looks up a name.
PUBLIC = "http://93.184.215.14/a.png"


def downloader(answer: Callable[[httpx.Request], httpx.Response], *, allow_private: bool = False) -> Downloader:
    return Downloader(
        max_bytes=1000, allow_private=allow_private, max_connections=1, transport=httpx.MockTransport(answer)
    )


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_not_fetched(url: str) -> None:
    with pytest.raises(TransferError, match="private address"):
        check_address(url, allow_private=False)


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_fetched_when_the_gateway_itself_is_local(url: str) -> None:
    check_address(url, allow_private=True)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://93.184.215.14/a.png", "https:///a.png", "gopher://x"])
def test_anything_but_http_is_not_fetched(url: str) -> None:
    with pytest.raises(TransferError, match="not one of http"):
        check_address(url, allow_private=True)


def test_a_public_address_is_fetched() -> None:
    check_address(PUBLIC, allow_private=False)


def test_a_host_without_an_address_is_named() -> None:
    with pytest.raises(TransferError, match=r"no-such-host\.invalid has no address"):
        check_address("https://no-such-host.invalid/a.png", allow_private=False)


@pytest.mark.parametrize("target", PRIVATE)
def test_a_redirect_to_a_private_address_is_not_followed(target: str) -> None:
    asked = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"location": target})

    with downloader(redirect) as fetcher, pytest.raises(TransferError, match="private address"):
        fetcher.fetch(PUBLIC)

    assert asked == [PUBLIC]


def test_redirects_have_an_end() -> None:
    with (
        downloader(lambda _: httpx.Response(302, headers={"location": PUBLIC})) as fetcher,
        pytest.raises(TransferError, match="more than 5 times"),
    ):
        fetcher.fetch(PUBLIC)


def test_the_query_of_a_url_which_may_be_a_signature_is_not_repeated_in_errors() -> None:
    with pytest.raises(TransferError) as caught:
        check_address("http://127.0.0.1/a.png?signature=secret", allow_private=False)

    assert "secret" not in str(caught.value)
