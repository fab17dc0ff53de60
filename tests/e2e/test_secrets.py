"""The API key is where it was put, encrypted in Airflow's database, and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from e2e.examples import API_KEY, generating

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.examples import Examples, Waiting
    from services.airflow import AirflowComponents
    from services.airflow_home import AirflowHome
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.simulator import Simulator

A_PROMPT = "A stoneware coffee mug with a reactive blue glaze"


@pytest.fixture(params=["API key", "S3 secret key"])
def secret(request: pytest.FixtureRequest, s3_server: SeaweedFS) -> str:
    return {"API key": API_KEY, "S3 secret key": s3_server.secret_key}[request.param]


def test_no_file_of_the_airflow_home_holds_a_secret(
    examples: Examples, airflow: AirflowComponents, secret: str
) -> None:
    assert _files_with(airflow.home.directory, examples.mapped.run_id), "the search finds what is there"
    assert _files_with(airflow.home.directory, secret) == []


def test_no_cell_of_the_database_holds_a_secret(examples: Examples, airflow: AirflowComponents, secret: str) -> None:
    assert examples.runs
    assert "xcom" in _tables_with(airflow.home, A_PROMPT)
    assert _tables_with(airflow.home, secret) == set()


def test_what_the_triggers_were_given_holds_no_secret(waiting: Waiting, secret: str) -> None:
    assert len(waiting.trigger_kwargs) == len(waiting.states)
    assert all("task_ids" in kwargs and secret not in kwargs for kwargs in waiting.trigger_kwargs)


def test_no_rendered_template_and_no_log_shows_a_secret(examples: Examples, secret: str) -> None:
    instances = [
        (run, instance) for run in examples.runs for instance in run.task_instances() if instance["state"] != "skipped"
    ]
    rendered = json.dumps([instance["rendered_fields"] for _, instance in instances])
    logs = "".join(run.log(instance["task_id"], map_index=instance["map_index"]) for run, instance in instances)

    assert A_PROMPT in rendered
    assert secret not in rendered
    assert "the gateway accepted task" in logs
    assert secret not in logs


def test_the_host_of_the_pictures_is_sent_no_key(examples: Examples, gateway: Simulator) -> None:
    assert gateway.stats()["images_served"] >= sum(len(generating(run)) for run in examples.runs)
    assert gateway.stats()["image_requests_with_authorization"] == 0


def test_the_key_is_in_the_connection(airflow: AirflowComponents) -> None:
    """Otherwise the searches above would look for something that Airflow never had."""
    rows = airflow.home.query("select password from connection where conn_id = 'apimart_default'")

    assert [_decrypt(airflow.home, encrypted) for (encrypted,) in rows] == [API_KEY]


def _decrypt(home: AirflowHome, text: str) -> str:
    return Fernet(home.environment["AIRFLOW__CORE__FERNET_KEY"]).decrypt(text.encode()).decode()


def _files_with(directory: Path, text: str) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and text.encode() in _content(path)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # Airflow goes on working, and removes files of its own.
        return b""


def _tables_with(home: AirflowHome, text: str) -> set[str]:
    tables = [name for (name,) in home.query("select tablename from pg_tables where schemaname = 'public'")]
    return {
        table
        for table in tables
        for row in home.query(f'select * from "{table}"')  # noqa: S608 - a name from the catalogue itself
        if any(text in _readable(cell) for cell in row)
    }


def _readable(cell: Any) -> str:
    return bytes(cell).decode(errors="replace") if isinstance(cell, bytes | memoryview) else str(cell)
