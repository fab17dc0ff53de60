"""
Connections for bodies of many MiB, shared by threads.

urllib3, on which boto3 stands too, moves them at a third of the processor time that httpx needs; one TLS context serves
all connections, because loading the certificate authorities takes longer than copying a picture.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import urllib3

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.transfers._address import check_peer
from airflow_provider_apimart.transfers._peer import pool_classes

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["CHUNK", "Connections"]

#: Bytes in one piece. A larger one is no faster, and every simultaneous copy holds a few of them.
CHUNK: Final = 64 * 1024
#: Seconds, for a task, which has time.
_TIMEOUT: Final = 60.0


class Connections:
    """
    Sends requests, through the proxy that the environment names for a host if there is one.

    Nothing is sent again and no redirect followed: that is for the caller to decide.

    :param verify: ``False`` to accept any certificate, or a file of authorities to trust instead of the usual ones.
    :param at_once: simultaneous requests to one host.
    :param timeout: seconds of silence after which a connection is given up.
    :param allow_private: whether a connection may lead to a private address, or the only host and port where it may;
        see :func:`~airflow_provider_apimart.transfers._address.check_address`. Through a proxy nobody knows where it
        leads.
    :raises ConfigurationError: when the file of authorities cannot be read.
    """

    def __init__(
        self,
        *,
        verify: bool | str = True,
        at_once: int,
        timeout: float = _TIMEOUT,
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

        :raises urllib3.exceptions.HTTPError: when there is no answer.
        """
        return self._manager(url).request(method, url, redirect=False, **options)

    def close(self) -> None:
        """Close all connections."""
        for manager in (self._direct, *self._proxies.values()):
            # Clearing alone leaves them open for as long as something, such as an error's traceback, refers to them.
            for key in manager.pools.keys():  # noqa: SIM118 - it is no dict
                manager.pools[key].close()
            manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = self._environment.get(parts.scheme) or self._environment.get("all")
        if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return self._direct
        # Of two that are made at the same time one is kept, before the other holds anything.
        return self._proxies.get(proxy) or self._proxies.setdefault(proxy, self._through(proxy))

    def _through(self, proxy: str) -> urllib3.ProxyManager:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        credentials, _, host = parts.netloc.rpartition("@")
        headers = urllib3.make_headers(proxy_basic_auth=unquote(credentials)) if credentials else None
        # Without the credentials, so that no error can repeat them.
        manager = urllib3.ProxyManager(f"{parts.scheme}://{host}", proxy_headers=headers, **self._options)
        manager.pool_classes_by_scheme = pool_classes(partial(check_peer, allow_private=True))
        return manager


def _tls_context(*, verify: bool | str) -> ssl.SSLContext:
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify=verify)
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise ConfigurationError(f"the file of certificate authorities {verify!r} cannot be read ({error})") from error
