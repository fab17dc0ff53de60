"""A dataset in a real S3 server, bought at a gateway that shares no code with the provider."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from laws.datasets.dataset_task import PREFIX, Dataset, DatasetTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from services.plain_gateway import PlainGateway
    from services.seaweedfs import SeaweedFS

#: Seconds for which a worker stays without work. Half a second in tests: nothing depends on it.
STAYS = 0.5


@pytest.fixture
def dataset(
    s3_server: SeaweedFS, bucket: str, aws_connection: str, gateway: PlainGateway, direct: str
) -> Iterator[Dataset]:
    parameters = {
        "s3_bucket": bucket,
        "s3_prefix": PREFIX,
        "apimart_conn_id": direct,
        "aws_conn_id": aws_connection,
        "initial_delay": 0,
        "poll_interval": 0.1,
        "timeout": 60,
    }
    made = Dataset(s3_server.client(), bucket, gateway, parameters)
    yield made
    for key in made.keys():  # noqa: SIM118 - not a mapping
        made.client.delete_object(Bucket=bucket, Key=key)


@pytest.fixture
def task() -> DatasetTask:
    """The first task instance of a DAG run."""
    return DatasetTask(try_number=0)


@pytest.fixture
def run_of() -> Callable[..., DatasetTask]:
    """Make the task instance of another DAG run, or another mapped one."""

    def make(run_id: str, map_index: int = -1) -> DatasetTask:
        return DatasetTask(run_id=run_id, map_index=map_index, try_number=0)

    return make


@pytest.fixture
def leaves_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers leave after half a second without work, and repeat at once what fails for a while."""
    from airflow_provider_apimart.dataset.run import waves
    from airflow_provider_apimart.operators import dataset_record
    from airflow_provider_apimart.transfers import copier

    monkeypatch.setattr(waves, "LONGEST_IDLE", STAYS)
    monkeypatch.setattr(waves, "_TAIL_IDLE", STAYS)
    monkeypatch.setattr(dataset_record, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(copier, "_PAUSES", (0.1, 0.1))


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Run workers in threads of this process, and wait for them at the end."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


@pytest.fixture
def adopts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait a quarter of an hour, or an hour, for a call that its own task instance no longer collects."""
    from airflow_provider_apimart.dataset.run import plan, tally

    monkeypatch.setattr(plan, "_ADOPTED_AFTER", 1.0)
    monkeypatch.setattr(tally, "ABANDONED_AFTER", 1.0)
