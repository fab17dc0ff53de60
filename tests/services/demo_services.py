"""The services of the demo, started together and stopped together."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.airflow import AirflowStandalone
from services.airflow_home import AirflowHome
from services.seaweedfs import SeaweedFS
from services.simulator import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Generator

    from services.progress import Progress

__all__ = ["PARTS", "DemoServices", "demo_services"]

DAGS_FOLDER = Path(__file__).parents[2] / "dags_examples"
BUCKET = "apimart-pictures"
PARTS = ("s3", "simulator", "airflow")
SPEED = 10


@dataclass(frozen=True)
class DemoServices:
    """What runs."""

    s3: SeaweedFS
    simulator: SimulatorProcess
    airflow: AirflowStandalone

    def require_alive(self) -> None:
        """:raises ServiceError: when one has ended by itself, with the end of its log."""
        for process in (self.s3.process, self.simulator.process, *self.airflow.processes):
            process.require_alive()


@contextmanager
def demo_services(directory: Path, progress: Progress) -> Generator[DemoServices]:
    """
    Start an S3 server, the simulator and Airflow, with the connections between them; stop them at the end.

    :param directory: of all state and logs, in a folder for each of ``PARTS``.
    :param progress: is told of each start.
    """
    s3_directory, simulator_directory, airflow_directory = (directory / part for part in PARTS)
    s3 = SeaweedFS(s3_directory, buckets=[BUCKET])
    simulator = SimulatorProcess(simulator_directory, speed=SPEED)
    home = AirflowHome(airflow_directory, dags_folder=DAGS_FOLDER)
    with ExitStack() as stack:
        try:
            with progress.stage("Starting the S3 server"):
                stack.enter_context(s3)
            with progress.stage("Starting the simulator of the gateways"):
                stack.enter_context(simulator)
            with progress.stage("Starting Airflow") as tell:
                airflow = AirflowStandalone(home, tell=tell)
                stack.enter_context(airflow)
                airflow.api.add_connection("aws_default", s3.connection)
                airflow.api.add_connection("apimart_default", simulator.connection)
            yield DemoServices(s3, simulator, airflow)
        finally:
            # An impatient second Ctrl-C would leave processes behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with progress.stage("Stopping everything"):
                stack.close()
