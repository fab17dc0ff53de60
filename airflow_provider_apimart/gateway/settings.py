"""The settings of a gateway client: address, key and limits, read from an Airflow connection and checked."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.parsing import read_number
from airflow_provider_apimart.gateway.response import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    _Refuse = Callable[[str, Any, str], ConfigurationError]

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_SUBMIT_PATH", "EXTRA_FIELDS", "GatewaySettings"]

DEFAULT_BASE_URL: Final = "https://api.apimart.ai"
DEFAULT_SUBMIT_PATH: Final = "/v1/images/generations"
_DEFAULT_TIMEOUT: Final = 30.0
#: Seconds that APIMaster may take to answer a submit with the finished picture.
_PICTURE_TIMEOUT: Final = 330.0
#: Seconds between the first and the last attempt at a submit that the gateway refuses for now: four pauses of a minute,
#: and what the refusals themselves take.
_RETRIES_WITHIN: Final = 270.0
#: Domains that never leave a local network: RFC 6761, RFC 6762, and the one that ICANN reserved for private use.
_LOCAL_DOMAINS: Final = (".localhost", ".local", ".internal")
_APIMASTER_DOMAIN: Final = "apimaster.ai"
_API_KEY: Final = re.compile(r"[!-~]+")
#: Shorter texts are part of ordinary addresses; a simulator takes any key.
_SHORTEST_KEY: Final = 8
#: Host or part of a path that is an API key, pasted into the wrong field.
_KEY_IN_ADDRESS: Final = re.compile(r"/sk-[\w-]{16,}(?=[/:]|$)", re.IGNORECASE)
_VERSION: Final = re.compile(r"/*(?:/v1/*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """
    The settings of one gateway client.

    :param api_key: sent to the gateway as a bearer token, and nowhere else.
    :param base_url: scheme, host and an optional path prefix, without a trailing ``/`` or ``/v1``.
    :param gateway: the dialect that is spoken there.
    :param submit_path: where requests for pictures are posted.
    :param timeout: seconds in total for one HTTP request. Not the operator's ``timeout``, which bounds the wait for a
        picture. For submits see :attr:`submit_timeout`.
    :param max_concurrency: limit on simultaneous requests of one client, submits included, at least 1. Each hook has
        a client of its own, and so has the poller of a triggerer.
    :param requests_per_second: limit on the submits of one client, above 0; ``None`` for no limit. 0.5 is one submit
        every two seconds.
    :param batch_polling: whether the status of many tasks may be queried in one request.
    :param notices: warnings about the connection, for the log: fields that are not known and therefore ignored.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    gateway: Gateway = Gateway.APIMART
    submit_path: str = DEFAULT_SUBMIT_PATH
    timeout: float = _DEFAULT_TIMEOUT
    max_concurrency: int = 16
    requests_per_second: float | None = None
    batch_polling: bool = True
    notices: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def from_connection(
        cls,
        *,
        password: str | None,
        host: str | None,
        extra: Mapping[str, Any],
        port: int | None = None,
        name: str = "the connection",
    ) -> GatewaySettings:
        """
        Read the fields of an Airflow connection of type ``apimart``.

        :param port: added to a host without a port, as a connection that is written as a URI has it.
        :param name: name of the connection in error messages.
        :raises ConfigurationError: naming the field, its value and the allowed values. Secrets are not shown.
        """
        api_key = _api_key(password, name)

        def refuse(field_name: str, value: Any, allowed: str) -> ConfigurationError:
            shown = redact(repr(value), api_key)
            return ConfigurationError(f"{name} has {field_name}={shown:.200}: it must be {allowed}.")

        base_url = _base_url(host, port, refuse)
        is_key = len(api_key) >= _SHORTEST_KEY and api_key.lower() in base_url.lower()
        if is_key or _KEY_IN_ADDRESS.search(base_url):
            raise refuse("host", "***", "a URL, and it looks like an API key, which belongs into the field 'password'")
        values: dict[str, Any] = {}
        for field_name, (read, allowed) in _EXTRA_READERS.items():
            # An empty field of the connection form arrives as None or as an empty text.
            if (value := extra.get(field_name)) not in (None, ""):
                try:
                    values[field_name] = read(value)
                except (LookupError, TypeError, ValueError):
                    raise refuse(f"extra {field_name}", value, allowed) from None
        values["gateway"] = values.get("gateway") or _gateway_at(base_url)
        return cls(api_key=api_key, base_url=base_url, notices=tuple(_notices(extra, name)), **values)

    @property
    def submit_timeout(self) -> float:
        """
        Seconds in total for a submit.

        APIMaster may respond to a submit with the finished picture, so the default is longer there. Any ``timeout``
        other than the default applies to submits too.
        """
        if self.gateway is Gateway.APIMASTER and self.timeout == _DEFAULT_TIMEOUT:
            return _PICTURE_TIMEOUT
        return self.timeout

    @property
    def submit_lifetime(self) -> float:
        """Seconds after the first attempt at a submit after which no further one can be under way."""
        return _RETRIES_WITHIN + self.submit_timeout

    @property
    def host(self) -> str:
        """Host name of the gateway."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """
        Return whether the gateway has a private address, as a simulator has.

        A name without a dot, such as ``simulator``, belongs to a local or a container network.
        """
        try:
            return not ipaddress.ip_address(self.host).is_global
        except ValueError:
            return "." not in self.host or self.host.endswith(_LOCAL_DOMAINS)


def _api_key(password: str | None, name: str) -> str:
    api_key = (password or "").strip()
    if not api_key:
        raise ConfigurationError(
            f"{name} has no API key. Nothing was submitted. Put the key into the field 'password'."
        )
    if not _API_KEY.fullmatch(api_key):
        # An HTTP library would refuse it too, and show it while doing so.
        raise ConfigurationError(
            f"{name} has a password that is not an API key: only visible ASCII characters are allowed."
        )
    return api_key


def _base_url(host: str | None, port: int | None, refuse: _Refuse) -> str:
    text = (host or DEFAULT_BASE_URL).strip()
    if _is_ipv6(text):
        text = f"[{text}]"  # Airflow takes the brackets off a host that it reads from a connection URI.
    if "://" not in text and not text.lower().startswith(("http:", "https:")):
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna"))
        # A scheme that is there twice leaves "https" as the host.
        is_usable = is_usable and not re.search(r"[\s\\]", text) and parts.hostname not in {"http", "https"}
        port = None if parts.port else port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise refuse("host", _without_secrets(text), f"a URL such as {DEFAULT_BASE_URL!r}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise refuse("host", _without_secrets(text), "a URL without credentials, a query or a fragment")
    netloc = parts.netloc.lower().rstrip(":")
    return f"{parts.scheme}://{netloc}{f':{port}' if port else ''}{_VERSION.sub('', parts.path)}"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004 - the version's own number
    except ValueError:
        return False


def _without_secrets(address: str) -> str:
    """Return an address for an error message: without credentials, query, fragment and anything like an API key."""
    shown = re.sub(r"[?#].*", "?***", address, flags=re.DOTALL)
    before, at, after = shown.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return redact(f"{scheme + separator if separator else ''}{'***@' if at else ''}{after}")


def _gateway_at(base_url: str) -> Gateway:
    host = urlsplit(base_url).hostname or ""
    is_apimaster = host == _APIMASTER_DOMAIN or host.endswith(f".{_APIMASTER_DOMAIN}")
    return Gateway.APIMASTER if is_apimaster else Gateway.APIMART


def _path(value: str) -> str:
    if not isinstance(value, str) or not value.strip().startswith("/"):
        raise ValueError
    return value.strip()


def _positive(value: Any) -> float:
    number = read_number(value)
    if number is None or number <= 0:
        raise ValueError
    return number


def _whole(value: Any) -> int:
    if not _positive(value).is_integer():
        raise ValueError
    return int(_positive(value))


#: Fields of the connection's extra, each with its reader, which raises for anything else, and the values that it takes.
_EXTRA_READERS: Final[Mapping[str, tuple[Callable[[Any], Any], str]]] = {
    "gateway": (lambda value: None if value == "auto" else Gateway(value), "'auto', 'apimart' or 'apimaster'"),
    "submit_path": (_path, f"a path such as {DEFAULT_SUBMIT_PATH!r}"),
    "timeout": (_positive, "a number above 0"),
    "max_concurrency": (_whole, "a whole number of at least 1"),
    "requests_per_second": (_positive, "a number above 0"),
    "batch_polling": ({"auto": True, "off": False}.__getitem__, "'auto' or 'off'"),
}
EXTRA_FIELDS: Final = tuple(_EXTRA_READERS)


def _notices(extra: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield a warning for each extra field that is not known; its value is not shown, because it may be a secret."""
    for key in extra:
        if key not in EXTRA_FIELDS:
            plain = str(key).strip().lower().removeprefix("extra__apimart__").replace("-", "_").replace(" ", "_")
            nearest = get_close_matches(plain, EXTRA_FIELDS, n=1)
            meant = f" (did you mean {nearest[0]!r}?)" if nearest else ""
            yield (
                f"{name} has an unknown extra field {redact(str(key))!r:.80}{meant}, which is ignored. "
                f"Known fields are {', '.join(EXTRA_FIELDS)}."
            )
