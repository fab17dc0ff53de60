"""Addresses of pictures: the parts of a URL byte for byte, and a guard against addresses inside of this network."""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from airflow_provider_apimart.exceptions import TransferError

__all__ = [
    "ImageRefusedError",
    "UrlParts",
    "check_address",
    "check_peer",
    "host_and_port",
    "loggable",
    "redirect_target",
]

_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(r"(https?)://([^/?#\\]+)([^#]*)", re.IGNORECASE | re.DOTALL)
#: What an HTTP request line cannot hold as it is.
_NOT_ASCII: Final = re.compile(r"[^\x21-\x7e]")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LENGTH: Final = 300


class ImageRefusedError(TransferError):
    """The image host does not deliver the picture, or not yet: it refused, or its URL leads nowhere usable."""


class UrlParts(NamedTuple):
    """
    The parts of an http or https URL, none of them normalised.

    :param authority: host and port, with the credentials if there are any.
    :param target: path and query. Only characters that HTTP cannot send are percent-encoded, as UTF-8: any other change
        would invalidate a signed URL.
    """

    scheme: str
    authority: str
    target: str

    @classmethod
    def of(cls, url: str) -> UrlParts:
        """
        Split a URL.

        :raises ValueError: for any other text.
        """
        match = _URL.match(url)
        if match is None:
            raise ValueError("not an http or https URL")
        target = _NOT_ASCII.sub(_percent_encoded, match[3])
        return cls(match[1].lower(), match[2], target if target.startswith("/") else f"/{target}")


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode(errors="surrogatepass"))


def redirect_target(url: str, location: str) -> str:
    """
    Return the URL that a redirect leads to. An absolute one stays as it is, byte for byte.

    :param url: the URL that was requested.
    :param location: the ``Location`` header, as ``http.client`` decodes headers: from Latin-1.
    """
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode()
    parts = UrlParts.of(url)
    if _SCHEME.match(location):
        return location
    if location.startswith("//"):
        return f"{parts.scheme}:{location}"
    if location.startswith("/"):
        return f"{parts.scheme}://{parts.authority}{location}"
    return urljoin(url, location)


def loggable(text: object) -> str:
    """Return third-party text as a log message can hold it: without control characters, and bounded."""
    printable = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return printable if len(printable) <= _LENGTH else f"{printable[:_LENGTH]}..."


def check_address(url: str, *, allow_private: bool | str) -> None:
    """
    Raise unless the URL leads to a public host over http or https.

    :param allow_private: for a gateway that is itself local, such as a simulator: ``True`` to allow every private
        address, or host and port of the only one, such as ``127.0.0.1:8080``.
    :raises ImageRefusedError: with the address that it leads to. Nothing was fetched.
    """
    try:
        place = host_and_port(url)
        host = urlsplit(f"//{UrlParts.of(url).authority}").hostname
    except ValueError as error:
        raise ImageRefusedError(f"the URL {_public_part(url)} cannot be used ({loggable(error)})") from None
    if not host:
        raise ImageRefusedError(f"the URL {_public_part(url)} cannot be used (it names no host)")
    if allow_private in {True, place}:
        return
    for address in _addresses(host):
        _require_public(address, f"the URL {_public_part(url)}")


def check_peer(host: str, port: int, address: str, *, allow_private: bool | str) -> None:
    """
    Raise unless a connection has led to a public address. A name may resolve to another address the second time.

    :param host: the host in the URL.
    :param port: the port in the URL.
    :param address: the IP address of the other end of the connection.
    :param allow_private: see :func:`check_address`.
    :raises ImageRefusedError: with the address that it leads to. Nothing was sent.
    """
    if allow_private not in {True, f"{host}:{port}"}:
        _require_public(address, f"the host {loggable(host)}")


def host_and_port(url: str) -> str:
    """
    Return host and port of a URL, such as ``127.0.0.1:8080``.

    :raises ValueError: for a text that is not an http or https URL.
    """
    parts = UrlParts.of(url)
    split = urlsplit(f"//{parts.authority}")
    return f"{split.hostname}:{split.port or _PORTS[parts.scheme]}"


#: Networks that Python takes for public, or did so in one of its releases, and that may lead into this network:
#: translated and tunnelled IPv4, IPv6's former private addresses, and Azure's metadata service.
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "::ffff:0:0/96",
        "::/96",
        "2001::/32",
        "2002::/16",
        "fec0::/10",
    )
)


def _require_public(address: str, what: str) -> None:
    # A scope such as %eth0 belongs to link-local addresses only, and is not part of the address.
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _NOT_PUBLIC):
        raise ImageRefusedError(f"{what} leads to the private address {address}, which was not fetched")


def _addresses(host: str) -> list[str]:
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TransferError(f"the image host {loggable(host)} has no address ({loggable(error)})") from error
    return sorted({str(sockaddr[0]) for *_, sockaddr in infos})


def _public_part(url: str) -> str:
    """Return what may be shown of a URL: neither credentials nor the query, which may be a signature."""
    return loggable(re.sub(r"//[^/?#]*@", "//", re.split(r"[?#,]", url, maxsplit=1)[0]))
