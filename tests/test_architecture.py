"""What a linter cannot see: which modules an import really loads, and how large the modules are."""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection

PACKAGE = Path(str(files("airflow_provider_apimart")))
MODULES = sorted(PACKAGE.rglob("*.py"))
GATEWAY = [f"airflow_provider_apimart.gateway.{path.stem}" for path in (PACKAGE / "gateway").glob("[a-z]*.py")]

#: What every DAG file has paid for already.
EVERY_DAG = "from airflow.sdk import DAG, BaseOperator"
#: What a DAG file imports of the package.
OF_DAG_FILES = [
    "airflow_provider_apimart.assets",
    "airflow_provider_apimart.decorators.images",
    "airflow_provider_apimart.markdown",
    "airflow_provider_apimart.operators.base",
    "airflow_provider_apimart.operators.dataset",
    "airflow_provider_apimart.operators.image",
    "airflow_provider_apimart.transfers.apimart_to_s3",
]
LOADED = """
import os
import sys
{first}
before = set(sys.modules)
for then in {each!r}:
    if os.fork() == 0:
        exec(then)
        import json
        print("LOADED", json.dumps([then, sorted(set(sys.modules) - before)]), flush=True)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(f"This failed: {{then}}")
"""


def loaded_by_each(*each: str, first: str = "") -> dict[str, set[str]]:
    """
    Return the additional modules that an interpreter loads for each import.

    :param first: what it has done before. Copies of it do the rest: none knows what another one has loaded.
    """
    process = subprocess.run(
        [sys.executable, "-P", "-c", LOADED.format(first=first, each=each)], capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("LOADED") for line in process.stdout.splitlines() if line.startswith("LOADED")]
    return {then: set(loaded) for then, loaded in map(json.loads, lines)}


def loaded_by(then: str) -> set[str]:
    """Return the modules that a fresh interpreter loads for an import."""
    return loaded_by_each(then)[then]


def top_levels(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_gateway_imports_no_airflow() -> None:
    loaded = loaded_by("import " + ", ".join(GATEWAY))

    assert set(GATEWAY) <= loaded
    assert "airflow" not in top_levels(loaded)


def test_the_errors_import_nothing_but_the_standard_library() -> None:
    loaded = loaded_by("import airflow_provider_apimart.exceptions")

    assert top_levels(loaded) - sys.stdlib_module_names == {"airflow_provider_apimart"}


@pytest.fixture(scope="module")
def loaded_by_dag_files() -> dict[str, set[str]]:
    return loaded_by_each(*(f"import {module}" for module in OF_DAG_FILES), first=EVERY_DAG)


@pytest.mark.parametrize("module", OF_DAG_FILES)
def test_a_dag_file_pays_for_no_third_party_module(loaded_by_dag_files: dict[str, set[str]], module: str) -> None:
    loaded = loaded_by_dag_files[f"import {module}"]

    assert module in loaded
    assert top_levels(loaded) - sys.stdlib_module_names <= {"airflow_provider_apimart", "airflow"}
    assert not {name for name in loaded if name.startswith("airflow.providers.")}


def test_the_provider_info_that_every_dag_file_loads_costs_nothing() -> None:
    loaded = loaded_by("from airflow_provider_apimart.provider_info import get_provider_info; get_provider_info()")

    assert top_levels(loaded) - sys.stdlib_module_names == {"airflow_provider_apimart"}


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_no_module_is_private() -> None:
    assert {path.name for path in MODULES if path.name.startswith("_")} <= {"__init__.py", "__main__.py"}


def test_modules_are_short() -> None:
    lines = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in MODULES}

    assert {name: count for name, count in lines.items() if count > 400} == {}
    assert statistics.median(lines.values()) < 150


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_has_a_docstring_and_postponed_annotations(path: Path) -> None:
    text = path.read_text()

    assert text.startswith('"""')
    assert "from __future__ import annotations\n" in text or len(text.splitlines()) <= 10


#: Rooms whose rebuilding has not come yet: they have circles, and names that others have too.
NOT_REBUILT = {"dataset", "plugins", "simulator"}


def rebuilt() -> dict[str, ast.Module]:
    """Return the modules of the rebuilt rooms, by their dotted names."""
    paths = (path for path in MODULES if path.relative_to(PACKAGE).parts[0] not in NOT_REBUILT)
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in names.items()}


def imports_of(module: ast.Module, known: Collection[str]) -> set[str]:
    """Return the known modules that a module imports anywhere, for types too."""
    nodes = [node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        name
        for node in nodes
        for alias in node.names
        for name in (f"{node.module}.{alias.name}", str(node.module))
        if name in known
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = rebuilt()
    graph = {name: imports_of(module, modules.keys()) - {name} for name, module in modules.items()}

    assert list(TopologicalSorter(graph).static_order()), "raises CycleError, naming the modules of a circle"


def test_no_two_modules_have_a_public_name_in_common() -> None:
    owners: dict[str, list[str]] = {}
    for name, module in rebuilt().items():
        for node in module.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                for public in ast.literal_eval(node.value):
                    owners.setdefault(public, []).append(name)

    assert {public: names for public, names in owners.items() if len(names) > 1} == {}
