"""Airflow's command line knows the provider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from services.airflow_home import AirflowHome

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    directory: Path = tmp_path_factory.mktemp("home")
    return AirflowHome(directory, dags_folder=directory)


def test_providers_list_shows_the_distribution(home: AirflowHome) -> None:
    listed = json.loads(home.run("providers", "list", "--output", "json"))

    assert "airflow-provider-apimart" in [provider["package_name"] for provider in listed]


def test_providers_hooks_shows_the_connection_type(home: AirflowHome) -> None:
    hooks = json.loads(home.run("providers", "hooks", "--output", "json"))

    assert [hook["class"] for hook in hooks if hook["connection_type"] == "apimart"] == [
        "airflow_provider_apimart.hooks.apimart.ApimartHook"
    ]


def test_providers_get_describes_the_provider(home: AirflowHome) -> None:
    described = home.run("providers", "get", "airflow-provider-apimart", "--full", "--output", "json")

    assert "airflow_provider_apimart.operators.image" in described


def test_providers_links_shows_the_buttons(home: AirflowHome) -> None:
    links = json.loads(home.run("providers", "links", "--output", "json"))

    assert [link["extra_link_class_name"] for link in links if "apimart" in link["extra_link_class_name"]] == [
        "airflow_provider_apimart.links.ApimartConsoleLink",
        "airflow_provider_apimart.links.ApimartPicturesLink",
        "airflow_provider_apimart.links.ApimartS3FolderLink",
    ]
