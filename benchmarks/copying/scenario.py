"""One contestant at one job, once."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.certificates import Certificates
from benchmarks.child import Server, run_contestant
from benchmarks.copying.job import Job
from benchmarks.copying.targets import TARGETS

if TYPE_CHECKING:
    from benchmarks.copying.targets import Target
    from benchmarks.measurement import Figures

__all__ = ["MEBIBYTE", "Scenario"]

MEBIBYTE: Final = 1024 * 1024
_TIMEOUT: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    What is copied where.

    :param images: how many pictures.
    :param size: of each in MiB.
    :param target: name of the S3 server, one of :data:`~benchmarks.copying.targets.TARGETS`.
    """

    images: int
    size: int
    target: str

    @property
    def title(self) -> str:
        """Say what is copied."""
        return f"{self.images} x {self.size} MiB into {self.target}"

    def run(self, contestant: str, *, profile: str = "") -> Figures:
        """
        Copy everything once, with servers and a process of its own, and count what has arrived.

        :param profile: file for ``pstats``; measures the wrong times.
        """
        with tempfile.TemporaryDirectory() as folder:
            certificates = Certificates.create(Path(folder))
            with (
                Server("benchmarks.copying.source", str(certificates.server), str(self.size * MEBIBYTE)) as source,
                TARGETS[self.target](certificates) as target,
            ):
                job = Job(source.announced["url"], self.images, target.bucket)
                figures = run_contestant(
                    "benchmarks.copying.run",
                    contestant,
                    job.to_json(),
                    *filter(None, [profile]),
                    environment={
                        "AIRFLOW_HOME": str(Path(folder, "airflow")),
                        "NO_PROXY": "127.0.0.1",
                        **certificates.client_environment(),
                        **target.client_environment(),
                        **_airflow_connections(job, target),
                    },
                    timeout=_TIMEOUT,
                )
                objects, arrived = target.arrived()
        complete = objects == self.images and arrived == self.images * self.size * MEBIBYTE
        return {**figures, "objects": objects, "bytes": arrived, "complete": float(complete)}


def _airflow_connections(job: Job, target: Target) -> dict[str, str]:
    aws = {
        "conn_type": "aws",
        "login": target.access_key,
        "password": target.secret_key,
        "extra": {"endpoint_url": target.endpoint, "region_name": target.region},
    }
    # The operator fetches from a private address only if the gateway has one itself.
    gateway = {"conn_type": "apimart", "host": job.source, "password": "sk-benchmark"}
    http = {"conn_type": "http", "host": job.source}
    connections = {"AWS_DEFAULT": aws, "APIMART_DEFAULT": gateway, "HTTP_DEFAULT": http}
    return {f"AIRFLOW_CONN_{name}": json.dumps(connection) for name, connection in connections.items()}
