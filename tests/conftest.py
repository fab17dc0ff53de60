"""
Fixtures for all tests: an Airflow home of its own, a real S3 server, the simulator, and connections to both.

The home is set before anything imports Airflow, which reads its settings once, at import.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from services.airflow_home import AirflowHome
from services.gateway_clock import GatewayClock
from services.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_apimart.simulator import Simulator

CHECKOUT = Path(__file__).parents[1]
DIRECTORY = Path(tempfile.mkdtemp(prefix="apimart-tests-"))
HOME = AirflowHome(DIRECTORY / "airflow", dags_folder=CHECKOUT / "dags_examples")

# The same examples in every run, and as much time for each as a busy machine takes.
settings.load_profile("ci")

atexit.register(shutil.rmtree, DIRECTORY, ignore_errors=True)
HOME.prepare()
for _name in set(os.environ) - set(HOME.environment):
    del os.environ[_name]
os.environ.update(HOME.environment)


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """For ``dag.test()``, which needs the tables."""
    HOME.run("db", "migrate")


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
