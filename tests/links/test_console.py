"""The button to the vendor's console."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import BaseOperator

from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.links import ApimartConsoleLink, console_url
from airflow_provider_apimart.operators.image import ApimartImageOperator

NOBODY: Any = None


@pytest.mark.parametrize(
    ("host", "extra", "site"),
    [
        (None, {}, "https://apimart.ai"),
        ("https://apimaster.ai", {}, "https://apimaster.ai/console"),
        ("https://images.example.com", {}, "https://apimart.ai"),
        ("https://images.example.com", {"gateway": "apimaster"}, "https://apimaster.ai/console"),
    ],
)
def test_leads_to_the_vendor_whose_account_pays(host: str | None, extra: dict[str, str], site: str) -> None:
    settings = GatewaySettings.from_connection(password="sk-key", host=host, extra=extra)

    assert console_url(settings).startswith(site)


@pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "http://simulator", "http://localhost/apimaster"])
def test_a_simulator_has_no_console(host: str) -> None:
    assert console_url(GatewaySettings.from_connection(password="sk-key", host=host, extra={})) == ""


def test_is_what_the_task_has_found_out() -> None:
    operator = ApimartImageOperator(task_id="generate", prompt="A red kite")

    before = ApimartConsoleLink().get_link(operator, ti_key=NOBODY)
    operator.console_url = "https://apimart.ai"

    assert before == ""
    assert ApimartConsoleLink().get_link(operator, ti_key=NOBODY) == "https://apimart.ai"


def test_of_a_task_whose_mapping_failed_leads_nowhere() -> None:
    assert ApimartConsoleLink().get_link(BaseOperator(task_id="a_task"), ti_key=NOBODY) == ""
