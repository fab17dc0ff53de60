"""A real Airflow in which every example DAG runs once, one whose DAGs are disturbed on purpose, and a real browser."""

from __future__ import annotations

import os
from contextlib import ExitStack
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
from services.postgres import Postgres
from services.process import processes_in
from services.workers import group_of

from airflow_provider_apimart.simulator import Simulator, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from playwright.sync_api import StorageState
    from services.dag_run import DagRun
    from services.progress import Progress
    from services.seaweedfs import SeaweedFS

FOLDER = Path(__file__).parent
CHECKOUT = FOLDER.parents[1]
DAGS_FOLDER = CHECKOUT / "dags_examples"
DISTURBED_FOLDER = FOLDER / "dags"
SCREENSHOTS = CHECKOUT / "build" / "screenshots"
FAILED = pytest.StashKey[bool]()
STARTED = pytest.StashKey[ExitStack]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the browser can be left out with ``-m 'not browser'``."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the Airflow of a group of tests after the last of them: it would compute beside all that follow."""
    if nextitem is None or group_of(nextitem.nodeid) != group_of(item.nodeid):
        item.session.stash.setdefault(STARTED, ExitStack()).close()


@pytest.fixture(scope="session")
def started_servers(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """What is stopped with the last test of a group."""
    with request.session.stash.setdefault(STARTED, ExitStack()) as stack:
        yield stack


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
    gateway: Simulator,
    s3_server: SeaweedFS,
    tmp_path_factory: pytest.TempPathFactory,
    started_servers: ExitStack,
    start_progress: Progress,
) -> AirflowComponents:
    """Four components, with both connections in Airflow's database. No process of theirs is left at the end."""
    directory = tmp_path_factory.mktemp("airflow")
    s3_server.client().create_bucket(Bucket=BUCKET)
    with start_progress.stage("Starting the Airflow of the examples") as tell:
        postgres = started_servers.enter_context(Postgres(tmp_path_factory.mktemp("postgres")))
        home = AirflowHome(
            directory,
            dags_folder=DAGS_FOLDER,
            database_url=postgres.url,
            parallelism=PARALLELISM,
            users={"viewer": "viewer"},
            AIRFLOW_VAR_APIMART_BUCKET=BUCKET,
            PYTHONPATH=str(FOLDER / "policy"),
        )
        started_servers.callback(require_no_process_in, directory)
        airflow = started_servers.enter_context(AirflowComponents(home, tell=tell))
    airflow.api.add_connection("aws_default", s3_server.connection)
    airflow.api.add_connection("apimart_default", {"conn_type": "apimart", "host": gateway.url, "password": API_KEY})
    return airflow


def require_no_process_in(directory: Path) -> None:
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
    frozen: Simulator,
    instant: Simulator,
    s3_server: SeaweedFS,
    tmp_path_factory: pytest.TempPathFactory,
    started_servers: ExitStack,
    start_progress: Progress,
) -> AirflowComponents:
    """Four components, with a connection to each of the two simulators. No process of theirs is left at the end."""
    directory = tmp_path_factory.mktemp("disturbed")
    s3_server.client().create_bucket(Bucket=DATASETS)
    with start_progress.stage("Starting the Airflow that is disturbed") as tell:
        postgres = started_servers.enter_context(Postgres(tmp_path_factory.mktemp("postgres")))
        home = AirflowHome(directory, dags_folder=DISTURBED_FOLDER, database_url=postgres.url)
        started_servers.callback(require_no_process_in, directory)
        airflow = started_servers.enter_context(AirflowComponents(home, tell=tell))
    airflow.api.add_connection("aws_default", s3_server.connection)
    for conn_id, simulator in (("frozen", frozen), ("instant", instant)):
        airflow.api.add_connection(conn_id, {"conn_type": "apimart", "host": simulator.url, "password": KEY})
    return airflow


@pytest.fixture(scope="session")
def fab(airflow: AirflowComponents, started_servers: ExitStack, start_progress: Progress) -> FabApiServer:
    """The same Airflow once more: under the path ``/airflow``, and behind the FAB auth manager."""
    for dag_id in GENERATING:
        airflow.api.wait_for_dag(dag_id)
    with start_progress.stage("Starting Airflow's API server with FAB"):
        return started_servers.enter_context(FabApiServer(airflow.home))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open while the tests of one module run. At its end, it must have contacted nothing beyond loopback."""
    directory = tmp_path_factory.mktemp("browser")
    chromium = require_chromium(os.environ, is_root=False, tell=print)
    with Browser(chromium, directory, screenshots=SCREENSHOTS) as browser:
        yield browser
    hosts = contacted_hosts(browser.net_log)
    assert {host for host in hosts if not ip_address(host).is_loopback} == set()


@pytest.fixture(scope="module")
def signed_in(browser: Browser) -> dict[tuple[str, str], StorageState]:  # noqa: ARG001 - of this browser
    """Those whom Airflow knows already."""
    return {}


@pytest.fixture
def visitors(
    browser: Browser,
    airflow: AirflowComponents,
    signed_in: dict[tuple[str, str], StorageState],
    request: pytest.FixtureRequest,
) -> Iterator[Visitors]:
    """Nothing must have gone wrong in any of their windows at the end, and no request must have aimed elsewhere."""
    visitors = Visitors(browser, airflow.home, signed_in)
    yield visitors
    if request.node.stash[FAILED]:
        visitors.take_screenshots(f"failed/{request.node.name}")
    visitors.leave()
    assert visitors.problems == []
    assert visitors.hosts <= {"127.0.0.1"}
