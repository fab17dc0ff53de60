"""The settings of a gateway client: address, key and limits, read from an Airflow connection and checked."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.response import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    _Refuse = Callable[[str, Any, str], ConfigurationError]

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_SUBMIT_PATH", "EXTRA_FIELDS", "GatewaySettings"]

DEFAULT_BASE_URL: Final = "https://api.apimart.ai"
DEFAULT_SUBMIT_PATH: Final = "/v1/images/generations"
_DEFAULT_TIMEOUT: Final = 30.0
#: Fields of the connection's extra.
EXTRA_FIELDS: Final = (
    "gateway",
    "submit_path",
    "timeout",
    "max_concurrency",
    "requests_per_second",
    "batch_polling",
)
#: Seconds that APIMaster may take to respond to a submit with the finished picture.
_PICTURE_TIMEOUT: Final = 330.0
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
    :param timeout: seconds in total for one HTTP request.
    :param max_concurrency: limit on simultaneous requests of one client, and on simultaneous submits of all clients
        with the same base URL and key in one process.
    :param requests_per_second: limit on submits of these clients; ``None`` for no limit.
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
        # An empty field of the connection form arrives as None or as an empty text.
        given = {key: value for key, value in extra.items() if value not in (None, "")}
        rate = given.get("requests_per_second")
        return cls(
            api_key=api_key,
            base_url=base_url,
            gateway=_gateway(given.get("gateway", "auto"), base_url, refuse),
            submit_path=_submit_path(given.get("submit_path", DEFAULT_SUBMIT_PATH), refuse),
            timeout=_number(given.get("timeout", _DEFAULT_TIMEOUT), "timeout", refuse),
            max_concurrency=int(_number(given.get("max_concurrency", 16), "max_concurrency", refuse, whole=True)),
            requests_per_second=_number(rate, "requests_per_second", refuse) if rate is not None else None,
            batch_polling=_batch_polling(given.get("batch_polling", "auto"), refuse),
            notices=tuple(_notices(extra, name)),
        )

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


def _gateway(value: Any, base_url: str, refuse: _Refuse) -> Gateway:
    if value == "auto":
        host = urlsplit(base_url).hostname or ""
        is_apimaster = host == _APIMASTER_DOMAIN or host.endswith(f".{_APIMASTER_DOMAIN}")
        return Gateway.APIMASTER if is_apimaster else Gateway.APIMART
    try:
        return Gateway(value)
    except ValueError:
        raise refuse("extra gateway", value, "'auto', 'apimart' or 'apimaster'") from None


def _submit_path(value: Any, refuse: _Refuse) -> str:
    path = value.strip() if isinstance(value, str) else ""
    if not path.startswith("/"):
        raise refuse("extra submit_path", value, f"a path such as {DEFAULT_SUBMIT_PATH!r}")
    return path


def _number(value: Any, field_name: str, refuse: _Refuse, *, whole: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0 or (whole and not number.is_integer()):
        raise refuse(f"extra {field_name}", value, "a whole number of at least 1" if whole else "a number above 0")
    return number


def _batch_polling(value: Any, refuse: _Refuse) -> bool:
    if value not in ("auto", "off"):
        raise refuse("extra batch_polling", value, "'auto' or 'off'")
    return bool(value == "auto")


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
