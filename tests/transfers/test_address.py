"""The parts of a URL byte for byte, and which addresses count as private. More of both: ``test_download.py``."""

from __future__ import annotations

import pytest

from airflow_provider_apimart.transfers.address import (
    ImageRefusedError,
    UrlParts,
    check_address,
    check_peer,
    loggable,
    redirect_target,
)

PRIVATE = [
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.215.14",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_may_lead_into_this_network_is_private(address: str) -> None:
    with pytest.raises(ImageRefusedError, match="leads to the private address"):
        check_peer("a-host", 443, address, allow_private=False)
    host = f"[{address.partition('%')[0]}]" if ":" in address else address
    with pytest.raises(ImageRefusedError, match="leads to the private address"):
        check_address(f"https://{host}/a.png", allow_private="127.0.0.1:8080")


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001::1"])
def test_a_public_address_is_not(address: str) -> None:
    check_peer("a-host", 443, address, allow_private=False)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://h/a%2fb%2Fc", "/a%2fb%2Fc"),
        ("https://h/a~b+c%7E[1].png", "/a~b+c%7E[1].png"),
        ("https://h/\u00fc/\u65e5 x\u0001.png?a=\u00e9", "/%C3%BC/%E6%97%A5%20x%01.png?a=%C3%A9"),
        ("https://h/a/../b/./c//d/", "/a/../b/./c//d/"),
        ("https://h//two", "//two"),
        ("https://h?a=b&c=%&d==#e", "/?a=b&c=%&d=="),
        ("HTTPS://user:word@h:8443?", "/?"),
        ("https://h", "/"),
        ("https://h/a\r\nHost: evil", "/a%0D%0AHost:%20evil"),
    ],
)
def test_a_target_stays_as_it_is_but_for_what_http_cannot_send(url: str, target: str) -> None:
    assert UrlParts.of(url).target == target


@pytest.mark.parametrize("text", ["", "h/a", "ftp://h/a", "https:/h", "https:///a", "data:,", "javascript:1"])
def test_any_other_text_has_no_parts(text: str) -> None:
    with pytest.raises(ValueError, match="not an http or https URL"):
        UrlParts.of(text)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://other/a%2f?b=#c", "https://other/a%2f?b=#c"),
        ("//other/x?", "http://other/x?"),
        ("/a/../%2f+~", "http://h:1/a/../%2f+~"),
        ("b.png?x=%2f", "http://h:1/d/b.png?x=%2f"),
        ("/\u00c3\u00bc", "http://h:1/\u00fc"),
        ("/\u00fc", "http://h:1/\u00fc"),
        ("ftp://x", "ftp://x"),
    ],
)
def test_a_redirect_leads_where_it_says(location: str, url: str) -> None:
    assert redirect_target("http://h:1/d/a.png?q", location) == url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb", "a\\r\\nb"),
        ("a\x1b[2Jb\0", "a\\x1b[2Jb\\x00"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("plain \u00fc", "plain \u00fc"),
        ("\ud800", "\\ud800"),
        ("x" * 400, "x" * 300 + "..."),
    ],
)
def test_no_control_character_reaches_a_log(text: str, expected: str) -> None:
    assert loggable(text) == expected


@pytest.mark.parametrize("url", ["http://ho\r\nst\x1b/a", "http://10.0.0.1/a\r\nb", "ftp://a\nb", "http://[::1\n/a"])
def test_no_control_character_of_a_url_reaches_an_error(url: str) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        check_address(url, allow_private=False)

    assert str(caught.value).isprintable()


def test_credentials_and_query_of_a_url_reach_no_error() -> None:
    with pytest.raises(ImageRefusedError) as caught:
        check_address("http://user:word@10.0.0.1/a.png?signature=word#word", allow_private=False)

    assert "word" not in str(caught.value)
