"""What an Airflow connection says about a gateway."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.gateway.catalogue import Gateway
from airflow_provider_apimart.gateway.settings import EXTRA_FIELDS, GatewaySettings
from airflow_provider_apimart.hooks.connection_form import CONNECTION_FIELDS


def read(**fields: Any) -> GatewaySettings:
    standard = {"password": "sk-key", "host": None, "port": None, **fields}
    extra = {name: standard.pop(name) for name in fields.keys() - {"password", "host", "port"}}
    return GatewaySettings.from_connection(**standard, extra=extra, name="Connection 'apimart_default'")


def test_a_key_is_all_that_is_needed() -> None:
    assert read() == GatewaySettings(
        api_key="sk-key",
        base_url="https://api.apimart.ai",
        gateway=Gateway.APIMART,
        submit_path="/v1/images/generations",
        timeout=30.0,
        max_concurrency=16,
        requests_per_second=None,
        batch_polling=True,
    )


@pytest.mark.parametrize(
    ("host", "port", "base_url"),
    [
        (None, None, "https://api.apimart.ai"),
        ("", None, "https://api.apimart.ai"),
        ("https://api.apimart.ai/", None, "https://api.apimart.ai"),
        ("https://api.apimart.ai/v1", None, "https://api.apimart.ai"),
        ("https://api.apimart.ai/v1/", None, "https://api.apimart.ai"),
        (" https://api.apimart.ai/v1/ ", None, "https://api.apimart.ai"),
        ("api.apib.ai", None, "https://api.apib.ai"),
        ("api.apib.ai/v1", None, "https://api.apib.ai"),
        ("HTTP://127.0.0.1:8080", None, "http://127.0.0.1:8080"),
        ("http://127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080", 9090, "http://127.0.0.1:8080"),
        ("127.0.0.1", 8080, "https://127.0.0.1:8080"),
        ("http://[::1]:8080/v1", None, "http://[::1]:8080"),
        ("http://proxy.example/apimart/v1/", None, "http://proxy.example/apimart"),
        ("http://proxy.example/apimart", 81, "http://proxy.example:81/apimart"),
        ("HTTPS://API.APIMART.AI/V1/", None, "https://api.apimart.ai"),
        ("https://api.apimart.ai//v1//", None, "https://api.apimart.ai"),
        ("::1", 8080, "https://[::1]:8080"),
        ("[::1]", 8080, "https://[::1]:8080"),
        ("fe80::1", None, "https://[fe80::1]"),
        ("2001:db8::1", 443, "https://[2001:db8::1]:443"),
        ("https://sk-proxy.example/v1", None, "https://sk-proxy.example"),
    ],
)
def test_a_base_url_may_be_pasted_in_every_way(host: str | None, port: int | None, base_url: str) -> None:
    assert read(host=host, port=port).base_url == base_url


@pytest.mark.parametrize(
    ("host", "gateway"),
    [
        (None, Gateway.APIMART),
        ("https://api.apib.ai", Gateway.APIMART),
        ("https://apimaster.ai", Gateway.APIMASTER),
        ("https://apimaster.ai/v1/", Gateway.APIMASTER),
        ("https://API.APIMaster.ai", Gateway.APIMASTER),
        ("apimaster.ai", Gateway.APIMASTER),
        ("https://notapimaster.ai", Gateway.APIMART),
        ("https://apimaster.ai.example", Gateway.APIMART),
        ("http://127.0.0.1:8080/apimaster", Gateway.APIMART),
    ],
)
@pytest.mark.parametrize("extra", [{}, {"gateway": "auto"}, {"gateway": ""}, {"gateway": None}], ids=str)
def test_the_host_decides_the_dialect(host: str | None, gateway: Gateway, extra: dict[str, Any]) -> None:
    assert read(host=host, **extra).gateway is gateway


@pytest.mark.parametrize("gateway", Gateway)
def test_the_dialect_may_be_said(gateway: Gateway) -> None:
    assert read(host="http://127.0.0.1:8080", gateway=gateway.value).gateway is gateway


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("submit_path", "/v1/images/generations/async", "/v1/images/generations/async"),
        ("timeout", 5, 5.0),
        ("timeout", "7.5", 7.5),
        ("timeout", "", 30.0),
        ("submit_path", " /v1/images/generations/async\n", "/v1/images/generations/async"),
        ("max_concurrency", "4.0", 4),
        ("max_concurrency", 1, 1),
        ("max_concurrency", "4", 4),
        ("max_concurrency", None, 16),
        ("requests_per_second", 0.5, 0.5),
        ("requests_per_second", "2", 2.0),
        ("requests_per_second", "", None),
        ("batch_polling", "auto", True),
        ("batch_polling", "off", False),
        ("batch_polling", "", True),
    ],
)
def test_a_field_of_the_form_may_be_a_number_a_text_or_empty(name: str, value: Any, expected: Any) -> None:
    assert getattr(read(**{name: value}), name) == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"password": None}, "password"),
        ({"password": ""}, "password"),
        ({"password": "  "}, "password"),
        ({"password": "sk-one\nsk-two"}, "password"),
        ({"password": "sk-ключ"}, "password"),
        ({"host": "ftp://api.apimart.ai"}, "host"),
        ({"host": "https://"}, "host"),
        ({"host": "://"}, "host"),
        ({"host": "https://["}, "host"),
        ({"host": "https://api..apimart.ai"}, "host"),
        ({"host": "https://api.apimart.ai:port"}, "host"),
        ({"host": "https://api.apimart.ai:99999"}, "host"),
        ({"host": "https://user:secret@api.apimart.ai"}, "host"),
        ({"host": "https://api.apimart.ai?a=b"}, "host"),
        ({"host": "https://api.apimart.ai#a"}, "host"),
        *(({"gateway": value}, "gateway") for value in ("openai", "APIMART", 1, True, [], {})),
        *(({"submit_path": value}, "submit_path") for value in ("v1/images", "https://x.example/v1", 1, [])),
        *(
            ({name: value}, name)
            for name in ("timeout", "max_concurrency", "requests_per_second")
            for value in (0, -1, "abc", True, "nan", "inf", [], {}, 10**400)
        ),
        *(({"max_concurrency": value}, "max_concurrency") for value in (0.5, 2.5, "2.5")),
        ({"host": "https:/api.apimart.ai"}, "host"),
        ({"host": "https://https://api.apimart.ai"}, "host"),
        ({"host": "https://api.apimart.ai\\v1"}, "host"),
        ({"host": "https://api.apimart.ai /v1"}, "host"),
        *(({"batch_polling": value}, "batch_polling") for value in ("on", True, False, 1, [], {})),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_that_cannot_be_used_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Connection 'apimart_default' has .*{named}") as raised:
        read(**fields)

    assert "secret" not in str(raised.value)
    assert raised.value.charged == "no"


@pytest.mark.parametrize("key", ["sk-one sk-two", "sk-ключ", "sk-one\x00"])
def test_a_password_that_is_no_key_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(password=key)

    assert key not in str(raised.value)
    assert raised.value.__cause__ is None


def test_blanks_around_the_key_are_not_part_of_it() -> None:
    assert read(password=" sk-key\n").api_key == "sk-key"


def test_the_key_is_not_shown() -> None:
    assert "sk-key" not in repr(read())


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://simulator.localhost", True),
        ("http://[::1]:8080", True),
        ("http://10.0.0.1", True),
        ("http://simulator:8765", True),
        ("http://gateway.internal", True),
        ("https://api.apimart.ai", False),
        ("https://8.8.8.8", False),
    ],
)
def test_a_simulator_lives_at_a_private_address(host: str, is_local: bool) -> None:
    assert read(host=host).is_local is is_local


@pytest.mark.parametrize(
    "host",
    [
        "https://user:hunter2secret@api.apimart.ai",
        "https://user:hunter2secret@[api.apimart.ai",
        "user:hunter2secret@api.apimart.ai:port",
        "https:/user:hunter2secret@api.apimart.ai",
        "https://hunter2secret@api..apimart.ai",
        "https://[?key=hunter2secret",
        "https://api.apimart.ai?key=hunter2secret",
        "https://[sk-hunter2secret",
        "sk-hunter2secret0123456789",
        "https://api.apimart.ai/sk-hunter2secret0123456789",
        "https://the-very-key-of-the-connection",
    ],
)
def test_a_secret_in_the_host_is_never_shown(host: str) -> None:
    with pytest.raises(ConfigurationError, match="host=") as raised:
        read(password="the-very-key-of-the-connection", host=host)

    shown = "".join(traceback.format_exception(raised.value))
    assert "hunter2secret" not in shown
    assert "the-very-key" not in str(raised.value)


@pytest.mark.parametrize("name", ["gateway", "submit_path", "timeout", "batch_polling"])
def test_a_key_in_another_field_is_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as raised:
        read(password="the-very-key", **{name: "the-very-key"})

    assert "the-very-key" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("max_concurency", "max_concurrency"),
        ("Timeout", "timeout"),
        ("request_per_seconds", "requests_per_second"),
        ("extra__apimart__submit_path", "submit_path"),
        ("batch-polling", "batch_polling"),
        ("proxy", None),
        ("sk-hunter2secret", None),
    ],
)
def test_an_unknown_extra_field_is_named_with_the_nearest_known_one(name: str, nearest: str | None) -> None:
    settings = read(**{name: "a value"})

    (notice,) = settings.notices
    assert (f"did you mean {nearest!r}" in notice) is (nearest is not None)
    assert ("did you mean" in notice) is (nearest is not None)
    assert notice.startswith("Connection 'apimart_default' has an unknown extra field")
    assert "a value" not in notice
    assert "hunter2secret" not in notice
    assert settings == read()


def test_the_fields_of_the_form_are_the_known_ones() -> None:
    assert tuple(CONNECTION_FIELDS) == EXTRA_FIELDS
    assert read(**dict.fromkeys(CONNECTION_FIELDS, "")).notices == ()


@pytest.mark.parametrize(
    ("host", "extra", "seconds"),
    [
        (None, {}, 30),
        (None, {"timeout": 7}, 7),
        ("apimaster.ai", {}, 330),
        ("apimaster.ai", {"timeout": 30}, 330),
        ("apimaster.ai", {"timeout": 7}, 7),
        ("apimaster.ai", {"timeout": "600"}, 600),
        ("http://127.0.0.1", {"gateway": "apimaster"}, 330),
    ],
)
def test_a_submit_to_apimaster_may_take_as_long_as_a_picture(
    host: str | None, extra: dict[str, Any], seconds: float
) -> None:
    settings = read(host=host, **extra)

    assert settings.submit_timeout == seconds
    assert settings.timeout == float(extra.get("timeout", 30))
