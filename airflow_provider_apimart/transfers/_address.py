"""Whether an image URL may be fetched: it comes from somebody else, and must not reach into this network."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import TransferError

__all__ = ["check_address"]


def check_address(url: str, *, allow_private: bool) -> None:
    """
    Raise unless the URL leads to a public host over http or https.

    :param allow_private: for a gateway that is itself local, as a simulator is.
    :raises TransferError: saying where it leads. Nothing was fetched.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TransferError(f"the URL {_without_query(url)} cannot be read ({error})", retryable=False) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TransferError(f"the URL {_without_query(url)} is not one of http or https", retryable=False)
    if allow_private:
        return
    for address in _addresses(parts.hostname):
        if not ipaddress.ip_address(address).is_global:
            raise TransferError(
                f"the URL {_without_query(url)} leads to the private address {address}, which was not fetched",
                retryable=False,
            )


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransferError(f"the image host {host} has no address ({error})") from error
    # A scope such as %eth0 belongs to link-local addresses only, and is not part of the address.
    return sorted({str(sockaddr[0]).partition("%")[0] for *_, sockaddr in found})


def _without_query(url: str) -> str:
    return url.partition("?")[0]
