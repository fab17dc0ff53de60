"""A real Airflow in which every example DAG runs once, and one whose DAGs are disturbed on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from e2e.disturbed import DATASETS, KEY
from e2e.examples import API_KEY, BUCKET, PARALLELISM, Clock, Examples, Waiting, start_examples, wait_for_deferral
from services.airflow import AirflowComponents
from services.airflow_home import AirflowHome
from services.process import processes_in

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.dag_run import DagRun
    from services.seaweedfs import SeaweedFS

DAGS_FOLDER = Path(__file__).parents[2] / "dags_examples"
DISTURBED_FOLDER = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def gateway(clock: Clock) -> Iterator[Simulator]:
    """The simulator that Airflow's processes talk to. It accepts one API key."""
    with Simulator(SimulatorSettings(api_key=API_KEY, clock=clock)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def airflow(
    gateway: Simulator, s3_server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowComponents]:
    """Four components, with both connections in Airflow's database. No process of theirs is left at the end."""
    directory = tmp_path_factory.mktemp("airflow")
    home = AirflowHome(directory, dags_folder=DAGS_FOLDER, parallelism=PARALLELISM, AIRFLOW_VAR_APIMART_BUCKET=BUCKET)
    s3_server.client().create_bucket(Bucket=BUCKET)
    with AirflowComponents(home) as airflow:
        airflow.api.add_connection("aws_default", s3_server.connection)
        airflow.api.add_connection(
            "apimart_default", {"conn_type": "apimart", "host": gateway.url, "password": API_KEY}
        )
        yield airflow
    assert processes_in(directory) == []


@pytest.fixture(scope="session")
def waiting(airflow: AirflowComponents) -> Waiting:
    """Every example was started, and all its pictures are ordered and waited for."""
    return wait_for_deferral(airflow, start_examples(airflow))


@pytest.fixture(scope="session")
def examples(airflow: AirflowComponents, waiting: Waiting, clock: Clock) -> Examples:
    """Every example has run to its end."""
    clock.advance(600)
    for run in waiting.examples.runs:
        run.wait(while_waiting=airflow.require_alive)
    return waiting.examples


@pytest.fixture(scope="session")
def by_hand(airflow: AirflowComponents, examples: Examples) -> DagRun:
    """A run of a date whose pictures an earlier run has bought, without a logical date."""
    assert examples.backfilled
    run = airflow.api.trigger("apimart_backfill_dataset", date="2025-11-04")
    run.wait(while_waiting=airflow.require_alive)
    return run


@pytest.fixture(scope="session")
def frozen_clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def frozen(frozen_clock: Clock) -> Iterator[Simulator]:
    """Finishes nothing before its clock is moved."""
    with Simulator(SimulatorSettings(clock=frozen_clock)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def instant() -> Iterator[Simulator]:
    """Finishes everything before anybody can look."""
    with Simulator(SimulatorSettings(speed=10_000)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def disturbed(
    frozen: Simulator, instant: Simulator, s3_server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowComponents]:
    """Four components, with a connection to each of the two simulators. No process of theirs is left at the end."""
    directory = tmp_path_factory.mktemp("disturbed")
    s3_server.client().create_bucket(Bucket=DATASETS)
    with AirflowComponents(AirflowHome(directory, dags_folder=DISTURBED_FOLDER)) as airflow:
        airflow.api.add_connection("aws_default", s3_server.connection)
        for conn_id, simulator in (("frozen", frozen), ("instant", instant)):
            airflow.api.add_connection(conn_id, {"conn_type": "apimart", "host": simulator.url, "password": KEY})
        yield airflow
    assert processes_in(directory) == []
