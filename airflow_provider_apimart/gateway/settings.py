"""How a gateway is reached: everything that an Airflow connection says, as one checked value."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.gateway.catalogue import Gateway

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_SUBMIT_PATH", "GatewaySettings"]

DEFAULT_BASE_URL: Final = "https://api.apimart.ai"
DEFAULT_SUBMIT_PATH: Final = "/v1/images/generations"
#: Domains that never leave a local network: RFC 6761, RFC 6762, and the one that ICANN reserved for private use.
_LOCAL_DOMAINS: Final = (".localhost", ".local", ".internal")
_APIMASTER_DOMAIN: Final = "apimaster.ai"
_API_KEY: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """
    The address, the key and the manners of one gateway.

    :param api_key: sent to the gateway as a bearer token, and nowhere else.
    :param base_url: scheme, host and an optional path prefix, without a trailing ``/`` or ``/v1``.
    :param gateway: the dialect that is spoken there.
    :param submit_path: where requests for pictures are posted.
    :param timeout: seconds for each phase of one HTTP request.
    :param max_concurrency: simultaneous requests of one client, and simultaneous submits of all clients of the account
        in one process.
    :param requests_per_second: limit on submits of all clients of the account in one process; ``None`` for none.
    :param batch_polling: whether many tasks may be asked after in one request.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    gateway: Gateway = Gateway.APIMART
    submit_path: str = DEFAULT_SUBMIT_PATH
    timeout: float = 30.0
    max_concurrency: int = 16
    requests_per_second: float | None = None
    batch_polling: bool = True

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

        :param port: added to a host that names none itself, as a connection written as a URI has it.
        :param name: how error messages call the connection.
        :raises ConfigurationError: naming the field, its value and what is allowed.
        """
        base_url = _base_url(host, port, name)
        # An empty field of the connection form arrives as None or as an empty text.
        given = {key: value for key, value in extra.items() if value not in (None, "")}
        return cls(
            api_key=_api_key(password, name),
            base_url=base_url,
            gateway=_gateway(given.get("gateway", "auto"), base_url, name),
            submit_path=_submit_path(given.get("submit_path", DEFAULT_SUBMIT_PATH), name),
            timeout=_number(given, "timeout", 30.0, name),
            max_concurrency=int(_number(given, "max_concurrency", 16, name, at_least=1)),
            requests_per_second=_number(given, "requests_per_second", None, name),
            batch_polling=_batch_polling(given.get("batch_polling", "auto"), name),
        )

    @property
    def submit_timeout(self) -> float:
        """Seconds in total for a submit."""
        return self.timeout

    @property
    def host(self) -> str:
        """Host name of the gateway."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """
        Whether the gateway itself lives at a private address, as a simulator does.

        A name without a dot, such as ``simulator``, is one of a local or a container network.
        """
        try:
            return not ipaddress.ip_address(self.host).is_global
        except ValueError:
            return "." not in self.host or self.host.endswith(_LOCAL_DOMAINS)


def _api_key(password: str | None, name: str) -> str:
    api_key = (password or "").strip()
    if not api_key:
        raise ConfigurationError(f"{name} has no API key: put it into the field 'password'.")
    if not _API_KEY.fullmatch(api_key):
        # An HTTP library would refuse it too, and show it while doing so.
        raise ConfigurationError(
            f"{name} has a password that is no API key: only visible ASCII characters are allowed."
        )
    return api_key


def _base_url(host: str | None, port: int | None, name: str) -> str:
    text = (host or DEFAULT_BASE_URL).strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and bool((parts.hostname or "").encode("idna"))
        port = None if parts.port else port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigurationError(f"{name} has host={host!r}: it must be a URL such as {DEFAULT_BASE_URL!r}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(f"{name} has a host with credentials, a query or a fragment: leave them out.")
    netloc = f"{parts.netloc}:{port}" if port else parts.netloc
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/').removesuffix('/v1').rstrip('/')}"


def _gateway(value: Any, base_url: str, name: str) -> Gateway:
    if value == "auto":
        host = urlsplit(base_url).hostname or ""
        is_apimaster = host == _APIMASTER_DOMAIN or host.endswith(f".{_APIMASTER_DOMAIN}")
        return Gateway.APIMASTER if is_apimaster else Gateway.APIMART
    try:
        return Gateway(value)
    except ValueError:
        raise ConfigurationError(
            f"{name} has extra gateway={value!r}: it must be 'auto', 'apimart' or 'apimaster'."
        ) from None


def _submit_path(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ConfigurationError(
            f"{name} has extra submit_path={value!r}: it must be a path such as {DEFAULT_SUBMIT_PATH!r}."
        )
    return value


def _number(given: Mapping[str, Any], field_name: str, default: float | None, name: str, *, at_least: float = 0) -> Any:
    value = given.get(field_name)
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0 or number < at_least:
        allowed = f"of at least {at_least:g}" if at_least else "above 0"
        raise ConfigurationError(f"{name} has extra {field_name}={value!r}: it must be a number {allowed}.")
    return number


def _batch_polling(value: Any, name: str) -> bool:
    if value not in ("auto", "off"):
        raise ConfigurationError(f"{name} has extra batch_polling={value!r}: it must be 'auto' or 'off'.")
    return bool(value == "auto")
