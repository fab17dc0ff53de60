"""Whether an image URL may be fetched: it comes from somebody else, and must not reach into this network."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import TransferError

__all__ = ["check_address", "check_peer", "host_and_port"]

_PORTS: Final = {"http": 80, "https": 443}


def check_address(url: str, *, allow_private: bool | str) -> None:
    """
    Raise unless the URL leads to a public host over http or https.

    :param allow_private: for a gateway that is itself local, as a simulator is: ``True`` to allow every private
        address, or host and port of the only one, such as ``127.0.0.1:8080``.
    :raises TransferError: saying where it leads. Nothing was fetched.
    """
    try:
        parts = urlsplit(url)
        place = host_and_port(url)
    except ValueError as error:
        raise TransferError(f"the URL {_without_query(url)} cannot be read ({error})", retryable=False) from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise TransferError(f"the URL {_without_query(url)} is not one of http or https", retryable=False)
    if allow_private in {True, place}:
        return
    for address in _addresses(parts.hostname):
        _require_public(address, f"the URL {_without_query(url)}")


def check_peer(host: str, port: int, address: str, *, allow_private: bool | str) -> None:
    """
    Raise unless a connection has led to a public address. A name may lead elsewhere when it is looked up once more.

    :param host: as the URL has it, likewise ``port``.
    :param address: the other end of the connection.
    :param allow_private: see :func:`check_address`.
    :raises TransferError: saying where it leads. Nothing was sent.
    """
    if allow_private not in {True, f"{host}:{port}"}:
        _require_public(address, f"the host {host}")


def host_and_port(url: str) -> str:
    """
    Return host and port of a URL, such as ``127.0.0.1:8080``.

    :raises ValueError: for what is no URL.
    """
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"


def _require_public(address: str, what: str) -> None:
    # A scope such as %eth0 belongs to link-local addresses only, and is not part of the address.
    if not ipaddress.ip_address(address.partition("%")[0]).is_global:
        raise TransferError(f"{what} leads to the private address {address}, which was not fetched", retryable=False)


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransferError(f"the image host {host} has no address ({error})") from error
    return sorted({str(sockaddr[0]) for *_, sockaddr in found})


def _without_query(url: str) -> str:
    return url.partition("?")[0]
