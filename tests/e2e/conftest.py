"""A real Airflow in which every example DAG runs once, one whose DAGs are disturbed on purpose, and a real browser."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from e2e.disturbed import DATASETS, KEY
from e2e.examples import (
    API_KEY,
    BUCKET,
    CATALOGUE,
    GENERATING,
    PARALLELISM,
    Clock,
    Examples,
    Waiting,
    start_examples,
    wait_for_deferral,
    wait_for_question,
    wait_for_run,
)
from e2e.visitors import Visitors
from services.airflow import AirflowComponents
from services.airflow_home import AirflowHome
from services.browser import Browser
from services.chromium import require_chromium
from services.fab import FabApiServer
from services.net_log import contacted_hosts
from services.process import processes_in
from services.waiting import ServiceError

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from services.dag_run import DagRun
    from services.seaweedfs import SeaweedFS

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]
DAGS_FOLDER = CHECKOUT / "dags_examples"
DISTURBED_FOLDER = FOLDER / "dags"
SCREENSHOTS = CHECKOUT / "build" / "screenshots"
CHROMIUM = pytest.StashKey[Path]()
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    A test that asks for the browser can be left out with ``-m 'not browser'``.

    Those of this folder come last: two Airflows work until the end of the session, and would disturb all that follow.
    """
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    items.sort(key=lambda item: item.path.is_relative_to(FOLDER))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Say at once, and not after half an hour, that there is no Chromium."""
    if session.config.option.collectonly or not any(item.get_closest_marker("browser") for item in session.items):
        return
    tell = session.config.pluginmanager.get_plugin("terminalreporter").write_line
    try:
        session.config.stash[CHROMIUM] = require_chromium(os.environ, is_root=os.geteuid() == 0, tell=tell)
    except ServiceError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the fixtures whether the test has failed."""
    report = yield
    item.stash[FAILED] = report.failed
    return report


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
    home = AirflowHome(
        directory,
        dags_folder=DAGS_FOLDER,
        parallelism=PARALLELISM,
        users={"viewer": "viewer"},
        AIRFLOW_VAR_APIMART_BUCKET=BUCKET,
        PYTHONPATH=str(FOLDER / "policy"),
    )
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
def question(airflow: AirflowComponents, waiting: Waiting, clock: Clock) -> dict[str, Any]:
    """What a person was asked, who has agreed."""
    clock.advance(600)
    asked = wait_for_question(airflow, waiting.examples.approved, "approve")
    waiting.examples.approved.answer("approve", "Approve")
    return asked


@pytest.fixture(scope="session")
def examples(airflow: AirflowComponents, waiting: Waiting, question: dict[str, Any], clock: Clock) -> Examples:
    """Every example has run to its end."""
    assert question

    def go_on() -> None:
        airflow.require_alive()
        clock.advance(60)  # What is bought only now is finished soon, too.

    for run in waiting.examples.runs:
        run.wait(while_waiting=go_on)
    return waiting.examples


@pytest.fixture(scope="session")
def catalogue(airflow: AirflowComponents, examples: Examples) -> DagRun:
    """The run that Airflow has started by itself when posters were there."""
    assert examples.taskflow
    return wait_for_run(airflow, CATALOGUE)


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


@pytest.fixture(scope="session")
def fab(airflow: AirflowComponents) -> Iterator[FabApiServer]:
    """The same Airflow once more: under the path ``/airflow``, and behind the FAB auth manager."""
    for dag_id in GENERATING:
        airflow.api.wait_for_dag(dag_id)
    with FabApiServer(airflow.home) as fab:
        yield fab


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open while the tests of one module run. At its end, it must have contacted nothing beyond loopback."""
    directory = tmp_path_factory.mktemp("browser")
    with Browser(pytestconfig.stash[CHROMIUM], directory, screenshots=SCREENSHOTS) as browser:
        yield browser
    hosts = contacted_hosts(browser.net_log)
    assert {host for host in hosts if not ip_address(host).is_loopback} == set()


@pytest.fixture
def visitors(browser: Browser, airflow: AirflowComponents, request: pytest.FixtureRequest) -> Iterator[Visitors]:
    """Nothing must have gone wrong in any of their windows at the end, and no request must have aimed elsewhere."""
    visitors = Visitors(browser, airflow.home)
    yield visitors
    if request.node.stash[FAILED]:
        visitors.take_screenshots(f"failed/{request.node.name}")
    visitors.leave()
    assert visitors.problems == []
    assert visitors.hosts <= {"127.0.0.1"}
