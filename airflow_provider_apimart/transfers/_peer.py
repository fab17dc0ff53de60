"""Connections whose other end is looked at before it is told anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_apimart.transfers._deadline import Answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    Check = Callable[[str, int, str], None]

__all__ = ["pool_classes"]


def pool_classes(check: Check) -> dict[str, type[HTTPConnectionPool]]:
    """
    Return what urllib3 makes pools of connections of, by scheme.

    :param check: called with host and port as the URL has them, and with the address that the connection has led to.
        What it raises ends the request, of which nothing was sent then.
    """

    class Plain(HTTPConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self, check)

    class Encrypted(HTTPSConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            return _checked(super()._new_conn(), self, check)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


def _checked(sock: socket.socket, connection: HTTPConnection, check: Check) -> socket.socket:
    try:
        check(connection.host, connection.port, sock.getpeername()[0])
    except BaseException:
        sock.close()
        raise
    return sock
