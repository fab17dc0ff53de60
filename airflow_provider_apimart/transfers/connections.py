"""
HTTP connections for bodies of many MiB, shared by threads.

urllib3, on which boto3 is built too, moves them at a third of the processor time that httpx needs. One TLS context
serves all connections, because loading the certificate authorities takes longer than copying a picture.
"""

from __future__ import annotations

import http.client
import io
import math
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import urllib3
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.transfers.address import UrlParts, check_peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from urllib3 import BaseHTTPResponse

    PeerCheck = Callable[[str, int, str], None]

__all__ = ["CHUNK", "BoundedResponse", "HttpConnections", "pool_classes", "response_deadline"]

#: Bytes read at once. A larger chunk is not faster, and every simultaneous copy holds a few of them.
CHUNK: Final = 64 * 1024
#: Seconds of silence after which a task gives a connection up.
_SILENCE: Final = 60.0

_ENDS_AT: Final = ContextVar("apimart_responses_end_at", default=math.inf)
_TARGET: Final = ContextVar("apimart_request_target", default="")


@contextmanager
def response_deadline(seconds: float) -> Iterator[None]:
    """
    Limit the time of every :class:`BoundedResponse` that this thread begins to wait for.

    A limit to silence alone never ends a response that arrives drop by drop.

    :param seconds: for all of them together. An enclosing limit that ends earlier stays in force.
    """
    token = _ENDS_AT.set(min(_ENDS_AT.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ENDS_AT.reset(token)


class BoundedResponse(http.client.HTTPResponse):
    """A response whose reading, of the headers and of the body, raises :class:`TimeoutError` after the deadline."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        ends_at = _ENDS_AT.get()
        if ends_at != math.inf:
            self.fp = io.BufferedReader(_BoundedReader(ends_at, sock, self.fp.detach()))


class _BoundedReader(io.RawIOBase):
    """The bytes that a socket receives until a deadline, which is a time of the monotonic clock."""

    def __init__(self, ends_at: float, sock: socket.socket, source: io.RawIOBase) -> None:
        self._ends_at = ends_at
        self._sock = sock
        self._source = source
        self._silence = sock.gettimeout() or math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._sock.settimeout(min(left, self._silence))
        received: int | None = self._source.readinto(buffer)
        return received

    def close(self) -> None:
        self._source.close()
        super().close()


class HttpConnections:
    """
    Sends requests, through the proxy that the environment names for a host if there is one.

    A URL reaches the host byte for byte. Nothing is sent again and no redirect followed: the caller decides.

    :param verify: ``False`` to accept any certificate, or a file of authorities to trust instead of the usual ones.
    :param at_once: simultaneous requests to one host.
    :param timeout: seconds of silence after which a connection is given up.
    :param allow_private: whether a connection may lead to a private address, or the only host and port where it may;
        see :func:`~airflow_provider_apimart.transfers.address.check_address`. Behind a proxy the address that a
        connection leads to is not known.
    :raises ConfigurationError: when the file of authorities cannot be read.
    """

    def __init__(
        self,
        *,
        verify: bool | str = True,
        at_once: int,
        timeout: float = _SILENCE,
        allow_private: bool | str = True,
    ) -> None:
        self.allow_private: Final = allow_private
        self._options: dict[str, Any] = {
            "ssl_context": _tls_context(verify=verify),
            "maxsize": at_once,
            "block": True,
            "blocksize": CHUNK,
            "retries": False,
            "timeout": urllib3.Timeout(connect=timeout, read=timeout),
        }
        self._environment = getproxies()
        self._direct = urllib3.PoolManager(**self._options)
        self._direct.pool_classes_by_scheme = pool_classes(partial(check_peer, allow_private=allow_private))
        self._proxies: dict[str, urllib3.ProxyManager] = {}

    def request(self, method: str, url: str, **options: Any) -> BaseHTTPResponse:
        """
        Send a request.

        :raises urllib3.exceptions.HTTPError: when there is no response.
        :raises ValueError: for a text that is not an http or https URL.
        """
        parts = UrlParts.of(url)
        manager, is_proxied = self._manager(parts)
        address = f"{parts.scheme}://{parts.authority.rpartition('@')[2]}"
        # urllib3 normalises the URL that it is given. It gets the address alone; the connection sends the target.
        in_full = is_proxied and parts.scheme == "http"
        token = _TARGET.set(f"{address}{parts.target}" if in_full else parts.target)
        try:
            return manager.request(method, f"{address}/", redirect=False, **options)
        finally:
            _TARGET.reset(token)

    def close(self) -> None:
        """Close all connections."""
        for manager in (self._direct, *self._proxies.values()):
            # Clearing alone leaves them open for as long as something, such as an error's traceback, refers to them.
            for key in manager.pools.keys():  # noqa: SIM118 - not a dict
                manager.pools[key].close()
            manager.clear()

    def _manager(self, parts: UrlParts) -> tuple[urllib3.PoolManager, bool]:
        proxy = self._environment.get(parts.scheme) or self._environment.get("all")
        if not proxy or proxy_bypass(parts.authority.rpartition("@")[2]):
            return self._direct, False
        # Of two that are made at the same time one is kept, before the other holds anything.
        return self._proxies.get(proxy) or self._proxies.setdefault(proxy, self._through(proxy)), True

    def _through(self, proxy: str) -> urllib3.ProxyManager:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        credentials, _, host = parts.netloc.rpartition("@")
        headers = urllib3.make_headers(proxy_basic_auth=unquote(credentials)) if credentials else None
        # Without the credentials, so that no error can repeat them.
        manager = urllib3.ProxyManager(f"{parts.scheme}://{host}", proxy_headers=headers, **self._options)
        manager.pool_classes_by_scheme = pool_classes(partial(check_peer, allow_private=True))
        return manager


def pool_classes(check: PeerCheck) -> dict[str, type[HTTPConnectionPool]]:
    """
    Return connection pool classes, by scheme, that check the peer's IP address before sending anything.

    That guards against a host whose name resolves to another address than when it was checked (DNS rebinding).

    :param check: called with host and port as the URL has them, and with the peer's address. An exception ends the
        request before anything was sent.
    """

    class PlainConnection(HTTPConnection):
        response_class = BoundedResponse

        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            try:
                check(self.host, self.port, sock.getpeername()[0])
            except BaseException:
                sock.close()
                raise
            return sock

        def putrequest(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
            super().putrequest(method, _TARGET.get() or url, *arguments, **options)

    class EncryptedConnection(PlainConnection, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = EncryptedConnection

    return {"http": PlainPool, "https": EncryptedPool}


def _tls_context(*, verify: bool | str) -> ssl.SSLContext:
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify=verify)
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise ConfigurationError(
            f"The file of certificate authorities {verify!r} cannot be read: {error}. Nothing was copied and nothing "
            "was charged. Correct the path in the connection or in the environment."
        ) from error
