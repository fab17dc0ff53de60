"""
Fixtures for all tests: an Airflow home of its own, a real S3 server, the simulator, and connections to both.

The home is set before anything imports Airflow, which reads its settings once, at import.
"""

from __future__ import annotations

import atexit
import fcntl
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from rich.console import Console
from services.airflow_home import AirflowHome
from services.cheap_clients import read_service_models_once, trust_one_authority
from services.chromium import FONT_FOLDERS, require_chromium, say_which_font_is_missing
from services.gateway_clock import GatewayClock
from services.progress import Progress
from services.seaweedfs import SeaweedFS
from services.waiting import ServiceError
from services.workers import ByFile, longest_first, worker_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer

    from airflow_provider_apimart.simulator import Simulator

CHECKOUT = Path(__file__).parents[1]
DIRECTORY = Path(tempfile.mkdtemp(prefix="apimart-tests-"))
trust_one_authority(DIRECTORY / "authority.pem")
read_service_models_once()
HOME = AirflowHome(DIRECTORY / "airflow", dags_folder=CHECKOUT / "dags_examples")

# The same examples in every run, and as much time for each as a busy machine takes.
settings.load_profile("ci")

atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
HOME.prepare()
for _name in set(os.environ) - set(HOME.environment):
    del os.environ[_name]
os.environ.update(HOME.environment)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return worker_count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Say at once, and not after ten minutes, what the browser tests lack."""
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly or not _are_browser_tests_asked_for(config):
        return
    tell = config.get_terminal_writer().line
    try:
        require_chromium(os.environ, is_root=os.geteuid() == 0, tell=tell)
    except ServiceError as error:
        raise pytest.UsageError(str(error)) from None
    say_which_font_is_missing(FONT_FOLDERS, tell=tell)


def _are_browser_tests_asked_for(config: pytest.Config) -> bool:
    """Return whether the arguments name the browser tests, or all tests. If some are named by -k, nobody knows yet."""
    if config.option.keyword or "not browser" in config.option.markexpr:
        return False
    paths = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return any(file.is_relative_to(path) for file in CHECKOUT.glob("tests/e2e/test_ui_*.py") for path in paths)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest. In a single process, what starts an Airflow comes last: somebody sits and waits."""
    items[:] = longest_first(items)
    if not hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.is_relative_to(CHECKOUT / "tests" / "e2e"))


@pytest.fixture(autouse=True)
def _forget_secrets() -> Iterator[None]:
    """Airflow's masker looks for every password that it has seen in this process, in every line of a log."""
    yield
    if masker := sys.modules.get("airflow.sdk._shared.secrets_masker.secrets_masker"):
        masker.reset_secrets_masker()


@pytest.fixture(scope="session")
def start_progress(pytestconfig: pytest.Config) -> Progress:
    """Shows what is waited for, although pytest keeps what tests write for itself."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")

    class Shown(io.StringIO):
        def write(self, text: str) -> int:
            with capture.global_and_fixture_disabled():
                return sys.stderr.write(text)

    return Progress(Console(file=Shown(), highlight=False, width=160))


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For ``dag.test()``, which needs the tables. One worker of a run makes them, the others copy its file."""
    directory = tmp_path_factory.getbasetemp()
    shared = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory
    made = shared / "airflow.db"
    with (shared / "airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.exists():
            shutil.copyfile(made, HOME.database)
        else:
            HOME.run("db", "migrate")
            shutil.copyfile(HOME.database, made)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: SeaweedFS) -> Iterator[str]:
    """An empty bucket."""
    name = f"bucket-{secrets.token_hex(8)}"
    client = s3_server.client()
    client.create_bucket(Bucket=name)
    yield name
    client.delete_bucket(Bucket=name)


@pytest.fixture(scope="session")
def _simulator_server() -> Iterator[Simulator]:
    from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

    with Simulator(SimulatorSettings(speed=200)) as simulator:
        yield simulator


@pytest.fixture
def simulator(_simulator_server: Simulator) -> Simulator:
    """A simulator that knows nothing yet, two hundred times faster than the real gateways."""
    _simulator_server.reset()
    return _simulator_server


@pytest.fixture
def gateway_clock() -> GatewayClock:
    return GatewayClock()


@pytest.fixture
def unhurried_simulator(gateway_clock: GatewayClock) -> Iterator[Simulator]:
    """A simulator that finishes nothing before its clock is moved."""
    from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

    with Simulator(SimulatorSettings(clock=gateway_clock)) as simulator:
        yield simulator


@pytest.fixture
def apimart_connection(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a connection to the simulator's APIMart side."""
    connection = {"conn_type": "apimart", "host": simulator.url, "password": f"sk-{secrets.token_hex(24)}"}
    monkeypatch.setenv("AIRFLOW_CONN_APIMART_DEFAULT", json.dumps(connection))
    return "apimart_default"


@pytest.fixture
def aws_connection(s3_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a connection to the S3 server."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(s3_server.connection))
    return "aws_default"
