"""What the package tells Airflow about itself."""

from __future__ import annotations

import json
import re
from importlib import import_module
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import airflow_provider_apimart
from airflow_provider_apimart import __version__
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.provider_info import get_provider_info

INFO = get_provider_info()
MODULES = sorted(
    {
        *(
            module
            for kind in ("hooks", "operators", "triggers")
            for entry in INFO[kind]
            for module in entry["python-modules"]
        ),
        *(entry["python-module"] for entry in INFO["transfers"]),
        *(entry["class-name"].rpartition(".")[0] for entry in INFO["task-decorators"]),
        *(name.rpartition(".")[0] for name in INFO["extra-links"]),
    }
)


def test_airflow_finds_it_through_the_entry_point() -> None:
    (entry_point,) = entry_points(group="apache_airflow_provider", name="provider_info").select(
        module="airflow_provider_apimart.provider_info"
    )

    assert entry_point.load() is get_provider_info


def test_it_is_what_airflows_own_schema_asks_for() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())

    jsonschema.validate(INFO, schema)


def test_it_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(INFO)) == INFO


def test_the_version_is_that_of_the_distribution() -> None:
    assert INFO["versions"] == [__version__] == [version(INFO["package-name"])]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_that_it_names_exists_and_says_what_is_public(module: str) -> None:
    imported = import_module(module)

    assert all(hasattr(imported, name) for name in imported.__all__)


@pytest.mark.parametrize("kind", ["operators", "triggers"])
def test_it_names_every_module_with_an_operator_or_a_trigger_of_its_own(kind: str) -> None:
    (entry,) = INFO[kind]
    package = Path(airflow_provider_apimart.__file__).parent / kind
    named = re.compile(r"^class Apimart(?!Base|Request)\w*(?:Operator|Trigger)\(", re.MULTILINE)
    public = sorted(module.stem for module in package.glob("*.py") if named.search(module.read_text()))

    assert entry["python-modules"] == [f"airflow_provider_apimart.{kind}.{name}" for name in public]


def test_the_connection_type_names_its_hook() -> None:
    (connection_type,) = INFO["connection-types"]
    module, _, name = connection_type["hook-class-name"].rpartition(".")

    hook: Any = getattr(import_module(module), name)
    assert hook is ApimartHook
    assert hook.conn_type == connection_type["connection-type"]
    assert hook.hook_name == connection_type["hook-name"]
    assert hook.default_conn_name == "apimart_default"


@pytest.mark.parametrize("kind", ["hooks", "operators", "triggers"])
def test_every_entry_belongs_to_an_integration_that_is_described(kind: str) -> None:
    described = {integration["integration-name"] for integration in INFO["integrations"]}

    assert {entry["integration-name"] for entry in INFO[kind]} <= described
