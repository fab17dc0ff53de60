from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_apimart.dataset.run.progress import Progress as Told
from airflow_provider_apimart.plugins.web.progress import Progress, find_progress
from airflow_provider_apimart.plugins.web.scope import Scope

if TYPE_CHECKING:
    from plugins.database import Database

    from airflow_provider_apimart.plugins.web.airflow_api import AirflowApi

SOURCE = Scope("posters", "run", "dataset", -1)
TOLD = Told(0.0, total=10, done=3, in_flight=2, failed=1, spent=1, projected=None, per_minute=None, seconds_left=None)


async def ask(api: AirflowApi, database: Database, progress: Any) -> Progress | None:
    database.add_run("posters")
    database.add_task("posters", "dataset", operator="ApimartImageDatasetOperator", progress=progress)
    return await find_progress(api, SOURCE)


async def test_what_a_dataset_says_is_understood(api: AirflowApi, database: Database) -> None:
    expected = Progress(total=10, done=3, in_flight=2, failed=1, spent=1.0)
    assert await ask(api, database, TOLD.to_json()) == expected


@pytest.mark.parametrize(
    "progress",
    [
        {"note": "x"},
        {},
        [],
        "half",
        None,
        {**TOLD.to_json(), "total": "many"},
        {**TOLD.to_json(), "done": -1},
        {**TOLD.to_json(), "spent": None},
    ],
)
async def test_what_makes_no_sense_counts_as_nothing(api: AirflowApi, database: Database, progress: Any) -> None:
    assert await ask(api, database, progress) is None
