"""From socket to socket with one buffer: what the machine can do, with no regard for what may go wrong."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["copy"]

_BUFFER: Final = memoryview(bytearray(256 * 1024))
_END_OF_HEAD: Final = b"\r\n\r\n"


def copy(ways: Iterable[tuple[str, str]]) -> None:
    """
    GET each first URL and PUT what comes to the second one.

    :param ways: all from one host and all to one host; each connection is kept.
    """
    source: socket.socket | None = None
    target: socket.socket | None = None
    for url, place in ways:
        source, target = source or _connect(url), target or _connect(place)
        source.sendall(_head("GET", url))
        head, received = _receive_head(source)
        size = _length(head)
        target.sendall(_head("PUT", place, f"Content-Length: {size}"))
        target.sendall(_BUFFER[:received])
        while received < size:
            count = source.recv_into(_BUFFER[: size - received])
            if not count:
                raise ConnectionError(f"{url} ended early")
            target.sendall(_BUFFER[:count])
            received += count
        head, received = _receive_head(target)
        _skip(target, _length(head) - received)


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 443), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.scheme == "https":
        return ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
    return connection


def _head(method: str, url: str, *headers: str) -> bytes:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", *headers, "", ""]).encode()


def _receive_head(connection: socket.socket) -> tuple[bytes, int]:
    """Return the head of a successful answer, with how much of the body came along: it begins the buffer."""
    received = b""
    while _END_OF_HEAD not in received:
        count = connection.recv_into(_BUFFER)
        if not count:
            raise ConnectionError("the server closed the connection")
        received += _BUFFER[:count]
    head, _, body = received.partition(_END_OF_HEAD)
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise ConnectionError(received.decode(errors="replace"))
    _BUFFER[: len(body)] = body
    return head, len(body)


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next(int(value) for name, _, value in lines if name == b"content-length")


def _skip(connection: socket.socket, size: int) -> None:
    while size > 0:
        size -= connection.recv_into(_BUFFER[:size])
