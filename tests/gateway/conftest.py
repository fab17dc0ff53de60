"""Fixtures for everything about the wire: settings, requests, and clients that do not really pause."""

from __future__ import annotations

import pytest
from gateway.exchange import Exchange

from airflow_provider_apimart.gateway.request import ImageRequest
from airflow_provider_apimart.gateway.settings import GatewaySettings


@pytest.fixture
def api_key() -> str:
    return "sk-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def settings(api_key: str) -> GatewaySettings:
    return GatewaySettings(api_key=api_key, base_url="https://gateway.example")


@pytest.fixture
def exchange(settings: GatewaySettings) -> Exchange:
    return Exchange(settings)


@pytest.fixture
def image_request() -> ImageRequest:
    return ImageRequest(prompt="An orange cat on a windowsill")
