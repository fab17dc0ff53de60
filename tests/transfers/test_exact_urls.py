"""What arrives at a host of the URL that a gateway gave: the bytes of the request line."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from transfers.picture_files import png

from airflow_provider_apimart.transfers.connections import HttpConnections
from airflow_provider_apimart.transfers.download import Downloader

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = [
    "/a%2fb.png",
    "/a%2Fb.png",
    "/a~b.png",
    "/a%7eb.png",
    "/a+b.png",
    "/a%20b.png",
    "/a[1].png",
    "/a%5B1%5D.png",
    "/a/../b/./c.png",
    "/a//b.png",
    "//a.png",
    "/a.png?X-Amz-Signature=a%2fb%2Fc&d=e=f&g=%&h",
    "/a.png?",
    "/?a=/../b",
    "/a;b=c,d@e:f!$&'()*.png",
    "/%e4%b8%ad.png",
    '/a|b^c`d{e}\\f"g<h>.png',
]


@contextmanager
def recording(*bodies: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answer as many requests as there are bodies, on one connection each, and record the request lines."""
    lines: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            for body in bodies:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as file:
                    lines.append(file.readline())
                    while file.readline() not in {b"\r\n", b""}:
                        pass
                    connection.sendall(body)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], lines
        thread.join()


def response(status: str, body: bytes = b"", *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status.encode(), length, b"Connection: close", *headers, b"", body])


PICTURE = response("200 OK", png())


def fetch(url: str) -> None:
    with closing(HttpConnections(at_once=1)) as connections:
        downloader = Downloader(connections, max_bytes=100_000, attempts=1)
        with closing(downloader), downloader.temporary_file() as file:
            downloader.fetch(url, file)


@pytest.mark.parametrize("target", TARGETS)
def test_a_url_arrives_byte_for_byte(target: str) -> None:
    with recording(PICTURE) as (port, lines):
        fetch(f"http://127.0.0.1:{port}{target}#not sent")

    assert lines == [f"GET {target} HTTP/1.1\r\n".encode()]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/\u4e2d\u6587.png", "/%E4%B8%AD%E6%96%87.png"),
        ("/a b\u00fc%2f.png?x=\u00e9%2f", "/a%20b%C3%BC%2f.png?x=%C3%A9%2f"),
        ("/\U0001f600~[1]", "/%F0%9F%98%80~[1]"),
    ],
)
def test_only_what_http_cannot_send_is_encoded(path: str, sent: str) -> None:
    with recording(PICTURE) as (port, lines):
        fetch(f"http://127.0.0.1:{port}{path}")

    assert lines == [f"GET {sent} HTTP/1.1\r\n".encode()]


@pytest.mark.parametrize("target", TARGETS)
def test_the_target_of_a_redirect_arrives_byte_for_byte(target: str) -> None:
    with recording(PICTURE) as (port, lines):
        location = f"http://127.0.0.1:{port}{target}"
        with recording(response("302 Found", b"", b"Location: " + location.encode())) as (first, _):
            fetch(f"http://127.0.0.1:{first}/here")

    assert lines == [f"GET {target} HTTP/1.1\r\n".encode()]


def test_the_target_of_a_redirect_in_utf_8_is_encoded() -> None:
    with recording(response("302 Found", b"", "Location: /\u4e2d%2f.png".encode()), PICTURE) as (port, lines):
        fetch(f"http://127.0.0.1:{port}/here")

    assert lines[1] == b"GET /%E4%B8%AD%2f.png HTTP/1.1\r\n"


@pytest.mark.parametrize("target", ["/a%2fb~[1].png?c=%2F+", "/a/../b//c", "/?x"])
def test_a_proxy_gets_the_url_byte_for_byte_too(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with recording(PICTURE) as (port, lines):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        fetch(f"http://user:word@image-host.invalid{target}")

    assert lines == [f"GET http://image-host.invalid{target} HTTP/1.1\r\n".encode()]
